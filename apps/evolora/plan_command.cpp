// `evolora plan`: what a training run would need, without running it.
#include <fmt/format.h>

#include "base/file_system.h"
#include "command.h"
#include "engine/recipe_json.h"
#include "train/trainer.h"
#include "train_flags.h"
#include "train_printer.h"

namespace evolora {
namespace {

struct PlanArguments {
  std::string model;
  std::string data;
  std::string write_recipe;
};

// A word and a flag may both say it, but not differ.
Status take_word(const std::string& word, const char* flag, std::string& value) {
  if (word.empty()) return {};
  if (!value.empty() && value != word) return Error{ErrorCode::kUsage, fmt::format("'{}' and {} '{}' name two things; give one", word, flag, value)};
  value = word;
  return {};
}

Status run_plan(const TrainFlags& flags, const PlanArguments& arguments) {
  FileSystem& files = real_file_system();
  TrainRequest request = TRY(request_from_flags(flags, files));
  TRY(take_word(arguments.model, "--model", request.model));
  TRY(take_word(arguments.data, "--data", request.data));
  if (!request.test) request.train = true;
  TrainPrinter printer(request, false);
  const auto plan = plan_training(request, files, printer);
  printer.clear_live_line();
  if (!plan.ok()) return plan.error();
  const std::string recipe = recipe_to_json(plan->recipe).dump(2) + "\n";
  if (arguments.write_recipe.empty()) {
    fmt::print("{}", recipe);
    return {};
  }
  TRY(write_file_atomically(files, arguments.write_recipe, recipe));
  fmt::print("Recipe written to {}\n", arguments.write_recipe);
  return {};
}

}  // namespace

Command add_plan_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("plan", "Exact memory and predicted time of a training run, and the recipe it would use; runs nothing");
  auto flags = std::make_shared<TrainFlags>();
  auto arguments = std::make_shared<PlanArguments>();
  app->add_option("MODEL", arguments->model, "Folder of the MLX model (or --model)");
  app->add_option("DATA", arguments->data, "Folder with train.jsonl (or --data)");
  add_train_flags(*app, flags);
  add_value(*app, "--write-recipe", arguments->write_recipe, "Write the recipe to this JSON file, for train --recipe");
  return {app, [flags, arguments] { return run_plan(*flags, *arguments); }};
}

}  // namespace evolora
