// The list of problems, and the order of calls.
#include "evolve/judge/mlx/mlx_numerics.h"

#include <fmt/format.h>

#include <array>

#include "evolve/random.h"

namespace evolora {
namespace {

struct Kind {
  int bits, group_size;
  DType dtype;
};

// fp32 with every number of bits and every group size, and the types that models are stored in.
constexpr std::array<Kind, 14> kKinds = {{{4, 64, DType::kF32},
                                          {4, 32, DType::kF32},
                                          {4, 128, DType::kF32},
                                          {8, 64, DType::kF32},
                                          {2, 64, DType::kF32},
                                          {3, 32, DType::kF32},
                                          {5, 128, DType::kF32},
                                          {6, 64, DType::kF32},
                                          {0, 0, DType::kF32},
                                          {4, 64, DType::kF16},
                                          {4, 64, DType::kBF16},
                                          {8, 32, DType::kBF16},
                                          {0, 0, DType::kF16},
                                          {0, 0, DType::kBF16}}};
constexpr std::array<std::int64_t, 9> kRows = {65, 1, 2, 5, 9, 17, 33, 4, 13};
constexpr std::array<std::int64_t, 6> kWidths = {47, 5, 49, 113, 33, 96};
constexpr std::array<std::int64_t, 4> kRanks = {8, 17, 1, 16};

MlxProblemShape shape_of(bool dora, const Kind& kind, std::int64_t n, Random& random) {
  const std::int64_t in =
      kind.bits == 0 ? 2 + static_cast<std::int64_t>(random.below(200)) : kind.group_size * static_cast<std::int64_t>(1 + random.below(4));
  MlxProblemShape shape{.dora = dora, .bits = kind.bits, .group_size = kind.group_size, .dtype = kind.dtype, .n = n};
  shape.widths = {in, kWidths[random.below(kWidths.size())]};
  shape.rank = kRanks[random.below(kRanks.size())];
  shape.bias = random.below(2) == 0;
  return shape;
}

MlxGateResult failed(const char* gate, const MlxProblemShape& shape, const std::string& what, int calls) {
  return {.gate = gate, .reason = fmt::format("{} ({})", what, shape.name()), .calls = calls};
}

}  // namespace

std::vector<MlxProblemShape> mlx_numerics_shapes(bool dora, std::uint64_t seed) {
  Random random(seed, 1);
  std::vector<MlxProblemShape> shapes;
  const std::size_t turn = random.below(kRows.size());
  for (std::size_t i = 0; i < kKinds.size(); ++i) shapes.push_back(shape_of(dora, kKinds[i], kRows[(i + turn) % kRows.size()], random));
  for (const MlxProblemValues values : {MlxProblemValues::kLarge, MlxProblemValues::kTiny, MlxProblemValues::kZeroRows}) {
    shapes.push_back(shape_of(dora, kKinds[random.below(4)], 7 + static_cast<std::int64_t>(random.below(8)), random));
    shapes.back().values = values;
  }
  return shapes;
}

Result<MlxGateResult> judge_mlx_numerics(MlxRunner& runner, bool dora, std::uint64_t seed) {
  int calls = 0;
  std::uint64_t number = 0;
  for (const MlxProblemShape& shape : mlx_numerics_shapes(dora, seed)) {
    std::vector<MlxProblem> problems;
    for (int content = 0; content < 2; ++content) problems.emplace_back(shape, Random(seed, 1000 + number++).bits());
    std::vector<MlxOutputs> first;
    for (int round = 0; round < 2; ++round) {
      for (std::size_t content = 0; content < problems.size(); ++content) {
        MlxOutputs outputs(problems[content]);
        ++calls;
        const auto run = runner.run(problems[content], MlxMeasure::kTime, outputs);
        if (!run.ok() && run.error().code != ErrorCode::kBadData) return run.error();
        if (!run.ok()) return failed("numerics", shape, run.error().message, calls);
        if (round == 0) {
          if (const auto wrong = MlxExpectation(problems[content]).difference(outputs)) return failed("numerics", shape, *wrong, calls);
          first.push_back(std::move(outputs));
          continue;
        }
        if (const auto differs = bit_difference(first[content], outputs))
          return failed("determinism", shape, "two runs of one call give different results: " + *differs, calls);
      }
    }
  }
  return MlxGateResult{.passed = true, .gate = "determinism", .reason = "", .calls = calls};
}

}  // namespace evolora
