// One sandboxed run, one trusted evaluation, and the loops over pairs and slots.
#include "evolve/judge/mlx/mlx_training.h"

#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "base/json.h"
#include "evolve/judge/mlx/mlx_runner.h"
#include "evolve/judge/mlx/mlx_slots.h"
#include "evolve/judge/worker_connection.h"
#include "evolve/random.h"
#include "evolve/sandbox/readable.h"
#include "train/clock.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kNever = std::int64_t{1} << 40;  // as a number of steps

struct TrainingRun {
  int exit_status = 0;
  double seconds = 0;
  double peak_bytes = 0;  // the kernel's high-water mark, looked at every few milliseconds
  bool timed_out = false;
};

class Trainings {
 public:
  Trainings(FileSystem& files, bool dora, Isolation isolation, const MlxTrainingPlan& plan, fs::path work, const std::atomic<bool>* stop)
      : files_(files), dora_(dora), isolation_(isolation), plan_(plan), work_(std::move(work)), stop_(stop) {}

  Status prepare() {
    TRY(files_.remove(work_));
    TRY(files_.create_directories(work_ / "look"));
    const bool has_valid = files_.exists(plan_.data / "valid.jsonl");
    const std::string text = TRY(files_.read(plan_.data / (has_valid ? "valid.jsonl" : "train.jsonl")));
    for (const char* name : {"train.jsonl", "valid.jsonl"}) TRY(write_file_atomically(files_, work_ / "look" / name, text));
    return {};
  }

  // Trains with the pack in library; the adapter is left in work/name.
  Result<TrainingRun> train(const fs::path& library, const std::string& name, std::uint64_t seed) {
    Json request = common(name);
    request["data"] = plan_.data.string();
    request["seed"] = seed % (std::uint64_t{1} << 31);
    request["val_batches"] = 0;
    for (const char* key : {"steps_per_report", "steps_per_eval", "save_every"}) request[key] = kNever;
    return run(request, name, {library.string()}, plan_.data);
  }

  // Of the adapter in work/name, by mlx-lm's own operations: what a run that starts with it validates before its first step.
  Result<double> loss(const std::string& name) {
    const fs::path adapter = work_ / name / "adapters.safetensors";
    if (!files_.exists(adapter)) return Error{ErrorCode::kBadData, "it left no adapter"};
    const std::string look = name + "-look";
    TRY(files_.remove(work_ / look));
    TRY(files_.create_directories(work_ / look));
    // Moved: the run sees this folder only, and a link in the other is not followed.
    const fs::path start = work_ / look / "start.safetensors";
    TRY(files_.rename(adapter, start));
    return look_at(look, start);
  }

  // Of what every run begins with.
  Result<double> first_loss() {
    const Json given = plan_.settings.value("resume_adapter_file", Json());
    return look_at("first-look", given.is_string() ? fs::path(given.get<std::string>()) : fs::path());
  }

  // A field of what the run `name` left in trial.json; null if there is none.
  Json said(const std::string& name, const char* field) {
    const auto trial = read_json_object(files_, work_ / name / "trial.json");
    return trial.ok() ? trial->value(field, Json()) : Json();
  }

  // Why the pack was not what a linear was computed by, as the run `name` tells it; nothing if it was everywhere.
  std::optional<std::string> why_not_applied(const std::string& name) {
    const auto record = read_json_object(files_, work_ / name / "run.json");
    const Json applied = record.ok() ? record->value("applied", Json()) : Json();
    const Json fallbacks = applied.is_object() ? applied.value("fallbacks", Json()) : Json();
    if (!fallbacks.is_array() || fallbacks.empty()) return std::nullopt;
    const Json reason = fallbacks[0].is_object() ? fallbacks[0].value("reason", Json()) : Json();
    return reason.is_string() ? reason.get<std::string>() : "some linears were not its";
  }

 private:
  Json common(const std::string& name) const {
    Json request = plan_.settings;
    request["model"] = plan_.model.string();
    request["adapter_path"] = (work_ / name).string();
    request["engine"] = "mlx";
    request["train"] = true;
    request["fine_tune_type"] = fine_tune_type(dora_);
    return request;
  }

  // The loss before the first step of a run that starts with this adapter, or a new one.
  Result<double> look_at(const std::string& name, const fs::path& start) {
    Json request = common(name);
    for (const char* key : {"epochs", "lr_schedule", "resume_adapter_file"}) request.erase(key);
    request["data"] = (work_ / "look").string();
    if (!start.empty()) request["resume_adapter_file"] = start.string();
    request["iters"] = 1;
    request["learning_rate"] = 1e-12;
    request["val_batches"] = -1;
    const TrainingRun done = TRY(run(request, name, {}, work_ / "look"));
    const Json value = said(name, "first_val_loss");
    if (done.exit_status == 0 && value.is_number() && std::isfinite(value.get<double>())) return value.get<double>();
    const Json error = said(name, "error");
    return Error{ErrorCode::kBadData,
                 fmt::format("its adapter has no loss: {}", error.is_string() ? error.get<std::string>() : "the evaluation ended early")};
  }

  Result<TrainingRun> run(const Json& settings, const std::string& name, const std::vector<std::string>& arguments, const fs::path& data) {
    const fs::path trainer = TRY(judging_file("evolora_mlx_pack_trainer"));
    const fs::path engine = TRY(judging_file("evolora_mlx_engine.so"));
    const fs::path folder = work_ / name;
    TRY(files_.create_directories(folder));
    TRY(write_file_atomically(files_, folder / "request.json", settings.dump(2) + "\n"));
    SandboxRequest request;
    request.argv = {trainer.string(), (folder / "request.json").string(), (folder / "trial.json").string()};
    request.argv.insert(request.argv.end(), arguments.begin(), arguments.end());
    request.mounts = {{trainer}, {engine}};
    add_readable(plan_.model, request.mounts);
    add_readable(data, request.mounts);
    const Json adapter = settings.value("resume_adapter_file", Json());
    if (adapter.is_string()) add_readable(adapter.get<std::string>(), request.mounts);
    for (const std::string& library : arguments) request.mounts.push_back({library});
    request.mounts.push_back({folder, SandboxMount::Access::kWrite});
    request.environment = {{"TMPDIR", "/tmp"}};
    TRY(add_mlx(request));
    request.folder = folder;
    request.has_proc = true;
    request.system_calls = SystemCalls::kTraining;
    request.limits.cpu_seconds = static_cast<std::int64_t>(8 * plan_.run_seconds);
    request.limits.address_space_bytes = std::size_t{64} << 30;
    request.limits.file_bytes = std::size_t{1} << 30;
    const double start = monotonic_seconds();
    SandboxedProcess process = TRY(SandboxedProcess::start(request, isolation_));
    TrainingRun result;
    constexpr double kLookSeconds = 0.005;
    while (!process.wait(kLookSeconds)) {
      result.peak_bytes = std::max(result.peak_bytes, static_cast<double>(process.memory().peak_bytes));
      result.timed_out = monotonic_seconds() - start > plan_.run_seconds;
      if (result.timed_out) break;
      if (stop_ != nullptr && stop_->load()) return Error{ErrorCode::kInterrupted, "interrupted"};
    }
    result.seconds = monotonic_seconds() - start;
    result.exit_status = process.end(0);
    return result;
  }

  FileSystem& files_;
  bool dora_;
  Isolation isolation_;
  const MlxTrainingPlan& plan_;
  fs::path work_;
  const std::atomic<bool>* stop_;
};

struct Arm {
  const char* name;
  fs::path library;
  TrainingRun run;
  double loss = 0;
};

// One line if the arm did not train; its loss otherwise.
Result<std::optional<std::string>> finish(Trainings& trainings, Arm& arm) {
  if (arm.run.timed_out) return std::optional<std::string>("it did not end in time");
  if (arm.run.exit_status != 0) {
    const Json error = trainings.said(arm.name, "error");
    return std::optional<std::string>(error.is_string() ? error.get<std::string>()
                                                        : fmt::format("its process ended with status {}", arm.run.exit_status));
  }
  if (auto reason = trainings.why_not_applied(arm.name)) return reason;
  const auto loss = trainings.loss(arm.name);
  if (!loss.ok() && loss.error().code != ErrorCode::kBadData) return loss.error();
  if (!loss.ok()) return std::optional<std::string>(loss.error().message);
  arm.loss = *loss;
  return std::optional<std::string>();
}

Json record_of(const Arm& arm) { return {{"seconds", arm.run.seconds}, {"peak_bytes", arm.run.peak_bytes}, {"loss", arm.loss}}; }

TrialSample sample_of(const Arm& arm, double first_loss) {
  return {.wall_seconds = arm.run.seconds,
          .peak_bytes = arm.run.peak_bytes,
          .val_loss = arm.loss,
          .first_loss = first_loss,
          .progress = first_loss - arm.loss};
}

// One line if the losses are those of different trainings. A fall of less than a ten-thousandth is rounding, not learning.
std::optional<std::string> loss_problem(const MlxTrainingPlan& plan, double first, double baseline, double candidate) {
  if (!(std::abs(candidate - baseline) <= plan.loss_margin * std::abs(baseline))) {
    return fmt::format("the loss of its adapter is {:.5g}, the baseline's with the same seed {:.5g}: further than {:.2g} %", candidate, baseline,
                       100 * plan.loss_margin);
  }
  constexpr double kLeastFall = 1e-4;
  const double fall = first - baseline;
  if (std::abs(fall) < kLeastFall * std::abs(first) || std::abs(baseline - candidate) <= plan.progress_margin * std::abs(fall)) return std::nullopt;
  return fmt::format("the loss of its adapter fell from {:.5g} by {:.4g}, the baseline's with the same seed by {:.4g}: further than {:.2g} %", first,
                     first - candidate, fall, 100 * plan.progress_margin);
}

// All pairs of one kind of adapter; the reason why no more, if there is one.
Result<std::optional<std::string>> run_pairs(FileSystem& files, const MlxTrainingArms& libraries, Trainings& trainings, const MlxTrainingPlan& plan,
                                             const fs::path& work, Random seeds, std::vector<SamplePair>& samples, Json& details) {
  TRY(trainings.prepare());
  const auto first_loss = trainings.first_loss();
  if (!first_loss.ok() && first_loss.error().code == ErrorCode::kBadData) {
    return Error{ErrorCode::kBadData, fmt::format("training before a pack is in it failed: {}", first_loss.error().message)};
  }
  if (!first_loss.ok()) return first_loss.error();
  details = {{"first_loss", *first_loss}, {"pairs", Json::array()}};
  for (int pair = 0; pair < plan.pairs; ++pair) {
    const std::uint64_t run_seed = seeds.bits();
    Arm arms[2] = {{"baseline", libraries.baseline, {}}, {"candidate", libraries.candidate, {}}};
    const std::size_t first = seeds.below(2);
    for (const std::size_t number : {first, 1 - first}) {
      Arm& arm = arms[number];
      TRY(files.remove(work / arm.name));
      arm.run = TRY(trainings.train(arm.library, arm.name, run_seed));
      auto problem = TRY(finish(trainings, arm));
      if (!problem.has_value()) continue;
      if (number == 0) return Error{ErrorCode::kBadData, fmt::format("training with the baseline failed: {}", *problem)};
      return problem;
    }
    details["pairs"].push_back({{"baseline", record_of(arms[0])}, {"candidate", record_of(arms[1])}});
    if (auto problem = loss_problem(plan, *first_loss, arms[0].loss, arms[1].loss)) return problem;
    samples.push_back({static_cast<std::size_t>(pair) + 1, sample_of(arms[0], *first_loss), sample_of(arms[1], *first_loss)});
  }
  return std::optional<std::string>();
}

// Means over slots, pair by pair.
void add_ratios(MlxTrainingResult& result) {
  const auto slots = static_cast<double>(result.samples.size());
  for (const auto& [slot, pairs] : result.samples) {
    result.log_speed.resize(pairs.size());
    result.log_memory.resize(pairs.size());
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      result.log_speed[i] += std::log(pairs[i].baseline.wall_seconds / pairs[i].candidate.wall_seconds) / slots;
      result.log_memory[i] += std::log(pairs[i].baseline.peak_bytes / pairs[i].candidate.peak_bytes) / slots;
    }
  }
}

}  // namespace

Result<MlxTrainingResult> run_mlx_training(FileSystem& files, const MlxTrainingArms& arms, const PackManifest& manifest, Isolation isolation,
                                           const MlxTrainingPlan& plan, const fs::path& work, std::uint64_t seed, const std::atomic<bool>* stop) {
  MlxTrainingPlan absolute = plan;
  absolute.model = fs::absolute(plan.model).lexically_normal();
  absolute.data = fs::absolute(plan.data).lexically_normal();
  MlxTrainingResult result;
  result.details = Json::object();
  for (const bool dora : served_kinds(manifest)) {
    const std::string slot = mlx_slot(dora);
    Trainings trainings(files, dora, isolation, absolute, work, stop);
    const Random seeds(seed, dora ? 5001 : 5000);
    const auto problem = TRY(run_pairs(files, arms, trainings, plan, work, seeds, result.samples[slot], result.details[slot]));
    if (!problem) continue;
    result.reason = fmt::format("{}: training: {}", slot, *problem);
    return result;
  }
  result.passed = true;
  add_ratios(result);
  return result;
}

}  // namespace evolora
