// The micro-benchmark over simulated processes: what an interval from it is worth where every process is faster or slower than the next by chance.
#include "evolve/judge/microbenchmark.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/threads.h"
#include "evolve/fitness.h"
#include "evolve/judge/problem_numbers.h"
#include "measure/estimators.h"

namespace evolora {
namespace {

constexpr int kPairs = 9;

// What happened, for tests to look at.
struct Journal {
  struct Process {
    char arm;
    std::uint64_t layout;
    std::vector<float> contents;  // the first input of each call
  };
  std::vector<Process> processes;
  int alive = 0, most_alive = 0;
};

// Forward by the reference; the time is 1 ms times what chance gives the process and the call.
class SimulatedRunner : public TimedRunner {
 public:
  SimulatedRunner(double process, Random& chance, Journal& journal) : process_(process), chance_(chance), journal_(journal) {
    number_ = journal.processes.size() - 1;
    journal.most_alive = std::max(journal.most_alive, ++journal.alive);
  }
  ~SimulatedRunner() override { --journal_.alive; }
  bool serves(LoraDirection direction) const override { return direction == LoraDirection::kForward; }
  Result<double> timed_run(LoraDirection, const LoraProblem& problem, int, LoraOutputs& outputs) override {
    constexpr double kCallSd = 0.01;
    journal_.processes[number_].contents.push_back(problem.x.front());
    Threads threads(1);
    KernelContext context{.threads = threads};
    const auto bound = bind_forward(problem, outputs);
    reference::lora_linear_forward({problem.x.data(), problem.shape.n, bound}, context);
    return 1e-3 * std::exp(process_ + kCallSd * static_cast<double>(draw(chance_)));
  }

 private:
  double process_;
  Random& chance_;
  Journal& journal_;
  std::size_t number_;
};

enum class Luck { kOfEachProcess, kOfEachArm };

class Simulation {
 public:
  explicit Simulation(std::uint64_t seed, Luck luck = Luck::kOfEachProcess) : chance_(seed, 0), luck_(luck) {}

  Result<MicrobenchmarkResult> run(int pairs = kPairs, const std::atomic<bool>* stop = nullptr) {
    const MicrobenchmarkPlan plan{.shapes = {{.n = 1, .in = 32, .projections = {{.out = 1}}}}, .pairs = pairs, .seed = chance_.bits()};
    return run_microbenchmark({arm('c'), arm('b')}, plan, stop);
  }
  RunnerStarter arm(char name) {
    const double luck_of_arm = draw_luck();
    return [this, name, luck_of_arm](std::uint64_t layout) -> Result<std::unique_ptr<TimedRunner>> {
      const auto before = std::count_if(journal.processes.begin(), journal.processes.end(), [&](const auto& process) { return process.arm == name; });
      if (name == failing && before == 1) return failure;
      journal.processes.push_back({name, layout, {}});
      const double luck = luck_ == Luck::kOfEachArm ? luck_of_arm : draw_luck();
      return std::unique_ptr<TimedRunner>(new SimulatedRunner(luck, chance_, journal));
    };
  }

  Journal journal;
  char failing = ' ';  // the arm that does not start in the second pair
  Error failure;

 private:
  double draw_luck() {
    constexpr double kProcessSd = 0.05;
    return kProcessSd * static_cast<double>(draw(chance_));
  }
  Random chance_;
  Luck luck_;
};

double binomial(int n, int k, double p) {
  return std::exp(std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1) + k * std::log(p) + (n - k) * std::log1p(-p));
}

// Counts of n trials with probability p that lie in neither tail of this chance.
struct Range {
  int low = 0, high = 0;
};
Range plausible(int n, double p) {
  constexpr double kTail = 0.02;
  Range range{0, n};
  for (double below = binomial(n, 0, p); below <= kTail; below += binomial(n, ++range.low, p)) {
  }
  for (double above = binomial(n, n, p); above <= kTail; above += binomial(n, --range.high, p)) {
  }
  return range;
}

constexpr int kSimulations = 100;

struct Counts {
  int covered = 0;  // 1 lies in the 95 % interval of the ratio
  int better = 0;   // the 90 % lower bound, by which a search believes that one is faster, lies above 1
};
Counts of_an_arm_against_itself(Luck luck) {
  Counts counts;
  for (std::uint64_t seed = 0; seed < kSimulations; ++seed) {
    const auto result = Simulation(seed, luck).run();
    EXPECT_TRUE(result.ok() && result->passed && result->log_speed.size() == kPairs);
    if (!result.ok()) return counts;
    counts.covered += summarize(result->log_speed).interval.contains(0) ? 1 : 0;
    counts.better += lower_bound(result->log_speed) > 0 ? 1 : 0;
  }
  return counts;
}

TEST(Microbenchmark, IntervalsOfAnArmAgainstItselfCoverOneAsOftenAsTheySay) {
  EXPECT_EQ(plausible(kSimulations, 0.95).low, 90);
  EXPECT_EQ(plausible(kSimulations, 0.95).high, 99);
  const Counts counts = of_an_arm_against_itself(Luck::kOfEachProcess);
  EXPECT_GE(counts.covered, plausible(kSimulations, 0.95).low);
  EXPECT_LE(counts.covered, plausible(kSimulations, 0.95).high);
  EXPECT_GE(counts.better, plausible(kSimulations, 0.1).low);
  EXPECT_LE(counts.better, plausible(kSimulations, 0.1).high);
}

// The same simulation as one process per arm would meet it: the luck of that process is a bias that no interval contains. Without this the test above
// could pass because its luck is too small to matter.
TEST(Microbenchmark, LuckThatStaysWithAnArmWouldBeSeen) {
  const Counts counts = of_an_arm_against_itself(Luck::kOfEachArm);
  EXPECT_LT(counts.covered, plausible(kSimulations, 0.95).low);
  EXPECT_GT(counts.better, plausible(kSimulations, 0.1).high);
}

TEST(Microbenchmark, EveryPairHasTwoProcessesOfItsOwn) {
  Simulation simulation(1);
  const auto result = simulation.run(3);
  ASSERT_TRUE(result.ok() && result->passed);
  const auto& processes = simulation.journal.processes;
  ASSERT_EQ(processes.size(), 6U);
  EXPECT_EQ(result->details["processes"], 6);
  EXPECT_EQ(simulation.journal.most_alive, 2);
  EXPECT_EQ(simulation.journal.alive, 0);
  std::set<float> contents;
  std::set<std::uint64_t> layouts;
  for (std::size_t pair = 0; pair < 3; ++pair) {
    const Journal::Process &one = processes[2 * pair], &other = processes[2 * pair + 1];
    EXPECT_NE(one.arm, other.arm);
    EXPECT_EQ(one.layout, other.layout);
    EXPECT_EQ(one.contents, other.contents) << "the same inputs";
    ASSERT_EQ(one.contents.size(), 2U) << "one to warm up, one that is timed";
    EXPECT_EQ(one.contents[0], processes[0].contents[0]);
    contents.insert(one.contents.begin(), one.contents.end());
    layouts.insert(one.layout);
  }
  EXPECT_EQ(contents.size(), 4U) << "what is timed never comes again";
  EXPECT_EQ(layouts.size(), 3U);
  EXPECT_FALSE(layouts.contains(0));
}

TEST(Microbenchmark, TheOrderOfStartsIsDrawn) {
  Simulation simulation(2);
  ASSERT_TRUE(simulation.run(20).ok());
  int candidate_first = 0;
  for (std::size_t i = 0; i < simulation.journal.processes.size(); i += 2) candidate_first += simulation.journal.processes[i].arm == 'c' ? 1 : 0;
  EXPECT_GT(candidate_first, 0);
  EXPECT_LT(candidate_first, 20);
}

TEST(Microbenchmark, AProcessThatDoesNotStartIsTheFaultOfWhoseItIs) {
  Simulation simulation(3);
  simulation.failing = 'c';
  simulation.failure = {ErrorCode::kBadData, "it crashes when it is loaded"};
  const auto result = simulation.run();
  ASSERT_TRUE(result.ok());
  EXPECT_FALSE(result->passed);
  EXPECT_EQ(result->reason, "it crashes when it is loaded");
  for (const char arm : {'b', 'c'}) {
    Simulation other(3);
    other.failing = arm;
    other.failure = {ErrorCode::kDependency, "no sandbox"};
    const auto failed = other.run();
    ASSERT_FALSE(failed.ok());
    EXPECT_EQ(failed.error().message, "no sandbox");
  }
}

TEST(Microbenchmark, StopIsAnError) {
  const std::atomic<bool> stop = true;
  const auto result = Simulation(4).run(kPairs, &stop);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kInterrupted);
}

}  // namespace
}  // namespace evolora
