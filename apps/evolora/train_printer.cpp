// Layout of everything `evolora train` prints.
#include "train_printer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "engine/recipe_json.h"
#include "terminal.h"

namespace evolora {
namespace {

std::string describe(const DataSummary& data) {
  std::string text =
      fmt::format("{} samples, {} tokens ({} learned)", human_count(data.samples), human_count(data.tokens), human_count(data.supervised_tokens));
  if (data.truncated > 0) text += fmt::format(", {} cut", data.truncated);
  if (data.dropped > 0) text += fmt::format(", {} left out", data.dropped);
  return text;
}

// The decisions of a recipe that one may wonder about.
std::string describe(const Recipe& recipe) {
  std::string text = recipe.micro_batch_tokens > 0 ? fmt::format("passes of {} tokens", recipe.micro_batch_tokens) : "whole batches";
  if (recipe.recompute == Recompute::kMlp) text += ", MLP recomputed";
  if (recipe.recompute == Recompute::kBlock) text += ", blocks recomputed";
  text += fmt::format(", {} activations kept", word(recipe.saved_activations));
  if (recipe.prefix_cache != PrefixCache::kOff)
    text += fmt::format(", prefix cache in {}", recipe.prefix_cache == PrefixCache::kFile ? "a file" : "memory");
  if (recipe.share_prefixes) text += ", common beginnings computed once";
  if (recipe.forward_arithmetic != Arithmetic::kFp32) text += fmt::format(", {} forward", arithmetic_name(recipe.forward_arithmetic));
  if (recipe.backward_arithmetic != Arithmetic::kFp32) text += fmt::format(", {} backward", arithmetic_name(recipe.backward_arithmetic));
  if (recipe.release_weights) text += ", weights released";
  return text;
}

// "forward int8: 420, fp32: 3 (dense weights)": what ran, where it was not all fp32.
std::string describe(const AppliedArithmetic& applied) {
  const auto side = [](const char* name, const std::array<std::uint64_t, kArithmeticCount>& counts) {
    std::vector<std::string> parts;
    for (int i = kArithmeticCount - 1; i >= 0; --i) {
      const std::uint64_t count = counts[static_cast<std::size_t>(i)];
      if (count > 0) parts.push_back(fmt::format("{} {}", count, arithmetic_name(static_cast<Arithmetic>(i))));
    }
    const bool dense = counts[static_cast<std::size_t>(Arithmetic::kInt8)] > 0 && counts[static_cast<std::size_t>(Arithmetic::kFp32)] > 0;
    return fmt::format("{} {}{}", name, fmt::join(parts, " and "), dense ? " (dense weights)" : "");
  };
  return fmt::format("base products {}; {}", side("forward", applied.forward), side("backward", applied.backward));
}

double percent(std::size_t part, std::size_t whole) { return whole == 0 ? 0.0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole); }

}  // namespace

void TrainPrinter::clear_live_line() {
  if (!live_line_shown_) return;
  fmt::print("\r\x1b[K");
  std::fflush(stdout);
  live_line_shown_ = false;
}

void TrainPrinter::line(const std::string& text) {
  if (quiet_) return;
  clear_live_line();
  fmt::print("{}\n", text);
  std::fflush(stdout);
}

void TrainPrinter::live(const std::string& text) {
  if (quiet_ || !stdout_is_terminal()) return;
  // Longer than the line would wrap, and then it could not be rewritten.
  const std::string fitted = text.substr(0, terminal_width() - 1);
  fmt::print("\r{}\x1b[K", fitted);
  std::fflush(stdout);
  live_line_shown_ = true;
}

void TrainPrinter::row(const char* name, const std::string& text) const {
  fmt::print("{}  {}\n", styled(Style::kBold, fmt::format("{:<8}", name)), text);
}

void TrainPrinter::on_status(const std::string& what_happens_now) { live(what_happens_now + " ..."); }

void TrainPrinter::on_warning(const std::string& message) {
  clear_live_line();
  print_warning(message);
}

void TrainPrinter::on_plan(const TrainPlan& plan) {
  plan_ = plan;
  if (quiet_) return;
  clear_live_line();
  row("Model", fmt::format("{}  ({}, {} layers, {}, {} parameters)", plan.model, plan.model_type, plan.model_layers, plan.weight_format,
                           human_parameters(plan.total_parameters - plan.trainable_parameters)));
  if (plan.steps > 0) {
    row("Adapter",
        fmt::format("{} rank {}, scale {}, dropout {} on {} linears of the last {} layers; trains {} parameters ({:.3f} %)",
                    request_.fine_tune_type == "dora" ? "DoRA" : "LoRA", request_.rank, request_.scale, request_.dropout, plan.adapted_linears,
                    plan.adapted_layers, human_parameters(plan.trainable_parameters), percent(plan.trainable_parameters, plan.total_parameters)));
  }
  const char* data = "Data";
  const auto data_row = [&](const char* split, const std::optional<DataSummary>& summary) {
    if (!summary) return;
    row(data, fmt::format("{:<5}  {}", split, describe(*summary)));
    data = "";
  };
  data_row("train", plan.train);
  data_row("valid", plan.valid);
  data_row("test", plan.test);
  if (plan.steps > 0) {
    const std::string accumulation =
        request_.grad_accumulation_steps > 1 ? fmt::format(", an update every {} steps", request_.grad_accumulation_steps) : "";
    const std::string packing =
        plan.fill_rate > 0 ? fmt::format(" rows of {} tokens, {:.1f} % filled", request_.max_seq_length, 100 * plan.fill_rate) : "";
    const std::string resumed = plan.resumed_from_step > 0 ? fmt::format("; goes on after step {}", plan.resumed_from_step) : "";
    row("Steps",
        fmt::format("{} ({:.4g} epochs of {} batches), batch size {}{}{}{}{}", plan.steps, plan.epochs, plan.batches_per_epoch, plan.batch_size,
                    packing, accumulation, request_.semantics == Semantics::kCompatMlxLm ? ", compatible with mlx-lm" : "", resumed));
  }
  if (plan.engine == "mlx") {
    row("Memory", fmt::format("weights {} + adapter and optimizer {}; MLX allocates the rest as it goes", human_bytes(plan.weights_bytes),
                              human_bytes(plan.adapter_bytes)));
    row("Compute", plan.kernels);
    fmt::print("\n");
    std::fflush(stdout);
    return;
  }
  row("Memory", fmt::format("weights {} + arena {} + adapter and optimizer {}; expected peak {}", human_bytes(plan.weights_bytes),
                            human_bytes(plan.arena_bytes), human_bytes(plan.adapter_bytes), human_bytes(plan.expected_peak_rss_bytes)));
  const std::string time = plan.predicted_seconds > 0 ? fmt::format("; about {}", human_duration(plan.predicted_seconds)) : "";
  row("Compute", fmt::format("{} thread{}, {} kernels, {}{}", plan.threads, plan.threads == 1 ? "" : "s", plan.kernels, describe(plan.recipe), time));
  fmt::print("\n");
  std::fflush(stdout);
}

void TrainPrinter::on_progress(const StepProgress& progress) {
  last_ = progress;
  live(fmt::format("step {}/{}  epoch {:.2f}  loss {:.3f}  {:.0f} tokens/s  {}  {} left", progress.step, progress.steps, progress.epoch,
                   progress.loss, progress.tokens_per_s, human_bytes(progress.rss_bytes), human_duration(progress.seconds_left)));
}

void TrainPrinter::on_report(const TrainReport& report) {
  const std::string steps = std::to_string(report.steps);
  line(fmt::format("step {:>{}}/{}  epoch {:.2f}  train loss {}  lr {:.3e}  {:.0f} tokens/s  {}  {} left", report.step, steps.size(), steps,
                   last_.epoch, styled(Style::kBold, fmt::format("{:.3f}", report.train_loss)), report.learning_rate, report.tokens_per_s,
                   human_bytes(report.rss_bytes), human_duration(last_.seconds_left)));
}

void TrainPrinter::on_validation(const ValidationReport& validation) {
  validations_.push_back(validation);
  const std::string steps = std::to_string(plan_.steps);
  line(fmt::format("step {:>{}}/{}  {} {}  ({:.1f} s){}", validation.step, steps.size(), steps, styled(Style::kCyan, "validation loss"),
                   styled(Style::kBold, fmt::format("{:.3f}", validation.loss)), validation.seconds, validation.is_best ? "  best so far" : ""));
}

void TrainPrinter::on_save(std::int64_t step, const std::vector<fs::path>& files) {
  std::vector<std::string> names;
  for (const fs::path& file : files) names.push_back(file.filename().string());
  // The final save repeats adapters.safetensors and is part of the summary; the best one is told with its validation.
  if (names.size() > 1) line(styled(Style::kDim, fmt::format("step {}  saved {}", step, fmt::join(names, ", "))));
}

void TrainPrinter::print_summary(const TrainResult& result) {
  if (quiet_) return;
  clear_live_line();
  fmt::print("\n");
  if (result.steps > 0) {
    row("Trained",
        fmt::format("{} steps, {} tokens in {} ({:.0f} tokens/s)", result.steps, human_count(static_cast<std::size_t>(result.trained_tokens)),
                    human_duration(result.wall_seconds), result.tokens_per_second));
  }
  if (!result.train_losses.empty()) row("Train", fmt::format("loss {:.4f} (last report)", result.train_losses.back().loss));
  if (result.val_losses.size() > 1) {
    row("Valid", fmt::format("loss {:.4f} before, {} after", result.val_losses.front().loss,
                             styled(Style::kGreen, fmt::format("{:.4f}", result.val_losses.back().loss))));
  }
  if (result.test_loss) row("Test", fmt::format("loss {:.3f}, perplexity {:.3f}", *result.test_loss, std::exp(*result.test_loss)));
  const auto fp32 = static_cast<std::size_t>(Arithmetic::kFp32);
  AppliedArithmetic lowered = result.arithmetic;
  lowered.forward[fp32] = lowered.backward[fp32] = 0;
  if (!(lowered == AppliedArithmetic())) row("Arithmetic", describe(result.arithmetic));
  row("Memory",
      fmt::format("peak {} (expected {}), arena {} used of {} planned", human_bytes(result.peak_rss_bytes),
                  human_bytes(plan_.expected_peak_rss_bytes), human_bytes(result.peak_arena_bytes), human_bytes(result.planned_arena_bytes)));
  if (result.steps > 0) {
    const auto best = std::any_of(validations_.begin(), validations_.end(), [](const ValidationReport& v) { return v.is_best; });
    row("Files", fmt::format("{}/  adapters.safetensors, adapter_config.json, metrics.jsonl, run.json{}", request_.adapter_path,
                             best ? ", best_adapters.safetensors" : ""));
  }
}

}  // namespace evolora
