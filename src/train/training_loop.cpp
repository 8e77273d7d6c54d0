// The loop itself. mlx-lm's order of events is marked where compat semantics depend on it.
#include "train/training_loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "base/check.h"
#include "base/philox.h"
#include "train/clock.h"
#include "train/evaluation.h"
#include "train/memory_meter.h"

namespace evolora {
namespace {

// Every micro-step has its own dropout masks, and they depend on nothing but the run's seed and the step's number.
std::uint64_t dropout_seed(std::uint64_t seed, std::int64_t step) {
  const auto bits = philox4x32(static_cast<std::uint64_t>(step), seed);
  return (static_cast<std::uint64_t>(bits[1]) << 32) | bits[0];
}

bool all_finite(const float* values, std::size_t count) {
  return std::all_of(values, values + count, [](float value) { return std::isfinite(value); });
}

}  // namespace

double TrainingLoop::epoch_at(std::int64_t step) const {
  return static_cast<double>(step) / static_cast<double>(std::max<std::int64_t>(1, p_.train_batches.batches_per_epoch()));
}

Error TrainingLoop::interrupted(std::int64_t steps_done) {
  if (steps_done == 0) return Error{ErrorCode::kInterrupted, "interrupted before the first step; nothing was saved"};
  const nlohmann::ordered_json resumable = state();
  if (const Status written = write_metrics(); !written.ok()) return written.error();
  if (const Status saved = save(steps_done, false); !saved.ok()) return saved.error();
  const char* how = "";
  if (p_.save_state) {
    if (const Status saved = p_.save_state(resumable, !window_.empty()); !saved.ok()) return saved.error();
    how = "; --resume goes on from there";
  }
  return Error{ErrorCode::kInterrupted,
               fmt::format("interrupted after step {} of {}; the adapter is saved in {}{}", steps_done, p_.steps, p_.request.adapter_path, how)};
}

nlohmann::ordered_json TrainingLoop::state() const {
  const auto curve = [](const std::vector<LossPoint>& points) {
    auto out = nlohmann::ordered_json::array();
    for (const LossPoint& point : points) out.push_back({point.step, point.loss});
    return out;
  };
  nlohmann::ordered_json state = {{"step", result_.steps},
                                  {"steps", p_.steps},
                                  {"trained_tokens", result_.trained_tokens},
                                  {"learning_rate", last_learning_rate_},
                                  {"loss_sum", loss_sum_},
                                  {"loss_weight", loss_weight_},
                                  {"best_val_step", best_val_step_},
                                  {"train_losses", curve(result_.train_losses)},
                                  {"val_losses", curve(result_.val_losses)}};
  if (best_val_loss_) state["best_val_loss"] = *best_val_loss_;
  if (!metrics_line_.empty()) state["metrics_line"] = metrics_line_;  // of a step whose validation was interrupted
  return state;
}

Status TrainingLoop::restore(const nlohmann::ordered_json& state) {
  try {
    const auto curve = [&](const char* key) {
      std::vector<LossPoint> points;
      for (const auto& point : state.at(key)) points.push_back({point.at(0).get<std::int64_t>(), point.at(1).get<double>()});
      return points;
    };
    result_.steps = last_saved_step_ = state.at("step").get<std::int64_t>();
    result_.trained_tokens = tokens_before_ = state.at("trained_tokens").get<std::int64_t>();
    last_learning_rate_ = state.at("learning_rate").get<float>();
    loss_sum_ = state.at("loss_sum").get<double>();
    loss_weight_ = state.at("loss_weight").get<double>();
    best_val_step_ = state.at("best_val_step").get<std::int64_t>();
    if (state.contains("best_val_loss")) best_val_loss_ = state.at("best_val_loss").get<double>();
    if (state.contains("metrics_line")) metrics_line_ = state.at("metrics_line");
    result_.train_losses = curve("train_losses");
    result_.val_losses = curve("val_losses");
  } catch (const nlohmann::ordered_json::exception& error) {
    return Error{ErrorCode::kBadData,
                 fmt::format("the saved state of the training loop is broken ({}); leave --resume out to start anew", error.what())};
  }
  first_step_ = result_.steps + 1;
  result_.resumed_from_step = result_.steps;
  return {};
}

// Batches follow from the seed alone, and making them costs next to nothing beside training on them.
void TrainingLoop::replay_batches() {
  for (std::int64_t step = 1; step < first_step_; ++step) take_batch(step);
}

Status TrainingLoop::run() {
  start_ = report_start_ = monotonic_seconds();
  const Status outcome = run_steps();
  result_.training_seconds = monotonic_seconds() - start_ - excluded_;
  if (result_.training_seconds > 0) {
    result_.tokens_per_second = static_cast<double>(result_.trained_tokens - tokens_before_) / result_.training_seconds;
  }
  if (!outcome.ok() && outcome.error().code == ErrorCode::kInterrupted) return interrupted(result_.steps);
  if (!outcome.ok()) return outcome;
  return save(p_.steps, false);
}

Status TrainingLoop::run_steps() {
  if (first_step_ > 1) {
    replay_batches();
    TRY(finish_step(first_step_ - 1));  // what came after the step may not have come to its end
  } else if (!compat() && p_.valid_batches != nullptr) {
    TRY(validate(0));
    TRY(write_metrics());
  }
  for (std::int64_t step = first_step_; step <= p_.steps; ++step) {
    if (stop_requested()) return Error{ErrorCode::kInterrupted, "stop requested"};
    // mlx-lm fetches the batch, which may draw the next epoch's order, before it validates, which draws too.
    const Batch batch = take_batch(step);
    if (compat() && validation_due(step)) {
      TRY(validate(step - 1));
      TRY(write_metrics());
    }
    TRY(check_batch(batch, step));
    TRY(train_on(batch, step));
    if (step % p_.request.steps_per_report == 0 || step == p_.steps) report(step);
    TRY(finish_step(step));
  }
  return {};
}

// Validation, metrics and snapshot after a step.
Status TrainingLoop::finish_step(std::int64_t step) {
  const bool validated = !result_.val_losses.empty() && result_.val_losses.back().step == step;
  if (!compat() && !validated && validation_due(step)) TRY(validate(step));
  TRY(write_metrics());
  if (step % p_.request.save_every != 0) return {};
  TRY(save(step, true));
  return p_.save_state ? p_.save_state(state(), !window_.empty()) : Status();
}

// Native windows are gathered as a whole, because the scale of their gradients is one over the supervised tokens of all.
Batch TrainingLoop::take_batch(std::int64_t step) {
  const auto next = [&] {
    if (epoch_.empty()) {
      std::vector<Batch> batches = p_.train_batches.next_epoch();
      epoch_.assign(std::make_move_iterator(batches.begin()), std::make_move_iterator(batches.end()));
    }
    CHECK(!epoch_.empty());
    Batch batch = std::move(epoch_.front());
    epoch_.pop_front();
    return batch;
  };
  if (compat()) return next();
  if (window_.empty()) {
    window_supervised_ = 0;
    const std::int64_t size = std::min(p_.request.grad_accumulation_steps, p_.steps - step + 1);
    for (std::int64_t i = 0; i < size; ++i) {
      window_.push_back(next());
      window_supervised_ += window_.back().supervised_count();
    }
  }
  Batch batch = std::move(window_.front());
  window_.pop_front();
  return batch;
}

Status TrainingLoop::check_batch(const Batch& batch, std::int64_t step) const {
  if (batch.supervised_count() > 0) return {};
  return Error{ErrorCode::kBadData,
               fmt::format("step {}: no sample of the batch has a token to learn, because its prompts fill max_seq_length ({}); mlx-lm's "
                           "loss is NaN here. Raise --max-seq-length, or leave --compat away",
                           step, p_.request.max_seq_length)};
}

Status TrainingLoop::train_on(const Batch& batch, std::int64_t step) {
  const auto supervised = static_cast<double>(batch.supervised_count());
  const double loss_scale = 1.0 / (compat() ? supervised : static_cast<double>(window_supervised_));
  const std::optional<StepUpdate> update = update_after(step);
  const double sum = TRY(p_.engine.train_on(batch, loss_scale, dropout_seed(p_.request.seed, step), update));
  if (!std::isfinite(sum)) {
    const std::string kept = last_saved_step_ > 0 ? fmt::format("the adapter of step {} is kept", last_saved_step_) : "no adapter was saved";
    return Error{ErrorCode::kBadData, fmt::format("the loss of step {} is not finite; {}. Try a lower learning rate (now {:.3g})", step, kept,
                                                  static_cast<double>(last_learning_rate_))};
  }
  if (update) last_learning_rate_ = update->learning_rate;

  result_.steps = step;
  result_.trained_tokens += batch.real_tokens;
  loss_sum_ += compat() ? sum / supervised : sum;
  loss_weight_ += compat() ? 1.0 : supervised;
  report_tokens_ += batch.real_tokens;
  ++report_steps_;
  progress(step, sum / supervised);
  return {};
}

// Compat averages the means of its micro-batches; a native window's gradients are of one loss already.
std::optional<StepUpdate> TrainingLoop::update_after(std::int64_t step) const {
  const std::int64_t window = p_.request.grad_accumulation_steps;
  const bool due = compat() ? step % window == 0 : window_.empty();
  if (!due) return std::nullopt;
  return StepUpdate{.gradient_scale = compat() ? 1.0F / static_cast<float>(window) : 1.0F,
                    .learning_rate = p_.learning_rate.at(p_.engine.updates_done())};
}

bool TrainingLoop::validation_due(std::int64_t step) const {
  if (p_.valid_batches == nullptr) return false;
  const bool first_of_compat = compat() && step == 1;
  return first_of_compat || step % p_.request.steps_per_eval == 0 || step == p_.steps;
}

Status TrainingLoop::validate(std::int64_t steps_done) {
  const double start = monotonic_seconds();
  const LossSummary summary = TRY(evaluate_loss([&](const Batch& batch) { return p_.engine.loss_sum(batch); }, p_.valid_batches->next(), p_.stop));
  result_.val_losses.push_back({steps_done, summary.loss});
  const bool best = !compat() && steps_done > 0 && (!best_val_loss_ || summary.loss < *best_val_loss_);
  if (best) {
    best_val_loss_ = summary.loss;
    best_val_step_ = steps_done;
    TRY(save_best(steps_done));
  }
  last_validation_seconds_ = monotonic_seconds() - start;
  excluded_ += last_validation_seconds_;
  report_excluded_ += last_validation_seconds_;
  p_.observer.on_validation({steps_done, summary.loss, summary.tokens, last_validation_seconds_, best});
  metrics_line_["step"] = steps_done;
  metrics_line_["val_loss"] = summary.loss;
  metrics_line_["val_tokens"] = summary.tokens;
  metrics_line_["val_seconds"] = last_validation_seconds_;
  return {};
}

void TrainingLoop::progress(std::int64_t step, double batch_loss) {
  const double seconds = std::max(1e-9, monotonic_seconds() - start_ - excluded_);
  const auto done = static_cast<double>(step - first_step_ + 1);
  const auto left = static_cast<double>(p_.steps - step);
  double validations_left = 0;
  if (p_.valid_batches != nullptr) {
    const std::int64_t every = p_.request.steps_per_eval;
    validations_left = static_cast<double>(p_.steps / every - step / every + (p_.steps % every != 0 ? 1 : 0));
  }
  StepProgress now;
  now.step = step;
  now.steps = p_.steps;
  now.epoch = epoch_at(step);
  now.loss = batch_loss;
  now.tokens_per_s = static_cast<double>(result_.trained_tokens - tokens_before_) / seconds;
  now.rss_bytes = process_memory().rss_bytes;
  now.seconds_left = left * seconds / done + validations_left * last_validation_seconds_;
  p_.observer.on_progress(now);
}

void TrainingLoop::report(std::int64_t step) {
  const double now = monotonic_seconds();
  const double seconds = std::max(1e-9, now - report_start_ - report_excluded_);
  const ProcessMemory memory = process_memory();
  TrainReport out;
  out.step = step;
  out.steps = p_.steps;
  out.train_loss = loss_sum_ / loss_weight_;
  out.learning_rate = static_cast<double>(p_.engine.updates_done() > 0 ? last_learning_rate_ : p_.learning_rate.at(0));
  out.steps_per_s = static_cast<double>(report_steps_) / seconds;
  out.tokens_per_s = static_cast<double>(report_tokens_) / seconds;
  out.trained_tokens = result_.trained_tokens;
  out.rss_bytes = memory.rss_bytes;
  out.peak_rss_bytes = memory.peak_rss_bytes;
  result_.train_losses.push_back({step, out.train_loss});
  p_.observer.on_report(out);

  metrics_line_["step"] = step;
  metrics_line_["epoch"] = epoch_at(step);
  metrics_line_["train_loss"] = out.train_loss;
  metrics_line_["tokens"] = out.trained_tokens;
  metrics_line_["tokens_per_s"] = out.tokens_per_s;
  metrics_line_["learning_rate"] = out.learning_rate;
  metrics_line_["rss"] = out.rss_bytes;

  loss_sum_ = loss_weight_ = report_excluded_ = 0;
  report_tokens_ = report_steps_ = 0;
  report_start_ = now;
}

Status TrainingLoop::write_metrics() {
  if (metrics_line_.empty()) return {};
  if (!metrics_line_.contains("rss")) metrics_line_["rss"] = process_memory().rss_bytes;
  const Status written = p_.metrics.append(metrics_line_);
  metrics_line_ = {};
  return written;
}

Status TrainingLoop::write_config_once() {
  if (config_written_ || !p_.write_config) return {};
  TRY(p_.write_config());
  config_written_ = true;
  return {};
}

Status TrainingLoop::save(std::int64_t step, bool snapshot) {
  TRY(p_.engine.store_parameters());
  if (!all_finite(p_.adapters.parameters(), p_.adapters.parameter_count())) {
    return Error{
        ErrorCode::kBadData,
        fmt::format("the adapter holds NaN or infinity after step {}; it was not saved, earlier files stay. Try a lower learning rate", step)};
  }
  const fs::path folder = p_.request.adapter_path;
  TRY(write_config_once());
  std::vector<fs::path> written = {folder / "adapters.safetensors"};
  if (snapshot) written.push_back(folder / fmt::format("{:07d}_adapters.safetensors", step));
  for (const fs::path& path : written) TRY(p_.adapters.save(p_.files, path));
  last_saved_step_ = step;
  p_.observer.on_save(step, written);
  return {};
}

Status TrainingLoop::save_best(std::int64_t step) {
  const fs::path path = fs::path(p_.request.adapter_path) / "best_adapters.safetensors";
  TRY(p_.engine.store_parameters());
  if (!all_finite(p_.adapters.parameters(), p_.adapters.parameter_count())) return {};
  TRY(write_config_once());
  TRY(p_.adapters.save(p_.files, path));
  p_.observer.on_save(step, {path});
  return {};
}

}  // namespace evolora
