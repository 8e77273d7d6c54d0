// The loop over pairs and shapes.
#include "evolve/judge/mlx/mlx_microbenchmark.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include "evolve/judge/speed_limit.h"
#include "evolve/judge/timing.h"
#include "evolve/random.h"

namespace evolora {
namespace {

struct Turn {
  double seconds = 0;
  double peak_bytes = 0;
};

struct Case {
  MlxProblemShape shape;
  std::vector<Turn> candidate, baseline;
};

// Multiplications and additions that no order of computing saves: the products with the base weights and with the adapters, forward and backward.
double flops_of(const MlxProblemShape& shape) {
  double flops = 0;
  for (std::size_t i = 0; i < shape.linear_count(); ++i) {
    const auto in = static_cast<double>(shape.widths[i]), out = static_cast<double>(shape.widths[i + 1]);
    flops += 2 * static_cast<double>(shape.n) * (2 * in * out + 3 * static_cast<double>(shape.rank) * (in + out));
  }
  return flops;
}

constexpr std::size_t kProcessesOfATurn = 2;

// The second process's outputs are the ones that count; the first is only looked at by the memory meter.
Result<Turn> take_turn(const fs::path& library, const MlxRunnerOptions& options, const MlxProblem& problem, MlxOutputs& outputs) {
  Turn turn;
  MlxOutputs unseen(problem);
  const std::unique_ptr<MlxRunner> memory = TRY(MlxRunner::start(library, options));
  const MlxRun counted = TRY(memory->run(problem, MlxMeasure::kMemory, unseen));
  turn.peak_bytes = static_cast<double>(counted.peak_bytes);
  const std::unique_ptr<MlxRunner> clock = TRY(MlxRunner::start(library, options));
  const MlxRun timed = TRY(clock->run(problem, MlxMeasure::kTime, outputs));
  turn.seconds = timed.seconds;
  if (auto differs = bit_difference(unseen, outputs)) {
    return Error{ErrorCode::kBadData, "two processes give different results for one call: " + *differs};
  }
  return turn;
}

double median_of(const std::vector<Turn>& turns, double Turn::*member) {
  std::vector<double> values;
  for (const Turn& turn : turns) values.push_back(turn.*member);
  return median(std::move(values));
}

// One pair; false when the candidate failed, and then the result says how.
Result<bool> run_pair(Case& c, const fs::path& candidate, const fs::path& baseline, const MlxRunnerOptions& options, Random random, SpeedLimit& limit,
                      MlxMicrobenchmarkResult& result) {
  const MlxProblem problem(c.shape, random.bits());
  MlxOutputs mine(problem), theirs(problem);
  for (const bool candidate_turn : drawn_turns(random)) {
    const auto turn = take_turn(candidate_turn ? candidate : baseline, options, problem, candidate_turn ? mine : theirs);
    if (!turn.ok() && !candidate_turn)
      return Error{ErrorCode::kInternal, fmt::format("the baseline failed: {} ({})", turn.error().message, c.shape.name())};
    if (!turn.ok() && turn.error().code != ErrorCode::kBadData) return turn.error();
    if (!turn.ok()) {
      result.reason = fmt::format("{} ({})", turn.error().message, c.shape.name());
      return false;
    }
    (candidate_turn ? c.candidate : c.baseline).push_back(*turn);
  }
  if (const auto impossible = limit.too_fast(c.candidate.back().seconds, flops_of(c.shape))) {
    result.too_fast = true;
    result.reason = fmt::format("{} ({})", *impossible, c.shape.name());
    return false;
  }
  const auto wrong = norm_difference(c.shape, theirs, mine);
  if (wrong.has_value()) result.reason = fmt::format("{} ({})", *wrong, c.shape.name());
  return !wrong.has_value();
}

nlohmann::ordered_json details_of(const std::vector<Case>& cases) {
  std::size_t turns = 0;
  for (const Case& c : cases) turns += c.candidate.size() + c.baseline.size();
  nlohmann::ordered_json json = {{"processes", kProcessesOfATurn * turns}, {"cases", nlohmann::ordered_json::array()}};
  constexpr double kMebi = 1 << 20;
  for (const Case& c : cases) {
    if (c.candidate.empty() || c.baseline.empty()) continue;
    json["cases"].push_back({{"shape", c.shape.name()},
                             {"candidate_ms", median_of(c.candidate, &Turn::seconds) * 1e3},
                             {"baseline_ms", median_of(c.baseline, &Turn::seconds) * 1e3},
                             {"candidate_peak_mib", median_of(c.candidate, &Turn::peak_bytes) / kMebi},
                             {"baseline_peak_mib", median_of(c.baseline, &Turn::peak_bytes) / kMebi}});
  }
  return json;
}

}  // namespace

Result<MlxMicrobenchmarkResult> run_mlx_microbenchmark(const fs::path& candidate, const fs::path& baseline, const MlxRunnerOptions& options,
                                                       const MlxMicrobenchmarkPlan& plan, const std::atomic<bool>* stop) {
  MlxMicrobenchmarkResult result;
  std::vector<Case> cases;
  for (const MlxProblemShape& shape : plan.shapes) cases.push_back({shape, {}, {}});
  // Of all processors: MLX may use them.
  SpeedLimit limit(static_cast<int>(std::max(1U, std::thread::hardware_concurrency())));
  std::uint64_t number = 0;
  for (int pair = 0; pair < plan.pairs; ++pair) {
    double speed = 0, memory = 0;
    for (Case& c : cases) {
      if (stop != nullptr && stop->load()) return Error{ErrorCode::kInterrupted, "interrupted"};
      if (!TRY(run_pair(c, candidate, baseline, options, Random(plan.seed, number++), limit, result))) {
        result.details = details_of(cases);
        return result;
      }
      // A page at least: a chain that kept nothing at all would be infinitely good.
      const auto bytes = [](const Turn& turn) { return std::max(turn.peak_bytes, 4096.0); };
      speed += std::log(c.baseline.back().seconds / c.candidate.back().seconds);
      memory += std::log(bytes(c.baseline.back()) / bytes(c.candidate.back()));
    }
    result.log_speed.push_back(speed / static_cast<double>(cases.size()));
    result.log_memory.push_back(memory / static_cast<double>(cases.size()));
  }
  result.passed = true;
  result.details = details_of(cases);
  return result;
}

}  // namespace evolora
