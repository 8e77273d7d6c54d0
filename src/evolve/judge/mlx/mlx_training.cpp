// One sandboxed run, one trusted evaluation, and the loop over pairs.
#include "evolve/judge/mlx/mlx_training.h"

#include <fmt/format.h>

#include <cmath>

#include "base/json.h"
#include "evolve/judge/mlx/mlx_runner.h"
#include "evolve/judge/worker_connection.h"
#include "evolve/random.h"
#include "measure/estimators.h"
#include "train/clock.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

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
    request["iters"] = plan_.iters;
    request["learning_rate"] = plan_.learning_rate;
    request["steps_per_report"] = plan_.iters;
    request["steps_per_eval"] = plan_.iters;
    request["val_batches"] = 1;
    request["save_every"] = plan_.iters;
    request["seed"] = seed % (std::uint64_t{1} << 31);
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
    TRY(files_.rename(adapter, work_ / look / "start.safetensors"));
    Json request = common(look);
    request["data"] = (work_ / "look").string();
    request["resume_adapter_file"] = (work_ / look / "start.safetensors").string();
    request["iters"] = 1;
    request["learning_rate"] = 1e-12;
    request["val_batches"] = -1;
    const TrainingRun done = TRY(run(request, look, {}, work_ / "look"));
    const Json value = said(look, "first_val_loss");
    if (done.exit_status != 0 || !value.is_number() || !std::isfinite(value.get<double>())) {
      const Json error = said(look, "error");
      return Error{ErrorCode::kBadData,
                   fmt::format("its adapter has no loss: {}", error.is_string() ? error.get<std::string>() : "the evaluation ended early")};
    }
    return value.get<double>();
  }

  // A field of what the run `name` left in trial.json; null if there is none.
  Json said(const std::string& name, const char* field) {
    const auto trial = read_json_object(files_, work_ / name / "trial.json");
    return trial.ok() ? trial->value(field, Json()) : Json();
  }

 private:
  Json common(const std::string& name) const {
    return {{"model", plan_.model.string()},
            {"adapter_path", (work_ / name).string()},
            {"engine", "mlx"},
            {"train", true},
            {"fine_tune_type", dora_ ? "dora" : "lora"},
            {"num_layers", -1},
            {"batch_size", plan_.batch_size},
            {"max_seq_length", plan_.max_seq_length}};
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
    request.mounts = {{trainer}, {engine}, {plan_.model}, {data}, {folder, SandboxMount::Access::kWrite}};
    for (const std::string& library : arguments) request.mounts.push_back({library});
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
  const auto loss = trainings.loss(arm.name);
  if (!loss.ok() && loss.error().code != ErrorCode::kBadData) return loss.error();
  if (!loss.ok()) return std::optional<std::string>(loss.error().message);
  arm.loss = *loss;
  return std::optional<std::string>();
}

Json record_of(const Arm& arm) { return {{"seconds", arm.run.seconds}, {"peak_bytes", arm.run.peak_bytes}, {"loss", arm.loss}}; }

}  // namespace

Result<MlxTrainingResult> run_mlx_training(FileSystem& files, const fs::path& candidate, const fs::path& baseline, bool dora, Isolation isolation,
                                           const MlxTrainingPlan& plan, const fs::path& work, std::uint64_t seed, const std::atomic<bool>* stop) {
  MlxTrainingPlan absolute = plan;
  absolute.model = fs::absolute(plan.model).lexically_normal();
  absolute.data = fs::absolute(plan.data).lexically_normal();
  Trainings trainings(files, dora, isolation, absolute, work, stop);
  TRY(trainings.prepare());
  MlxTrainingResult result;
  result.details = {{"iters", plan.iters}, {"pairs", Json::array()}};
  for (int pair = 0; pair < plan.pairs; ++pair) {
    Random random(seed, 5000 + static_cast<std::uint64_t>(pair));
    const std::uint64_t run_seed = random.bits();
    Arm arms[2] = {{"baseline", baseline, {}}, {"candidate", candidate, {}}};
    const std::size_t first = random.below(2);
    for (const std::size_t number : {first, 1 - first}) {
      Arm& arm = arms[number];
      TRY(files.remove(work / arm.name));
      arm.run = TRY(trainings.train(arm.library, arm.name, run_seed));
      const auto problem = TRY(finish(trainings, arm));
      if (!problem.has_value()) continue;
      if (number == 0) return Error{ErrorCode::kInternal, fmt::format("training with the baseline failed: {}", *problem)};
      result.reason = fmt::format("training: {}", *problem);
      return result;
    }
    result.details["pairs"].push_back({{"baseline", record_of(arms[0])}, {"candidate", record_of(arms[1])}});
    if (!(std::abs(arms[1].loss - arms[0].loss) <= plan.loss_margin * std::abs(arms[0].loss))) {
      result.reason = fmt::format("after {} steps the loss of its adapter is {:.5g}, the baseline's with the same seed {:.5g}: further than {:.2g} %",
                                  plan.iters, arms[1].loss, arms[0].loss, 100 * plan.loss_margin);
      return result;
    }
    result.log_speed.push_back(std::log(arms[0].run.seconds / arms[1].run.seconds));
    result.log_memory.push_back(std::log(arms[0].run.peak_bytes / arms[1].run.peak_bytes));
  }
  result.passed = true;
  result.details["speedup"] = std::exp(summarize(result.log_speed).mean);
  result.details["memory_saving"] = std::exp(summarize(result.log_memory).mean);
  return result;
}

}  // namespace evolora
