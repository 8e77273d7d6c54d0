// One value that somebody gave for a key of the training request, where it was given, and its conversion to the type the key asks for.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.h"

namespace evolora {

struct Setting {
  std::string key;
  nlohmann::ordered_json value;
  std::string label;                                 // how the user knows it: "batch_size" or "--batch-size"
  std::string place;                                 // prefix of messages: "lora.yaml:3: ", or empty
  std::map<std::string, std::string> nested_places;  // the same for the keys of a block
};

inline constexpr std::int64_t kMaxInteger = std::numeric_limits<std::int64_t>::max();

// Errors "place label: what".
Error setting_error(const Setting& setting, ErrorCode code, const std::string& what);
Error expected_in_setting(const Setting& setting, const std::string& what);        // kUsage: "expected WHAT, got VALUE"
Error unsupported_setting(const Setting& setting, const std::string& what_to_do);  // kUnsupported, naming the value

// Store the value, or a kUsage error that names the wanted type and range.
Status set_bool(const Setting& setting, bool& out);
Status set_integer(const Setting& setting, std::int64_t low, std::int64_t high, std::int64_t& out);  // in [low, high]
// In [low, below); range is how the message describes it.
Status set_number(const Setting& setting, double low, double below, const char* range, double& out);
Status set_string(const Setting& setting, std::string& out);
Status set_one_of(const Setting& setting, const std::vector<std::string>& choices, std::string& out);

}  // namespace evolora
