// `evolora eval`: loss and perplexity of a data file, with or without an adapter.
#include <fmt/format.h>

#include "base/file_system.h"
#include "command.h"
#include "interrupt.h"
#include "terminal.h"
#include "train/evaluation.h"

namespace evolora {
namespace {

class WarningPrinter final : public TrainObserver {
 public:
  void on_warning(const std::string& message) override { print_warning(message); }
};

Status run_eval(EvaluationRequest request) {
  if (request.batch_size < 1)
    return Error{ErrorCode::kUsage, fmt::format("--batch-size: expected a whole number, 1 or more, got {}", request.batch_size)};
  if (request.max_seq_length < 2) {
    return Error{ErrorCode::kUsage, fmt::format("--max-seq-length: expected a whole number, 2 or more, got {}", request.max_seq_length)};
  }
  TRY(check_threads(request.recipe.threads));
  request.stop = stop_flag();
  WarningPrinter observer;
  const EvaluationResult result = TRY(evaluate_file(request, real_file_system(), observer));
  fmt::print("loss {:.4f}  perplexity {:.3f}  ({} samples, {} tokens, {} counted; {:.1f} s, peak {})\n", result.summary.loss, result.perplexity,
             human_count(result.data.samples), human_count(result.data.tokens), human_count(static_cast<std::size_t>(result.summary.tokens)),
             result.summary.seconds, human_bytes(result.peak_rss_bytes));
  return {};
}

}  // namespace

Command add_eval_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("eval", "Loss and perplexity of a data file");
  auto request = std::make_shared<EvaluationRequest>();
  add_value(*app, "--model", request->model, "Folder of the MLX model");
  add_value(*app, "--adapter-path", request->adapter_path, "Folder of an adapter; without it the base model is evaluated");
  add_value(*app, "--data", request->data, "A .jsonl file, or a folder with test.jsonl");
  app->add_flag("--mask-prompt", request->mask_prompt, "Leave the prompt out of the loss");
  add_value(*app, "--batch-size", request->batch_size, "Samples per batch [4]");
  add_value(*app, "--max-seq-length", request->max_seq_length, "Longer samples are cut [2048]");
  add_value(*app, "--threads", request->recipe.threads, "CPU threads; 0: all [0]");
  return {app, [request] { return run_eval(*request); }};
}

}  // namespace evolora
