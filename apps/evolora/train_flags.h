// The flags of a training request, one per key of its table: shared by the commands that start from one.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/file_system.h"
#include "base/result.h"
#include "train/request.h"
#include "train/setting.h"

namespace evolora {

struct TrainFlags {
  std::map<std::string, std::string> values;  // of the table's keys; stable addresses for CLI11
  std::map<std::string, CLI::Option*> options;
  std::string config;
};

// Adds --config and a flag for every key.
void add_train_flags(CLI::App& app, const std::shared_ptr<TrainFlags>& flags);
// What was given, before it is judged: the YAML's settings and the flags'.
struct GivenSettings {
  std::vector<Setting> yaml;
  std::vector<Setting> flags;
};
Result<GivenSettings> settings_from_flags(const TrainFlags& flags, FileSystem& files);
// What was given: flag over YAML over default.
Result<TrainRequest> request_from_flags(const TrainFlags& flags, FileSystem& files);

}  // namespace evolora
