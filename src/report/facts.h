// Small helpers over JSON records whose fields nobody promised: what is there is shown, what is not is left out.
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "report/html.h"

namespace evolora {

// A finite number under key; nothing if json is no object or has no such number.
std::optional<double> number_in(const nlohmann::ordered_json& json, const std::string& key);
// A text under key; empty likewise.
std::string text_in(const nlohmann::ordered_json& json, const std::string& key);
// An object under key; an empty object likewise.
nlohmann::ordered_json object_in(const nlohmann::ordered_json& json, const std::string& key);

// Two columns: every field of an object and its value; fields with "bytes" in the name also in MB or GB. Nested values as JSON.
Table facts_table(const std::string& caption, const nlohmann::ordered_json& object);
void add_facts(Table& table, const nlohmann::ordered_json& object, const std::string& prefix);

// text as one word of a POSIX shell: unchanged if it is plain, else in single quotes.
std::string shell_word(const std::string& text);

}  // namespace evolora
