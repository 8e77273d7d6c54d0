// lora_linear in bf16 and int8 against the reference that rounds the same numbers in plain loops and sums in fp64: every weight kind, odd shapes,
// every path of this machine (dot product instructions and widened).
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/lora_linear/contract.h"
#include "kernels/lora_linear/int8_rows.h"
#include "kernels/lora_linear/lora_linear_expected.h"
#include "kernels/lora_linear/lora_linear_problem.h"
#include "kernels/lora_linear/low_precision.h"
#include "kernels/lora_linear/matrix_tiles.h"
#include "kernels/lora_linear/weight_value.h"

namespace evolora {
namespace {

using namespace testing_support;

struct Arithmetics {
  Arithmetic forward;
  Arithmetic backward;
};
constexpr Arithmetics kBoth16 = {Arithmetic::kBf16, Arithmetic::kBf16};
constexpr Arithmetics kInt8Forward = {Arithmetic::kInt8, Arithmetic::kFp32};

// Every SIMD target; AVX-512 also without matrix tiles and without its dot product instructions.
template <typename Body>
void for_each_path(const Body& body) {
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(target);
    struct Path {
      bool dot, tiles;
    };
    for (const Path path : {Path{true, true}, Path{true, false}, Path{false, false}}) {
      gemm::allow_dot_instructions(path.dot);
      gemm::allow_matrix_tiles(path.tiles);
      if (!(path.dot && path.tiles) && target != HWY_AVX3 && target != HWY_AVX3_DL) continue;
      SCOPED_TRACE(std::string(hwy::TargetName(target)) + ", " + arithmetic_instructions(Arithmetic::kInt8) + ", " +
                   arithmetic_instructions(Arithmetic::kBf16));
      body();
    }
    gemm::allow_matrix_tiles(true);
    gemm::allow_dot_instructions(true);
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
}

AppliedArithmetic run_reference(const Problem& problem, Arithmetics how, Outputs& outputs) {
  TestContext context(1, 0);
  AppliedArithmetic applied;
  context.get().applied = &applied;
  const std::vector<LoraProjection> bound = outputs.bind(problem);
  reference::lora_linear_forward({problem.x.data(), problem.shape.n, bound, how.forward}, context.get());
  reference::lora_linear_backward({problem.x.data(), problem.shape.n, bound, outputs.dx.data(), how.backward}, context.get());
  return applied;
}

AppliedArithmetic run_cpu(const Problem& problem, Arithmetics how, int threads, Outputs& outputs) {
  AppliedArithmetic applied;
  const std::vector<LoraProjection> bound = outputs.bind(problem);
  const LoraLinearForward forward{problem.x.data(), problem.shape.n, bound, how.forward};
  TestContext forward_context(threads, cpu::lora_linear_forward_workspace_bytes(forward, threads));
  forward_context.get().applied = &applied;
  cpu::lora_linear_forward(forward, forward_context.get());
  EXPECT_TRUE(forward_context.intact());
  const LoraLinearBackward backward{problem.x.data(), problem.shape.n, bound, outputs.dx.data(), how.backward};
  TestContext backward_context(threads, cpu::lora_linear_backward_workspace_bytes(backward, threads));
  backward_context.get().applied = &applied;
  cpu::lora_linear_backward(backward, backward_context.get());
  EXPECT_TRUE(backward_context.intact());
  return applied;
}

// A weight with fp32 scales, decoded without a fused multiply-add, may be off by an ulp of fp32 and then be rounded to the other bf16: 2^-7 of it.
// Such ties are one in 2^15; sums of a few thousand terms see one at most, hardly ever two.
double flipped_weight(const Problem& problem, Arithmetics how) {
  const WeightKind& kind = problem.shape.kind;
  if (how.forward != Arithmetic::kBf16 || kind.bits == 0 || kind.dtype != DType::kF32) return 0;
  double largest_weight = 0;
  for (const Problem::Projection& p : problem.projections) {
    const WeightView& w = p.weight.view();
    for (std::int64_t row = 0; row < w.out; ++row) {
      for (std::int64_t k = 0; k < w.in; ++k) largest_weight = std::max(largest_weight, std::abs(weight_value(w, row, k)));
    }
  }
  double largest_factor = 0;
  for (std::size_t i = 0; i < problem.x.size(); ++i) largest_factor = std::max(largest_factor, std::abs(static_cast<double>(problem.x[i])));
  for (const Problem::Projection& p : problem.projections) {
    for (std::size_t i = 0; i < p.dy.size(); ++i) largest_factor = std::max(largest_factor, std::abs(static_cast<double>(p.dy[i])));
  }
  return 2 * 0x1p-7 * largest_weight * largest_factor;
}

// What the reference gives, and how far an fp32 sum of the same rounded factors may be from it.
struct Expected {
  Expected(const Problem& problem, Arithmetics how) : values(problem), magnitudes(problem), flip(flipped_weight(problem, how)) {
    applied = run_reference(problem, how, values);
    const Problem absolute = problem.absolute();
    magnitudes = Outputs(absolute);
    run_reference(absolute, how, magnitudes);
    std::int64_t outs = 0, ranks = 0;
    for (const ProjectionShape& p : problem.shape.projections) {
      outs += p.out;
      ranks += p.rank;
    }
    // + 12: decoding, the scales and sums of a group, bias, scale, dropout factor and the last rounding.
    forward = tolerance_factor(problem.shape.in + ranks + 12);
    backward = tolerance_factor(std::max(outs, problem.shape.n) + problem.shape.in + ranks + 12);
  }
  void expect(const Outputs& actual) const {
    const auto bounds = [](const Buffer& sums, double factor, double extra) {
      std::vector<double> result(sums.size());
      for (std::size_t i = 0; i < result.size(); ++i) result[i] = factor * static_cast<double>(sums[i]) + extra;
      return result;
    };
    for (std::size_t i = 0; i < actual.projections.size(); ++i) {
      SCOPED_TRACE("projection " + std::to_string(i));
      expect_close(actual.projections[i].y, values.projections[i].y, bounds(magnitudes.projections[i].y, forward, flip), "y");
      expect_close(actual.projections[i].xa, values.projections[i].xa, bounds(magnitudes.projections[i].xa, forward, 0), "xa");
      expect_close(actual.projections[i].da, values.projections[i].da, bounds(magnitudes.projections[i].da, backward, 0), "da");
      expect_close(actual.projections[i].db, values.projections[i].db, bounds(magnitudes.projections[i].db, backward, 0), "db");
    }
    expect_close(actual.dx, values.dx, bounds(magnitudes.dx, backward, flip), "dx");
  }
  Outputs values, magnitudes;
  AppliedArithmetic applied;
  double forward, backward, flip;
};

void check(const ProblemShape& shape, Arithmetics how, std::uint32_t seed = 1) {
  SCOPED_TRACE(shape.name() + ", " + arithmetic_name(how.forward));
  const Problem problem(shape, seed);
  const Expected expected(problem, how);
  for_each_path([&] {
    for (const int threads : {1, 3}) {
      SCOPED_TRACE("threads " + std::to_string(threads));
      Outputs outputs(problem);
      EXPECT_EQ(run_cpu(problem, how, threads, outputs), expected.applied);
      expected.expect(outputs);
    }
  });
}

// Kinds, row counts, widths, ranks and dropout meet each other as in lora_linear_test.cpp.
void check_every_kind(Arithmetics how) {
  const std::vector<std::int64_t> rows = {1, 3, 5, 8, 9, 50, 65};
  const std::vector<std::int64_t> widths = {1, 5, 47, 48, 49, 192, 64, 33, 113};
  const std::vector<std::int64_t> ranks = {0, 1, 3, 8, 16, 24};
  std::size_t turn = 0;
  for (const WeightKind& kind : all_weight_kinds()) {
    for (const std::int64_t n : rows) {
      ProblemShape shape{kind, n, 0, {}};
      shape.in = kind.bits == 0 ? widths[turn % widths.size()] : kind.group_size * static_cast<std::int64_t>(1 + turn % 5);
      for (std::size_t i = 0; i < 1 + turn % 3; ++i) {
        shape.projections.push_back({widths[(turn * 2 + i * 3 + 1) % widths.size()], ranks[(turn + i * 2) % ranks.size()],
                                     (turn + i) % 4 == 0 ? 0.3f : 0.0f, (turn + i) % 2 == 0});
      }
      ++turn;
      check(shape, how, static_cast<std::uint32_t>(turn));
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(LowPrecision, Bf16MatchesReferenceForEveryKind) { check_every_kind(kBoth16); }
TEST(LowPrecision, Int8MatchesReferenceForEveryKind) { check_every_kind(kInt8Forward); }

TEST(LowPrecision, MatchesReferenceOverSeveralDepthBlocksAndColumnBlocks) {
  for (const Arithmetics how : {kBoth16, kInt8Forward}) {
    check({{4, 64, DType::kF16}, 200, 1536, {{576, 8, 0, true}, {192, 8, 0, true}, {192, 16}}}, how);
    check({{8, 32, DType::kBF16}, 70, 2304, {{1201, 3, 0.1f}}}, how);
    check({{4, 128, DType::kF16}, 1300, 128, {{49, 4}}}, how);
    check({{4, 32, DType::kF16}, 6, 32, {{7, 2}, {32, 2, 0.2f}}}, how);
  }
  check({{0, 0, DType::kBF16}, 67, 1151, {{1303, 8}, {5, 8, 0.5f}}}, kBoth16);
}

TEST(LowPrecision, SaysWhatItComputedIn) {
  const Problem quantized({{4, 64, DType::kF16}, 9, 128, {{40, 4}, {20, 0}}});
  const Problem dense({{0, 0, DType::kBF16}, 9, 128, {{40, 4}, {20, 0}}});
  const auto applied = [](const Problem& problem, Arithmetics how) {
    Outputs outputs(problem);
    return run_cpu(problem, how, 1, outputs);
  };
  EXPECT_EQ(applied(quantized, kInt8Forward), (AppliedArithmetic{.forward = {0, 0, 2}, .backward = {2, 0, 0}}));
  EXPECT_EQ(applied(quantized, kBoth16), (AppliedArithmetic{.forward = {0, 2, 0}, .backward = {0, 2, 0}}));
  EXPECT_EQ(applied(dense, kBoth16), (AppliedArithmetic{.forward = {0, 2, 0}, .backward = {0, 2, 0}}));
  EXPECT_EQ(applied(dense, kInt8Forward), (AppliedArithmetic{.forward = {2, 0, 0}, .backward = {2, 0, 0}}));
}

// A dense weight in int8 is what fp32 gives, to the bit.
TEST(LowPrecision, DenseWeightsInInt8AreFp32) {
  const Problem problem({{0, 0, DType::kF16}, 40, 96, {{50, 4}}});
  Outputs fp32(problem), int8(problem);
  run_cpu(problem, {Arithmetic::kFp32, Arithmetic::kFp32}, 2, fp32);
  run_cpu(problem, kInt8Forward, 2, int8);
  for (std::size_t i = 0; i < fp32.projections[0].y.size(); ++i) ASSERT_EQ(fp32.projections[0].y[i], int8.projections[0].y[i]);
}

// Every third row gets a heavy tail: in int8, second numbers.
void make_coarse(Problem& problem) {
  const auto in = static_cast<std::size_t>(problem.shape.in);
  for (std::size_t i = 0; i < problem.x.size(); ++i) {
    if (i / in % 3 == 0) problem.x[i] = std::pow(problem.x[i], 5.0f);
  }
}

TEST(LowPrecision, IsBitwiseTheSameForEveryThreadCountAndRun) {
  Problem problem({{4, 64, DType::kF16}, 130, 1280, {{320, 8}, {113, 8, 0.25f}}});
  make_coarse(problem);
  for (const Arithmetics how : {kBoth16, kInt8Forward}) {
    Outputs first(problem);
    run_cpu(problem, how, 1, first);
    for (const int threads : {1, 2, 3, 5}) {
      Outputs again(problem);
      run_cpu(problem, how, threads, again);
      for (std::size_t i = 0; i < first.dx.size(); ++i) ASSERT_EQ(first.dx[i], again.dx[i]) << threads;
      for (std::size_t p = 0; p < first.projections.size(); ++p) {
        for (std::size_t i = 0; i < first.projections[p].y.size(); ++i) ASSERT_EQ(first.projections[p].y[i], again.projections[p].y[i]) << threads;
      }
    }
  }
}

// Integer sums are exact on every path, and all targets with a fused multiply-add scale them alike.
TEST(LowPrecision, Int8IsBitwiseTheSameWithAndWithoutDotInstructions) {
  Problem problem({{8, 128, DType::kF16}, 61, 640, {{200, 8}, {7, 0}}});
  make_coarse(problem);
  std::vector<Outputs> results;
  for_each_path([&] {
    if ((hwy::SupportedTargets() & (HWY_AVX3 | HWY_AVX2 | HWY_NEON)) == 0) return;
    results.emplace_back(problem);
    run_cpu(problem, kInt8Forward, 2, results.back());
  });
  if (results.size() < 2) GTEST_SKIP() << "this machine has only one target with fused multiply-adds";
  for (std::size_t r = 1; r < results.size(); ++r) {
    for (std::size_t p = 0; p < results[0].projections.size(); ++p) {
      const Buffer& y = results[0].projections[p].y;
      for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i], results[r].projections[p].y[i]) << "target " << r << " element " << i;
    }
  }
}

TEST(LowPrecision, DotInstructionsAreUsedWhereTheProcessorHasThem) {
#if defined(__x86_64__)
  const bool avx512 = (hwy::SupportedTargets() & HWY_AVX3) != 0;
  if (!avx512 || __builtin_cpu_supports("avx512vnni") == 0) GTEST_SKIP() << "this processor has no avx512_vnni; only the widened path was tested";
  EXPECT_STREQ(arithmetic_instructions(Arithmetic::kInt8), "avx512_vnni");
  if (__builtin_cpu_supports("avx512bf16") == 0) GTEST_SKIP() << "this processor has no avx512_bf16; bf16 was tested widened";
  EXPECT_STREQ(arithmetic_instructions(Arithmetic::kBf16), gemm::matrix_tiles_available() ? "amx_bf16" : "avx512_bf16");
  gemm::allow_matrix_tiles(false);
  EXPECT_STREQ(arithmetic_instructions(Arithmetic::kBf16), "avx512_bf16");
  gemm::allow_matrix_tiles(true);
#else
  GTEST_SKIP() << "not x86; only the widened path was tested";
#endif
}

// What goes wrong in a step must show in the loss, whatever a row is rounded to.
TEST(LowPrecision, InfinityAndNanShowInTheirRow) {
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    Problem problem({{4, 32, DType::kF16}, 12, 96, {{20, 0}}});
    problem.x[5 * 96 + 40] = bad;
    for_each_path([&] {
      for (const Arithmetics how : {kBoth16, kInt8Forward}) {
        Outputs outputs(problem);
        run_cpu(problem, how, 1, outputs);
        for (std::int64_t i = 0; i < 12 * 20; ++i) {
          ASSERT_EQ(std::isfinite(outputs.projections[0].y[static_cast<std::size_t>(i)]), i / 20 != 5) << arithmetic_name(how.forward) << i;
        }
      }
    });
  }
}

// Rows of magnitudes from nothing to the largest float, every fifth with a heavy tail (the cube of its values), as after SwiGLU.
Buffer rows_of_all_magnitudes(std::int64_t rows, std::int64_t depth) {
  Buffer x = random_buffer(count_of(rows, depth), 4);
  for (std::int64_t row = 0; row < rows; ++row) {
    const float scale = row == 0 ? 0.0f : std::ldexp(1.0f, static_cast<int>(row * 6 - 126));
    for (std::int64_t k = 0; k < depth; ++k) {
      float& value = x[static_cast<std::size_t>(row * depth + k)];
      value *= (row % 5 == 0 ? value * value : 1.0f) * scale;
    }
  }
  return x;
}

// The error is at most half a step; the step is 1/127 of the group's largest, and 1/254 of that where this would be coarse for the row.
TEST(Int8Rows, ErrorIsHalfAStepOfTheGroup) {
  constexpr std::int64_t kRows = 37, kDepth = 384;
  const Buffer x = rows_of_all_magnitudes(kRows, kDepth);
  for (const std::int64_t group : {32, 64, 128}) {
    for_each_path([&] {
      std::vector<std::int8_t> data(count_of(kRows, kDepth), 99), second(count_of(kRows, kDepth), 99);
      gemm::Int8Rows rows{.rows = kRows, .depth = kDepth, .group = group, .data = data.data(), .second = second.data()};
      std::vector<std::uint8_t> coarse(count_of(rows.row_stride(), rows.groups()), 99);
      std::vector<float> scales(coarse.size()), sums(coarse.size());
      Threads threads(2);
      rows.coarse = coarse.data();
      rows.scales = scales.data();
      rows.sums = sums.data();
      gemm::quantize_rows(x.data(), rows, threads);
      std::array<int, 2> seen = {};
      for (std::int64_t g = 0; g < kRows * (kDepth / group); ++g) {
        const std::int64_t row = g / rows.groups();
        const auto at = static_cast<std::size_t>(g % rows.groups() * rows.row_stride() + row);
        double largest = 0, sum = 0, squares = 0;
        for (std::int64_t k = g * group; k < (g + 1) * group; ++k)
          largest = std::max(largest, std::abs(static_cast<double>(x[static_cast<std::size_t>(k)])));
        for (std::int64_t k = row * kDepth; k < (row + 1) * kDepth; ++k) squares += std::pow(static_cast<double>(x[static_cast<std::size_t>(k)]), 2);
        const bool expected = largest >= 0x1p-100 && largest / 127 > 0.03 * std::sqrt(squares / static_cast<double>(kDepth));
        ASSERT_EQ(coarse[at], expected ? 1 : 0);
        ++seen[coarse[at]];
        const auto scale = static_cast<double>(scales[at]);
        for (std::int64_t j = 0; j < group; ++j) {
          const auto i = static_cast<std::size_t>(g * group + j);  // of x
          const auto q = static_cast<std::size_t>((g % rows.groups() * kRows + row) * group + j);
          ASSERT_NE(data[q], -128);
          ASSERT_NE(second[q], -128);
          const double value = scale * (data[q] + (expected ? second[q] / 254.0 : 0.0));
          sum += value;
          // Three roundings of fp32 beside the half step: of 1 / scale, of the quotient, of the scale.
          const double half = largest / 254 / (expected ? 254 : 1);
          const double bound = largest < 0x1p-100 ? largest : half + largest * 3 * 2 * kEps;
          ASSERT_LE(std::abs(value - static_cast<double>(x[i])), bound);
        }
        // Two whole sums, a quotient, their sum and the product: relative to the whole sums, which may cancel.
        ASSERT_NEAR(sums[at], sum, 3 * kEps * scale * static_cast<double>(group) * 128);
      }
      EXPECT_GT(seen[0], 0);
      EXPECT_GT(seen[1], 0);
      for (std::int64_t g = 0; g < rows.groups(); ++g) {
        for (std::int64_t row = kRows; row < rows.row_stride(); ++row) {
          const auto at = static_cast<std::size_t>(g * rows.row_stride() + row);
          ASSERT_EQ(coarse[at], 0);
          ASSERT_EQ(scales[at], 0);
          ASSERT_EQ(sums[at], 0);
        }
      }
    });
  }
}

// What a row is rounded to, and so its outputs, must not depend on the rows that share its tile: alone, beside rows without coarse groups, beside
// rows with nothing else. Coarse rows of 8: one to eight, for which there are tiles of two, four and eight.
TEST(LowPrecision, CoarseGroupsOfARowLeaveItsNeighboursAlone) {
  constexpr std::int64_t kIn = 256, kOut = 100;
  for (std::int64_t count = 1; count <= 8; ++count) {
    Problem problem({{4, 64, DType::kF16}, 8, kIn, {{kOut, 0}}});
    for (std::int64_t i = 0; i < 8 * kIn; ++i) {
      const bool heavy = (i / kIn * 3) % 8 < count;
      problem.x[static_cast<std::size_t>(i)] = heavy ? std::pow(problem.x[static_cast<std::size_t>(i)], 5.0f) : (i % 2 == 0 ? 0.37f : -0.29f);
    }
    for_each_path([&] {
      Outputs together(problem);
      run_cpu(problem, kInt8Forward, 1, together);
      for (std::int64_t row = 0; row < 8; ++row) {
        Problem alone({{4, 64, DType::kF16}, 1, kIn, {{kOut, 0}}});
        std::copy_n(problem.x.data() + row * kIn, kIn, alone.x.data());
        Outputs single(alone);
        run_cpu(alone, kInt8Forward, 1, single);
        for (std::int64_t o = 0; o < kOut; ++o) {
          ASSERT_EQ(single.projections[0].y[static_cast<std::size_t>(o)], together.projections[0].y[static_cast<std::size_t>(row * kOut + o)]) << row;
        }
      }
    });
  }
}

// Where an outlier sits in a row of the size that products have, int8 stays within what kernels/arithmetic.h promises of fp32.
TEST(LowPrecision, Int8OfHeavyTailedRowsIsNearFp32) {
  Problem problem({{4, 64, DType::kF16}, 24, 1536, {{200, 0}}});
  for (std::size_t i = 0; i < problem.x.size(); ++i) problem.x[i] = std::pow(problem.x[i], 5.0f);
  Outputs exact(problem), rounded(problem);
  run_reference(problem, {Arithmetic::kFp32, Arithmetic::kFp32}, exact);
  run_cpu(problem, kInt8Forward, 2, rounded);
  double error = 0, size = 0;
  for (std::size_t i = 0; i < exact.projections[0].y.size(); ++i) {
    const auto y = static_cast<double>(exact.projections[0].y[i]);
    error += std::pow(static_cast<double>(rounded.projections[0].y[i]) - y, 2);
    size += y * y;
  }
  EXPECT_LE(std::sqrt(error / size), 0.03 / std::sqrt(12.0));
}

TEST(LowPrecision, WorkspaceNeedsOnlyShapesAndGrowsWithRows) {
  const LoraProjection p{.weight = {.out = 4864, .in = 896, .bits = 4, .group_size = 64, .dtype = DType::kF16}, .rank = 8};
  const std::vector<LoraProjection> group = {p, p};
  for (const Arithmetic arithmetic : {Arithmetic::kBf16, Arithmetic::kInt8}) {
    std::size_t last = 0;
    for (std::int64_t n = 0; n < 2500; n += n < 20 ? 1 : 37) {
      const std::size_t now = cpu::lora_linear_forward_workspace_bytes({nullptr, n, group, arithmetic}, 2);
      ASSERT_GE(now, last) << n;
      last = now;
    }
    // fp32: two decoded blocks and the ranks. bf16 on matrix tiles: their scratch instead of a decoded block. int8: two bytes for each element of x,
    // once for both projections, and 9 for each of its groups.
    const std::size_t fp32 = cpu::lora_linear_forward_workspace_bytes({nullptr, 2480, group}, 2);
    const std::size_t rows = arithmetic == Arithmetic::kInt8 ? 2500u * 896 * 2 + 2512u * (896 / 64) * 9 : 0;
    const std::size_t tiles = arithmetic == Arithmetic::kBf16 && gemm::matrix_tiles_available() ? 2 * gemm::tile_scratch_bytes() : 0;
    EXPECT_LE(last, fp32 + rows + tiles + 4096);
  }
}

}  // namespace
}  // namespace evolora
