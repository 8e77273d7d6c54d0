// The loop over pairs, shapes and directions.
#include "evolve/judge/microbenchmark.h"

#include <fmt/format.h>

#include <cmath>

#include "evolve/judge/speed_limit.h"
#include "evolve/judge/timing.h"
#include "evolve/random.h"

namespace evolora {
namespace {

struct Case {
  std::shared_ptr<const LoraProblem> warm_up;  // of this shape; every process sees it once before its timed call, whose contents are others
  LoraDirection direction;
  std::vector<double> candidate_seconds, baseline_seconds;

  const ProblemShape& shape() const { return warm_up->shape; }
};

struct Processes {
  std::unique_ptr<TimedRunner> candidate, baseline;
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

std::string describe(const Case& c, const std::string& what) { return fmt::format("{}: {} ({})", word(c.direction), what, c.shape().name()); }

class Benchmark {
 public:
  Benchmark(const MicrobenchmarkArms& arms, const MicrobenchmarkPlan& plan, const std::atomic<bool>* stop)
      : arms_(arms), plan_(plan), stop_(stop), limit_(plan.threads) {}

  // One observation; false when the candidate failed, and then the result says how.
  Result<bool> pair(std::uint64_t number) {
    Random random(plan_.seed, number);
    Processes processes;
    const std::uint64_t layout = random.bits() | 1;
    for (const bool candidates : drawn_turns(random)) {
      if (!TRY(start(candidates, layout, processes))) return false;
    }
    if (cases_.empty()) list_cases(processes);
    if (cases_.empty()) return fail("it serves no direction that the baseline serves");
    double sum = 0;
    for (Case& c : cases_) {
      if (!TRY(measure(c, processes, random))) return false;
      sum += std::log(c.baseline_seconds.back() / c.candidate_seconds.back());
    }
    result_.log_speed.push_back(sum / static_cast<double>(cases_.size()));
    return true;
  }

  MicrobenchmarkResult finish(bool passed) {
    result_.passed = passed;
    result_.details = details();
    return std::move(result_);
  }

 private:
  Status interrupted() const {
    if (stop_ != nullptr && stop_->load()) return Error{ErrorCode::kInterrupted, "interrupted"};
    return {};
  }

  Result<bool> start(bool candidates, std::uint64_t layout, Processes& processes) {
    TRY(interrupted());
    if (!candidates) {
      processes.baseline = TRY(arms_.baseline(layout));
    } else {
      auto started = arms_.candidate(layout);
      if (!started.ok() && started.error().code != ErrorCode::kBadData) return started.error();
      if (!started.ok()) return fail(started.error().message);
      processes.candidate = std::move(started).value();
    }
    ++processes_;
    return true;
  }

  void list_cases(const Processes& processes) {
    std::uint64_t number = 0;
    for (const ProblemShape& shape : plan_.shapes) {
      // A stream that no pair has: pairs count up from 0.
      const std::uint64_t seed = Random(plan_.seed, ~number++).bits();
      const auto warm_up = std::make_shared<const LoraProblem>(shape, seed, LoraSolver::kOwnKernels);
      for (const LoraDirection direction : {LoraDirection::kForward, LoraDirection::kBackward}) {
        if (processes.candidate->serves(direction) && processes.baseline->serves(direction)) cases_.push_back({warm_up, direction, {}, {}});
      }
    }
  }

  // Both calls of a case, and whether what the candidate's wrote is right.
  Result<bool> measure(Case& c, Processes& processes, Random& random) {
    TRY(interrupted());
    const LoraProblem problem(c.shape(), random.bits(), LoraSolver::kOwnKernels);
    LoraOutputs candidate_outputs(problem), baseline_outputs(problem);
    double candidate_seconds = 0, baseline_seconds = 0;
    for (const bool candidates : drawn_turns(random)) {
      const auto seconds =
          candidates ? call(*processes.candidate, c, problem, candidate_outputs) : call(*processes.baseline, c, problem, baseline_outputs);
      if (!seconds.ok() && !candidates) return baseline_failed(c, seconds.error());
      if (!seconds.ok() && seconds.error().code != ErrorCode::kBadData) return seconds.error();
      if (!seconds.ok()) return fail(describe(c, seconds.error().message));
      (candidates ? candidate_seconds : baseline_seconds) = *seconds;
    }
    const auto wrong = LoraExpectation(problem, LoraSolver::kOwnKernels).difference(c.direction, candidate_outputs);
    if (wrong.has_value()) return fail(describe(c, *wrong));
    if (const auto impossible = limit_.too_fast(candidate_seconds, flops_of(c.shape(), c.direction))) {
      result_.too_fast = true;
      return fail(describe(c, *impossible));
    }
    c.candidate_seconds.push_back(candidate_seconds);
    c.baseline_seconds.push_back(baseline_seconds);
    return true;
  }

  // What the first call wrote is of no use to anybody and is not looked at.
  Result<double> call(TimedRunner& runner, const Case& c, const LoraProblem& problem, LoraOutputs& outputs) {
    LoraOutputs unseen(*c.warm_up);
    TRY(runner.timed_run(c.direction, *c.warm_up, plan_.threads, unseen));
    return runner.timed_run(c.direction, problem, plan_.threads, outputs);
  }

  // That is not the candidate's fault, and no error that its caller may take for one.
  static Error baseline_failed(const Case& c, const Error& error) {
    return {ErrorCode::kDependency, "the kernel that candidates are timed against failed: " + describe(c, error.message)};
  }

  bool fail(const std::string& reason) {
    result_.reason = reason;
    return false;
  }

  nlohmann::ordered_json details() const {
    nlohmann::ordered_json json = {{"threads", plan_.threads},
                                   {"processes", processes_},
                                   {"peak_gflops", limit_.peak_flops() / 1e9},
                                   {"cases", nlohmann::ordered_json::array()}};
    for (const Case& c : cases_) {
      if (c.candidate_seconds.empty()) continue;
      const double seconds = median(c.candidate_seconds);
      json["cases"].push_back({{"shape", c.shape().name()},
                               {"direction", word(c.direction)},
                               {"candidate_ms", seconds * 1e3},
                               {"baseline_ms", median(c.baseline_seconds) * 1e3},
                               {"share_of_peak", flops_of(c.shape(), c.direction) / seconds / limit_.peak_flops()}});
    }
    return json;
  }

  const MicrobenchmarkArms& arms_;
  const MicrobenchmarkPlan& plan_;
  const std::atomic<bool>* stop_;
  SpeedLimit limit_;
  std::vector<Case> cases_;
  int processes_ = 0;
  MicrobenchmarkResult result_;
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

Result<MicrobenchmarkResult> run_microbenchmark(const MicrobenchmarkArms& arms, const MicrobenchmarkPlan& plan, const std::atomic<bool>* stop) {
  Benchmark benchmark(arms, plan, stop);
  for (int pair = 0; pair < plan.pairs; ++pair) {
    if (!TRY(benchmark.pair(static_cast<std::uint64_t>(pair)))) return benchmark.finish(false);
  }
  return benchmark.finish(true);
}

}  // namespace evolora
