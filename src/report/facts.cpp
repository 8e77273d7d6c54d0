// Fields to cells.
#include "report/facts.h"

#include <fmt/format.h>

#include <cmath>

#include "report/text.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

std::string value_text(const std::string& key, const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (key.find("bytes") != std::string::npos && value.is_number_unsigned()) {
    return fmt::format("{} ({})", human_bytes(value.get<std::size_t>()), text);
  }
  return text;
}

}  // namespace

std::optional<double> number_in(const Json& json, const std::string& key) {
  if (!json.is_object()) return std::nullopt;
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number() || !std::isfinite(found->get<double>())) return std::nullopt;
  return found->get<double>();
}

std::string text_in(const Json& json, const std::string& key) {
  if (!json.is_object()) return "";
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

Json object_in(const Json& json, const std::string& key) {
  if (!json.is_object()) return Json::object();
  const auto found = json.find(key);
  return found != json.end() && found->is_object() ? *found : Json::object();
}

Table facts_table(const std::string& caption, const Json& object) {
  Table table{.caption = caption, .header = {"what", "value"}, .text_columns = 2};
  add_facts(table, object, "");
  return table;
}

void add_facts(Table& table, const Json& object, const std::string& prefix) {
  if (!object.is_object()) return;
  for (const auto& [key, value] : object.items()) {
    if (!value.is_null()) table.rows.push_back({prefix + key, value_text(key, value)});
  }
}

std::string shell_word(const std::string& text) {
  constexpr const char* kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./=:,@%+-";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string::npos) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace evolora
