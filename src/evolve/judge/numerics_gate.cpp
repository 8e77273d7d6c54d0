// The cascade inside the gate: cheapest and most telling first, so that most wrong candidates end at the first call.
#include "evolve/judge/numerics_gate.h"

#include <fmt/format.h>

#include <array>

#include "evolve/random.h"

namespace evolora {
namespace {

struct Kind {
  int bits, group_size;
  DType dtype;
};

constexpr std::array<Kind, 13> kKinds = {{{4, 64, DType::kF16},
                                          {4, 32, DType::kBF16},
                                          {4, 128, DType::kF32},
                                          {8, 64, DType::kF16},
                                          {8, 32, DType::kF32},
                                          {2, 64, DType::kBF16},
                                          {3, 32, DType::kF16},
                                          {5, 128, DType::kBF16},
                                          {6, 64, DType::kF32},
                                          {0, 0, DType::kF32},
                                          {0, 0, DType::kF16},
                                          {0, 0, DType::kBF16},
                                          {3, 64, DType::kF32}}};
constexpr std::array<std::int64_t, 13> kRows = {65, 1, 2, 3, 5, 7, 9, 17, 33, 4, 8, 64, 13};
constexpr std::array<std::int64_t, 7> kWidths = {47, 1, 5, 49, 113, 33, 96};
constexpr std::array<std::int64_t, 5> kRanks = {8, 17, 1, 0, 16};

ProblemShape shape_of(const Kind& kind, std::int64_t n, Random& random) {
  ProblemShape shape{.bits = kind.bits, .group_size = kind.group_size, .dtype = kind.dtype, .n = n};
  shape.in = kind.bits == 0 ? 1 + static_cast<std::int64_t>(random.below(200)) : kind.group_size * static_cast<std::int64_t>(1 + random.below(4));
  const std::size_t members = 1 + random.below(3);
  for (std::size_t i = 0; i < members; ++i) {
    const bool drops = random.below(3) == 0;
    shape.projections.push_back({.out = kWidths[random.below(kWidths.size())],
                                 .rank = kRanks[random.below(kRanks.size())],
                                 .dropout = drops ? 0.1F + 0.5F * static_cast<float>(random.uniform()) : 0.0F,
                                 .bias = random.below(2) == 0});
  }
  return shape;
}

GateResult failed(const char* gate, LoraDirection direction, const ProblemShape& shape, const std::string& what, int calls) {
  return {.gate = gate, .reason = fmt::format("{}: {} ({})", word(direction), what, shape.name()), .calls = calls};
}

// Puts one content to the direction. A passed result has no reason.
Result<GateResult> judge_content(KernelRunner& runner, LoraDirection direction, LoraProblem& problem, const LoraExpectation& expectation, int calls) {
  std::vector<LoraOutputs> runs;
  for (const int threads : {2, 1, 2}) {
    runs.emplace_back(problem);
    ++calls;
    const Status status = runner.run(direction, problem, threads, runs.back());
    if (!status.ok() && status.error().code != ErrorCode::kBadData) return status.error();
    if (!status.ok()) return failed("numerics", direction, problem.shape, status.error().message, calls);
    const auto wrong = expectation.difference(direction, runs.back());
    if (wrong.has_value()) return failed("numerics", direction, problem.shape, *wrong, calls);
  }
  for (const std::size_t other : {std::size_t{2}, std::size_t{1}}) {
    const auto differs = bit_difference(direction, runs[0], runs[other]);
    if (!differs.has_value()) continue;
    const char* what = other == 2 ? "two runs of one call give different results" : "two threads and one give different results";
    return failed("determinism", direction, problem.shape, fmt::format("{}: {}", what, *differs), calls);
  }
  return GateResult{.passed = true, .gate = "determinism", .calls = calls};
}

}  // namespace

std::vector<ProblemShape> numerics_shapes(std::uint64_t seed) {
  Random random(seed, 1);
  std::vector<ProblemShape> shapes;
  // A shape with everything first: most mistakes show in it.
  shapes.push_back({.bits = 4,
                    .group_size = 64,
                    .dtype = DType::kF16,
                    .n = 19,
                    .in = 192,
                    .projections = {{.out = 77, .rank = 8, .dropout = 0.25F, .bias = true}, {.out = 49, .rank = 3}, {.out = 33, .bias = true}}});
  const std::size_t turn = random.below(kRows.size());
  for (std::size_t i = 0; i < kKinds.size(); ++i) shapes.push_back(shape_of(kKinds[i], kRows[(i + turn) % kRows.size()], random));
  for (const ProblemValues values :
       {ProblemValues::kLarge, ProblemValues::kTiny, ProblemValues::kZeroRows, ProblemValues::kSpecialInput, ProblemValues::kSpecialGradient}) {
    ProblemShape shape = shape_of(kKinds[random.below(4)], 7 + static_cast<std::int64_t>(random.below(8)), random);
    shape.values = values;
    // What a mask does to an infinity under it is nobody's business.
    if (values == ProblemValues::kSpecialInput || values == ProblemValues::kSpecialGradient) {
      for (ProblemProjection& p : shape.projections) p.dropout = 0;
    }
    shapes.push_back(shape);
  }
  // Several tiles in every direction.
  shapes.push_back({.bits = 4, .group_size = 64, .dtype = DType::kBF16, .n = 131, .in = 320, .projections = {{.out = 291, .rank = 8, .bias = true}}});
  return shapes;
}

NumericsSuite::Content& NumericsSuite::content(std::size_t number) {
  if (number == contents_.size()) {
    LoraProblem problem(shapes_[number / 2], Random(seed_, 1000 + number).bits());
    LoraExpectation expectation(problem);
    contents_.push_back(std::make_unique<Content>(Content{std::move(problem), std::move(expectation)}));
  }
  return *contents_[number];
}

Result<GateResult> NumericsSuite::judge(KernelRunner& runner) {
  GateResult result{.passed = true, .gate = "determinism"};
  for (std::size_t number = 0; number < 2 * shapes_.size(); ++number) {
    Content& now = content(number);
    for (const LoraDirection direction : {LoraDirection::kForward, LoraDirection::kBackward}) {
      if (!runner.serves(direction)) continue;
      result = TRY(judge_content(runner, direction, now.problem, now.expectation, result.calls));
      if (!result.passed) return result;
    }
  }
  return result;
}

Result<GateResult> judge_numerics(KernelRunner& runner, std::uint64_t seed) { return NumericsSuite(seed).judge(runner); }

}  // namespace evolora
