// One trial from request to record.
#include "measure/trial_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "base/sha256.h"
#include "measure/machine_notes.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

std::optional<double> finite(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number() || !std::isfinite(found->get<double>())) return std::nullopt;
  return found->get<double>();
}

std::string last_line(const std::string& text) {
  const std::size_t end = text.find_last_not_of("\n\r ");
  if (end == std::string::npos) return "";
  const std::size_t begin = text.find_last_of("\n\r", end);
  constexpr std::size_t kMost = 300;
  return text.substr(begin == std::string::npos ? 0 : begin + 1, std::min(kMost, end - (begin == std::string::npos ? 0 : begin + 1) + 1));
}

// First loss and how far it fell, of the validations if there are two, else of the training reports.
void set_progress(TrialSample& sample, const std::vector<double>& val, const std::vector<double>& train) {
  if (!train.empty()) sample.train_loss = train.back();
  if (!val.empty()) sample.val_loss = val.back();
  const std::vector<double>& curve = val.size() >= 2 ? val : train;
  if (curve.size() < 2) return;
  sample.first_loss = curve.front();
  sample.progress = curve.front() - curve.back();
}

struct LossCurve {
  std::vector<double> losses;
  Json points = Json::array();  // [[step, loss], ...], as the record keeps it
};

LossCurve curve_of(const Json& run, const char* key) {
  LossCurve out;
  const auto found = run.find(key);
  if (found == run.end() || !found->is_array()) return out;
  for (const Json& point : *found) {
    if (!point.is_object()) continue;
    const auto loss = finite(point, "loss");
    if (!loss) continue;
    out.losses.push_back(*loss);
    if (const auto step = finite(point, "step")) out.points.push_back({*step, *loss});
  }
  return out;
}

// Of an external command, which says no steps: its reports are numbered from 1.
Json numbered(const std::vector<double>& losses) {
  Json points = Json::array();
  for (std::size_t i = 0; i < losses.size(); ++i) points.push_back({i + 1, losses[i]});
  return points;
}

Json memory_points(const std::vector<MemoryPoint>& memory) {
  Json points = Json::array();
  for (const MemoryPoint& point : memory) points.push_back({std::round(point.seconds * 1000) / 1000, point.rss_bytes});
  return points;
}

std::optional<std::int64_t> whole(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_integer()) return std::nullopt;
  return found->get<std::int64_t>();
}

void fail(TrialRecord& record, TrialStatus status, std::string reason) {
  record.status = status;
  record.reason = std::move(reason);
}

}  // namespace

std::optional<std::string> contradiction(const Json& run, double wall_seconds, double peak_bytes) {
  // The child's clock starts when the system made the process (resolution 10 ms) and stops before it unmaps and exits.
  constexpr double kResolution = 0.05;
  constexpr double kExitSeconds = 0.5;
  constexpr double kExitShare = 0.1;
  const double said = finite(run, "wall_seconds").value_or(-1);
  const double late = wall_seconds - said;
  if (late < -kResolution || late > kExitSeconds + kExitShare * wall_seconds) {
    return fmt::format("clock_disagrees: the child says {:.2f} s, its parent measured {:.2f} s", said, wall_seconds);
  }
  const double training = finite(run, "training_seconds").value_or(0);
  if (training > wall_seconds + kResolution) {
    return fmt::format("clock_disagrees: {:.2f} s of training in a process of {:.2f} s", training, wall_seconds);
  }
  // The record is written just before the end, from the same counter of the kernel, which is batched per thread by up to 64 pages.
  constexpr double kBytes = 16e6;
  constexpr double kShare = 0.05;
  const double peak_said = finite(run, "peak_rss_bytes").value_or(-1);
  if (std::abs(peak_said - peak_bytes) > kBytes + kShare * peak_bytes) {
    return fmt::format("memory_disagrees: the child says {:.0f} bytes at its peak, its parent measured {:.0f}", peak_said, peak_bytes);
  }
  return std::nullopt;
}

Result<TrialRunner> TrialRunner::create(FileSystem& files, const fs::path& folder, const BenchPlan& plan, TrialLauncher* launcher) {
  TrialRunner runner(files, folder, plan, launcher);
  runner.digest_ = plan_digest(plan);
  TRY(runner.prepare());
  return runner;
}

Status TrialRunner::prepare() {
  TRY(files_->create_directories(folder_ / "trials"));
  for (const ArmRole role : {ArmRole::kBaseline, ArmRole::kCandidate}) {
    const Arm& arm = plan_->arm(role);
    if (arm.external()) {
      Json values = plan_->common;
      values["seed"] = 0;
      values["out"] = "";
      TRY(expand_command(arm, values));
      continue;
    }
    const Json request = TRY(request_of_arm(arm, plan_->common));
    expected_[static_cast<std::size_t>(role)] = TRY(expectation_of(*files_, arm, request));
    idle_bytes_[static_cast<std::size_t>(role)] = TRY(idle_bytes(role));
  }
  return {};
}

Result<std::size_t> TrialRunner::idle_bytes(ArmRole role) {
  const Arm& arm = plan_->arm(role);
  if (arm.external()) return std::size_t{0};
  const ChildResult idle = TRY(run_measured({.argv = {arm.program, "--version"},
                                             .standard_output = folder_ / "trials" / "version.log",
                                             .standard_error = folder_ / "trials" / "version.err"}));
  if (idle.exit_status != 0)
    return Error{ErrorCode::kDependency, fmt::format("arm '{}': {} --version ended with status {}", arm.name, arm.program, idle.exit_status)};
  return idle.peak_rss_bytes;
}

Result<TrialRecord> TrialRunner::run(const TrialPlace& place, const std::atomic<bool>* stop) {
  const Arm& arm = plan_->arm(place.role);
  TrialRecord record;
  record.plan_sha256 = digest_;
  record.role = place.role;
  record.pair = place.index;
  record.attempt = place.attempt;
  record.warmup = place.warmup;
  record.position = place.position;
  record.seed = trial_seed(*plan_, place.role, place.index);
  const std::string again = place.attempt > 0 ? fmt::format("-again{}", place.attempt) : "";
  const fs::path folder = folder_ / "trials" / fmt::format("{:04d}-{}{}", place.index, word(place.role), again);
  TRY(files_->remove(folder));
  TRY(files_->create_directories(folder));

  ChildRequest child{
      .standard_output = folder / "output.log", .standard_error = folder / "errors.log", .timeout_seconds = plan_->timeout_seconds, .stop = stop};
  if (arm.external()) {
    Json values = plan_->common;
    values["seed"] = record.seed;
    values["out"] = folder.string();
    child.argv = TRY(expand_command(arm, values));
    child.environment = arm.environment;
  } else {
    Json request = TRY(request_of_arm(arm, plan_->common));
    request["seed"] = record.seed;
    request["train"] = true;
    request["adapter_path"] = (folder / "adapter").string();
    TRY(write_file_atomically(*files_, folder / "request.json", request.dump(2) + "\n"));
    child.argv = {arm.program, "train", "--quiet", "--config", (folder / "request.json").string()};
    if (launcher_ != nullptr) child = TRY(launcher_->prepare(std::move(child), folder));
  }
  if (plan_->design == BenchDesign::kSequential) drop_from_page_cache(*files_, plan_->common["model"].get<std::string>());

  const Json before = moment_notes();
  const ChildResult done = TRY(run_measured(child));
  record.sample.wall_seconds = done.wall_seconds;
  record.sample.peak_bytes = static_cast<double>(done.peak_rss_bytes);
  record.cpu_seconds = done.cpu_seconds;
  record.memory_delta_bytes = std::max(0.0, record.sample.peak_bytes - static_cast<double>(idle_bytes_[static_cast<std::size_t>(place.role)]));
  record.notes = {{"before", before},
                  {"after", moment_notes()},
                  {"involuntary_switches", done.involuntary_switches},
                  {"major_faults", done.major_faults},
                  {"polled_rss_bytes", done.polled_rss_bytes},
                  {"memory", memory_points(done.memory)},
                  {"exit_status", done.exit_status}};
  if (done.stopped) {
    fail(record, TrialStatus::kInterrupted, "stopped by the user");
  } else if (done.timed_out) {
    fail(record, TrialStatus::kFailed, fmt::format("timeout: ended after {:.0f} s", done.wall_seconds));
  } else if (done.exit_status != 0) {
    const auto errors = files_->read(folder / "errors.log");
    fail(record, TrialStatus::kFailed, fmt::format("exit status {}: {}", done.exit_status, errors.ok() ? last_line(*errors) : ""));
  } else {
    record.status = TrialStatus::kOk;
    TRY(arm.external() ? collect_external(arm, folder, record) : collect_own(folder, record));
  }
  return record;
}

Status TrialRunner::collect_own(const fs::path& folder, TrialRecord& record) {
  const fs::path adapter = folder / "adapter";
  const auto run = read_json_object(*files_, adapter / "run.json");
  if (!run.ok()) {
    fail(record, TrialStatus::kFailed, "no_result: " + run.error().message);
    return {};
  }
  record.notes["applied"] = run->value("applied", Json());
  record.notes["versions"] = run->value("versions", Json());
  record.notes["recipe"] = run->value("recipe", Json());
  if (files_->exists(adapter / "adapters.safetensors"))
    record.notes["adapter_sha256"] = TRY(sha256_file_hex(*files_, adapter / "adapters.safetensors"));
  TrialSample& sample = record.sample;
  sample.steps = whole(*run, "steps");
  sample.tokens = whole(*run, "trained_tokens");
  record.training_seconds = std::max(0.0, finite(*run, "training_seconds").value_or(0));
  const LossCurve val = curve_of(*run, "val_losses");
  const LossCurve train = curve_of(*run, "train_losses");
  record.notes["train_losses"] = train.points;
  record.notes["val_losses"] = val.points;
  set_progress(sample, val.losses, train.losses);
  if (record.notes["applied"].is_object()) {
    const Json init = record.notes["applied"].value("adapter_init_sha256", Json());
    if (init.is_string()) sample.adapter_init = init.get<std::string>();
  }
  if (run->value("status", Json()) != "completed") {
    fail(record, TrialStatus::kInvalid, "not_completed: run.json says " + run->value("status", Json()).dump());
  } else if (const auto missing = missing_proof(expected_[static_cast<std::size_t>(record.role)], *run, record.role)) {
    fail(record, TrialStatus::kInvalid, *missing);
  } else if (const auto contradicted = contradiction(*run, sample.wall_seconds, sample.peak_bytes)) {
    fail(record, TrialStatus::kInvalid, *contradicted);
  } else if (!sample.train_loss) {
    fail(record, TrialStatus::kInvalid, "no_loss: run.json has no finite training loss");
  }
  // Weights have been digested and would fill the disk; everything else of the run stays.
  for (const std::string& name : TRY(files_->list(adapter))) {
    if (name.ends_with(".safetensors")) TRY(files_->remove(adapter / name));
  }
  return {};
}

Status TrialRunner::collect_external(const Arm& arm, const fs::path& folder, TrialRecord& record) {
  const std::string output = TRY(files_->read(folder / "output.log")) + "\n" + TRY(files_->read(folder / "errors.log"));
  const auto found = arm.reader.read(output);
  const auto values = [&](const char* figure) {
    const auto at = found.find(figure);
    return at == found.end() ? std::vector<double>() : at->second;
  };
  const auto last_whole = [&](const char* figure) -> std::optional<std::int64_t> {
    const std::vector<double> all = values(figure);
    if (all.empty() || std::abs(all.back()) > 1e15) return std::nullopt;
    return std::llround(all.back());
  };
  record.sample.tokens = last_whole("tokens");
  record.sample.steps = last_whole("steps");
  record.notes["train_losses"] = numbered(values("train_loss"));
  record.notes["val_losses"] = numbered(values("val_loss"));
  set_progress(record.sample, values("val_loss"), values("train_loss"));
  if (const auto seconds = values("training_seconds"); !seconds.empty()) record.training_seconds = std::max(0.0, seconds.back());
  if (record.training_seconds > record.sample.wall_seconds + 0.05) {
    fail(record, TrialStatus::kInvalid,
         fmt::format("clock_disagrees: {:.2f} s of training in a process of {:.2f} s", record.training_seconds, record.sample.wall_seconds));
  } else if (!record.sample.train_loss) {
    fail(record, TrialStatus::kInvalid, "no_loss: the output holds no training loss that 'read' finds");
  }
  return {};
}

}  // namespace evolora
