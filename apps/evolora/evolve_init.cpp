// `evolora evolve init`: a folder to start a search of kernels in.
#include <fmt/format.h>

#include "base/file_system.h"
#include "command.h"
#include "evolve/pack/init.h"

namespace evolora {
namespace {

struct InitArguments {
  std::string folder;
  EvolveFolderRequest request;
};

Status run_init(const InitArguments& arguments) {
  TRY(init_evolve_folder(real_file_system(), arguments.folder, arguments.request));
  fmt::print("{} has the kernel pack, evolve.yaml, recipe.json and README.md, which says how to go on\n", arguments.folder);
  return {};
}

}  // namespace

Command add_evolve_init(CLI::App& evolve) {
  CLI::App* app = evolve.add_subcommand("init", "A folder with a starting kernel pack, a configuration and a README, to start a search in");
  auto arguments = std::make_shared<InitArguments>();
  app->add_option("DIR", arguments->folder, "New folder")->required();
  add_value(*app, "--target", arguments->request.target, "What the kernels run on: cpu, mlx [cpu]");
  add_value(*app, "--slot", arguments->request.slot,
            "What they compute: lora_linear_forward, lora_linear_backward, lora_linear_group; mlx: dora_linear, dora_linear_factored, lora_linear")
      ->required();
  add_value(*app, "--model", arguments->request.model, "Folder of the MLX model, for the commands in the README");
  add_value(*app, "--data", arguments->request.data, "Folder with train.jsonl, for the commands in the README");
  return {app, [arguments] { return run_init(*arguments); }};
}

}  // namespace evolora
