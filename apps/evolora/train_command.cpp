// `evolora train`: mlx_lm.lora's flags and YAML keys, plus ours.
#include "base/file_system.h"
#include "command.h"
#include "interrupt.h"
#include "train/trainer.h"
#include "train_flags.h"
#include "train_printer.h"

namespace evolora {
namespace {

Status run_train(const TrainFlags& flags, bool quiet) {
  const TrainRequest request = TRY(request_from_flags(flags, real_file_system()));
  TrainPrinter printer(request, quiet);
  const auto result = run_training(request, real_file_system(), printer, {.stop = stop_flag(), .version = EVOLORA_VERSION});
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
  auto quiet = std::make_shared<bool>(false);
  add_train_flags(*app, flags);
  app->add_flag("--quiet", *quiet, "Print warnings and errors only");
  return {app, [flags, quiet] { return run_train(*flags, *quiet); }};
}

}  // namespace evolora
