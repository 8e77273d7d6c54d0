// `evolora train`: mlx_lm.lora's flags and YAML keys, plus ours. The flags come from the table of request keys.
#include <map>

#include "base/file_system.h"
#include "command.h"
#include "interrupt.h"
#include "train/request_keys.h"
#include "train/request_yaml.h"
#include "train/trainer.h"
#include "train_printer.h"

namespace evolora {
namespace {

struct TrainFlags {
  std::map<std::string, std::string> values;  // of the table's keys; stable addresses for CLI11
  std::map<std::string, CLI::Option*> options;
  std::string config;
  bool quiet = false;
};

Result<std::vector<Setting>> given_flags(const TrainFlags& flags) {
  std::vector<Setting> settings;
  for (const RequestKey& key : request_keys()) {
    const auto option = flags.options.find(std::string(key.key));
    if (option == flags.options.end() || option->second->count() == 0) continue;
    settings.push_back(TRY(setting_from_flag(key, option->second->results().back())));
  }
  return settings;
}

Status run_train(const TrainFlags& flags) {
  FileSystem& files = real_file_system();
  const std::vector<Setting> from_flags = TRY(given_flags(flags));
  std::vector<Setting> from_yaml;
  if (!flags.config.empty()) from_yaml = TRY(read_request_yaml(files, flags.config));
  TrainRequest request = TRY(build_train_request(from_yaml, from_flags));
  request.config = flags.config;

  TrainPrinter printer(request, flags.quiet);
  const auto result = run_training(request, files, printer, {.stop = stop_flag(), .version = EVOLORA_VERSION});
  if (!result.ok()) {
    printer.clear_live_line();
    return result.error();
  }
  printer.print_summary(*result);
  return {};
}

}  // namespace

Command add_train_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("train", "Train a LoRA adapter (the flags and YAML keys of mlx_lm.lora)");
  auto flags = std::make_shared<TrainFlags>();
  add_value(*app, "-c,--config", flags->config, "YAML file with training options; flags win over it");
  for (const RequestKey& key : request_keys()) {
    if (!key.has_flag) continue;
    const std::string name(key.key);
    if (key.kind == ValueKind::kBool) {
      flags->options[name] = app->add_flag(flag_of_key(name))->description(std::string(key.help));
      continue;
    }
    CLI::Option* option = add_value(*app, flag_of_key(name), flags->values[name], std::string(key.help));
    option->type_name(key.kind == ValueKind::kInteger ? "N" : key.kind == ValueKind::kNumber ? "X" : "TEXT");
    flags->options[name] = option;
  }
  app->add_flag("--quiet", flags->quiet, "Print warnings and errors only");
  return {app, [flags] { return run_train(*flags); }};
}

}  // namespace evolora
