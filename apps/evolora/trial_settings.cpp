// Flags to what a plan keeps.
#include "trial_settings.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <string_view>

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

// "5%" or "0.05"; nothing for anything else.
std::optional<double> number_of_share(std::string_view text) {
  const bool percent = text.ends_with('%');
  if (percent) text.remove_suffix(1);
  double value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return std::nullopt;
  return percent ? value / 100 : value;
}

}  // namespace

Result<double> share_of_flag(const std::string& flag, const std::string& text) {
  const std::optional<double> value = number_of_share(text);
  if (value && *value >= 0 && *value < 1) return *value;
  return Error{ErrorCode::kUsage, fmt::format("{}: expected a share such as 1% or 0.01, got {}", flag, text)};
}

Result<double> growth_of_flag(const std::string& flag, const std::string& text, double otherwise) {
  if (text.empty()) return otherwise;
  const std::optional<double> value = number_of_share(text);
  if (value && *value >= 0 && *value <= 1000) return *value;
  return Error{ErrorCode::kUsage, fmt::format("{}: expected a share such as 50% or 0.5, got {}", flag, text)};
}

Json built_versions() { return {{"evolora", EVOLORA_VERSION}, {"compiler", __VERSION__}}; }

Result<std::string> own_program() {
  std::error_code error;
  const fs::path path = fs::read_symlink("/proc/self/exe", error);
  if (error) return Error{ErrorCode::kUnsupported, "this system does not say where the program is (/proc/self/exe)"};
  return path.string();
}

Result<Json> common_trial_settings(const TrainFlags& flags, FileSystem& files) {
  const GivenSettings given = TRY(settings_from_flags(flags, files));
  Json common = Json::object();
  for (const std::vector<Setting>* settings : {&given.yaml, &given.flags}) {
    for (const Setting& setting : *settings) {
      common[setting.key] = setting.value;
      if (setting.key == "iters") common.erase("epochs");
      if (setting.key == "epochs") common.erase("iters");
    }
  }
  for (const char* own : {"train", "test", "adapter_path"}) common.erase(own);
  for (const char* needed : {"model", "data"}) {
    if (!common.contains(needed) || !common[needed].is_string() || common[needed].get<std::string>().empty()) {
      return Error{ErrorCode::kUsage, fmt::format("--{} is missing: both arms train the same model on the same data", needed)};
    }
    if (!files.exists(common[needed].get<std::string>())) {
      return Error{ErrorCode::kNotFound, fmt::format("{}: no such {} folder", common[needed].get<std::string>(), needed)};
    }
  }
  for (const char* path : {"model", "data", "recipe", "resume_adapter_file"}) {
    if (common.contains(path) && common[path].is_string()) common[path] = fs::absolute(common[path].get<std::string>()).lexically_normal().string();
  }
  return common;
}

}  // namespace evolora
