// The loop over shapes, directions and pairs, and the floor under times.
#include "evolve/judge/microbenchmark.h"

#include <fmt/format.h>

#include <cmath>

#include "evolve/judge/timing.h"
#include "evolve/random.h"
#include "kernels/lora_linear/fma_peak.h"

namespace evolora {
namespace {

struct Case {
  ProblemShape shape;
  LoraDirection direction;
  std::vector<double> candidate_seconds, baseline_seconds;
};

// Multiplications and additions that no order of computing saves: the product with the base weight, and the adapters' products.
double flops_of(const ProblemShape& shape, LoraDirection direction) {
  double flops = 0;
  const auto n = static_cast<double>(shape.n), in = static_cast<double>(shape.in);
  for (const ProblemProjection& p : shape.projections) {
    const auto out = static_cast<double>(p.out), rank = static_cast<double>(p.rank);
    const double adapter = 2 * n * rank * (in + out);
    flops += 2 * n * in * out + (direction == LoraDirection::kForward ? adapter : 2 * adapter);
  }
  return flops;
}

std::string describe(const Case& c, const std::string& what) { return fmt::format("{}: {} ({})", word(c.direction), what, c.shape.name()); }

class Benchmark {
 public:
  Benchmark(WorkerRunner& candidate, WorkerRunner& baseline, const MicrobenchmarkPlan& plan)
      : candidate_(candidate), baseline_(baseline), plan_(plan), peak_(best_fma_peak_flops(plan.threads)) {}

  std::vector<Case> cases() const {
    std::vector<Case> list;
    for (const ProblemShape& shape : plan_.shapes) {
      for (const LoraDirection direction : {LoraDirection::kForward, LoraDirection::kBackward}) {
        if (candidate_.serves(direction) && baseline_.serves(direction)) list.push_back({shape, direction, {}, {}});
      }
    }
    return list;
  }

  // One pair; false when the candidate failed, and then the result says how.
  Result<bool> pair(Case& c, std::uint64_t number, bool counts, MicrobenchmarkResult& result) {
    Random random(plan_.seed, number);
    const LoraProblem problem(c.shape, random.bits(), LoraSolver::kOwnKernels);
    LoraOutputs candidate_outputs(problem), baseline_outputs(problem);
    double candidate_seconds = 0, baseline_seconds = 0;
    const bool candidate_first = random.below(2) == 0;
    for (const bool candidate_turn : {candidate_first, !candidate_first}) {
      if (!candidate_turn) {
        baseline_seconds = TRY(baseline_call(c, problem, baseline_outputs));
        continue;
      }
      const auto seconds = candidate_.timed_run(c.direction, problem, plan_.threads, candidate_outputs);
      if (!seconds.ok() && seconds.error().code != ErrorCode::kBadData) return seconds.error();
      if (!seconds.ok()) return fail(result, describe(c, seconds.error().message));
      candidate_seconds = *seconds;
    }
    const auto wrong = LoraExpectation(problem, LoraSolver::kOwnKernels).difference(c.direction, candidate_outputs);
    if (wrong.has_value()) return fail(result, describe(c, *wrong));
    if (const auto impossible = too_fast(candidate_seconds, flops_of(c.shape, c.direction), peak_)) {
      result.too_fast = true;
      return fail(result, describe(c, *impossible));
    }
    if (!counts) return true;
    c.candidate_seconds.push_back(candidate_seconds);
    c.baseline_seconds.push_back(baseline_seconds);
    return true;
  }

  nlohmann::ordered_json details(const std::vector<Case>& list) const {
    nlohmann::ordered_json json = {{"threads", plan_.threads}, {"peak_gflops", peak_ / 1e9}, {"cases", nlohmann::ordered_json::array()}};
    for (const Case& c : list) {
      if (c.candidate_seconds.empty()) continue;
      const double seconds = median(c.candidate_seconds);
      json["cases"].push_back({{"shape", c.shape.name()},
                               {"direction", word(c.direction)},
                               {"candidate_ms", seconds * 1e3},
                               {"baseline_ms", median(c.baseline_seconds) * 1e3},
                               {"share_of_peak", flops_of(c.shape, c.direction) / seconds / peak_}});
    }
    return json;
  }

 private:
  // A baseline that fails is not the candidate's fault, and no error that its caller may take for one.
  Result<double> baseline_call(const Case& c, const LoraProblem& problem, LoraOutputs& outputs) {
    const auto seconds = baseline_.timed_run(c.direction, problem, plan_.threads, outputs);
    if (seconds.ok()) return *seconds;
    return Error{ErrorCode::kDependency, "the kernel that candidates are timed against failed: " + describe(c, seconds.error().message)};
  }
  static bool fail(MicrobenchmarkResult& result, const std::string& reason) {
    result.reason = reason;
    return false;
  }

  WorkerRunner& candidate_;
  WorkerRunner& baseline_;
  const MicrobenchmarkPlan& plan_;
  double peak_;  // of all threads that are used
};

}  // namespace

std::vector<ProblemShape> smollm2_shapes(std::int64_t rows) {
  const ProblemShape base{.bits = 4, .group_size = 64, .dtype = DType::kF16, .n = rows, .in = 576};
  std::vector<ProblemShape> shapes(4, base);
  shapes[0].projections = {{.out = 576, .rank = 8}, {.out = 192, .rank = 8}, {.out = 192, .rank = 8}};
  shapes[1].projections = {{.out = 576, .rank = 8}};
  shapes[2].projections = {{.out = 1536, .rank = 8}, {.out = 1536, .rank = 8}};
  shapes[3].in = 1536;
  shapes[3].projections = {{.out = 576, .rank = 8}};
  return shapes;
}

Result<MicrobenchmarkResult> run_microbenchmark(WorkerRunner& candidate, WorkerRunner& baseline, const MicrobenchmarkPlan& plan,
                                                const std::atomic<bool>* stop) {
  MicrobenchmarkResult result;
  Benchmark benchmark(candidate, baseline, plan);
  std::vector<Case> cases = benchmark.cases();
  if (cases.empty()) {
    result.reason = "it serves no direction that the baseline serves";
    return result;
  }
  std::uint64_t number = 0;
  for (int pair = -1; pair < plan.pairs; ++pair) {  // the first warms up
    double sum = 0;
    for (Case& c : cases) {
      if (stop != nullptr && stop->load()) return Error{ErrorCode::kInterrupted, "interrupted"};
      if (!TRY(benchmark.pair(c, number++, pair >= 0, result))) {
        result.details = benchmark.details(cases);
        return result;
      }
      if (pair >= 0) sum += std::log(c.baseline_seconds.back() / c.candidate_seconds.back());
    }
    if (pair >= 0) result.log_speed.push_back(sum / static_cast<double>(cases.size()));
  }
  result.passed = true;
  result.details = benchmark.details(cases);
  return result;
}

}  // namespace evolora
