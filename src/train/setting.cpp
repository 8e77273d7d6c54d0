// Type and range checks of settings.
#include "train/setting.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/suggest.h"

namespace evolora {
namespace {

// Invalid UTF-8 must not make a message throw.
std::string printable(const nlohmann::ordered_json& value) { return value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace); }

}  // namespace

Error setting_error(const Setting& setting, ErrorCode code, const std::string& what) {
  return Error{code, fmt::format("{}{}: {}", setting.place, setting.label, what)};
}
Error expected_in_setting(const Setting& setting, const std::string& what) {
  return setting_error(setting, ErrorCode::kUsage, fmt::format("expected {}, got {}", what, printable(setting.value)));
}
Error unsupported_setting(const Setting& setting, const std::string& advice) {
  return setting_error(setting, ErrorCode::kUnsupported, fmt::format("{} is not supported yet; {}", printable(setting.value), advice));
}

Status set_bool(const Setting& s, bool& out) {
  if (!s.value.is_boolean()) return expected_in_setting(s, "true or false");
  out = s.value.get<bool>();
  return {};
}

Status set_integer(const Setting& s, std::int64_t low, std::int64_t high, std::int64_t& out) {
  const std::string range =
      high == kMaxInteger ? fmt::format("a whole number, {} or more", low) : fmt::format("a whole number in [{}, {}]", low, high);
  if (!s.value.is_number_integer() || s.value.get<std::int64_t>() < low || s.value.get<std::int64_t>() > high) return expected_in_setting(s, range);
  out = s.value.get<std::int64_t>();
  return {};
}

Status set_number(const Setting& s, double low, double below, const char* range, double& out) {
  if (!s.value.is_number()) return expected_in_setting(s, range);
  const auto value = s.value.get<double>();
  if (!(value >= low && value < below)) return expected_in_setting(s, range);
  out = value;
  return {};
}

Status set_string(const Setting& s, std::string& out) {
  if (!s.value.is_string()) return expected_in_setting(s, "a text");
  out = s.value.get<std::string>();
  return {};
}

Status set_one_of(const Setting& s, const std::vector<std::string>& choices, std::string& out) {
  TRY(set_string(s, out));
  if (std::find(choices.begin(), choices.end(), out) != choices.end()) return {};
  return setting_error(s, ErrorCode::kUsage,
                       fmt::format("unknown value '{}'{} (one of: {})", out, did_you_mean(out, choices), fmt::join(choices, ", ")));
}

}  // namespace evolora
