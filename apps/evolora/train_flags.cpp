// Flags come from the table of request keys (train/request_keys.h), so a new key is a new flag everywhere.
#include "train_flags.h"

#include <vector>

#include "command.h"
#include "train/request_keys.h"
#include "train/request_yaml.h"

namespace evolora {

void add_train_flags(CLI::App& app, const std::shared_ptr<TrainFlags>& flags) {
  add_value(app, "-c,--config", flags->config, "YAML file with training options; flags win over it");
  for (const RequestKey& key : request_keys()) {
    if (!key.has_flag) continue;
    const std::string name(key.key);
    if (app.get_option_no_throw(flag_of_key(name)) != nullptr) continue;  // the command has its own meaning for it
    if (key.kind == ValueKind::kBool) {
      flags->options[name] = app.add_flag(flag_of_key(name))->description(std::string(key.help));
      continue;
    }
    CLI::Option* option = add_value(app, flag_of_key(name), flags->values[name], std::string(key.help));
    option->type_name(key.kind == ValueKind::kInteger ? "N" : key.kind == ValueKind::kNumber ? "X" : "TEXT");
    flags->options[name] = option;
  }
}

Result<GivenSettings> settings_from_flags(const TrainFlags& flags, FileSystem& files) {
  GivenSettings given;
  for (const RequestKey& key : request_keys()) {
    const auto option = flags.options.find(std::string(key.key));
    if (option == flags.options.end() || option->second->count() == 0) continue;
    given.flags.push_back(TRY(setting_from_flag(key, option->second->results().back())));
  }
  if (!flags.config.empty()) given.yaml = TRY(read_request_yaml(files, flags.config));
  return given;
}

Result<TrainRequest> request_from_flags(const TrainFlags& flags, FileSystem& files) {
  const GivenSettings given = TRY(settings_from_flags(flags, files));
  TrainRequest request = TRY(build_train_request(given.yaml, given.flags));
  request.config = flags.config;
  return request;
}

}  // namespace evolora
