// lora_linear and the plain linear against the fp64 reference: every weight kind, odd shapes, every SIMD target of this machine, one to three
// threads.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "formats/quantization.h"
#include "kernels/lora_linear/contract.h"
#include "kernels/lora_linear/gemm.h"
#include "kernels/lora_linear/linear.h"
#include "kernels/lora_linear/lora_linear_expected.h"
#include "kernels/lora_linear/lora_linear_problem.h"
#include "kernels/lora_linear/weight_value.h"

namespace evolora {
namespace {

using namespace testing_support;

template <typename Body>
void for_each_target(const Body& body) {
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(target);
    SCOPED_TRACE(hwy::TargetName(target));
    body();
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
}

void run_cpu(const Problem& problem, int threads, Outputs& outputs) {
  const std::vector<LoraProjection> bound = outputs.bind(problem);
  const LoraLinearForward forward{problem.x.data(), problem.shape.n, bound};
  TestContext forward_context(threads, cpu::lora_linear_forward_workspace_bytes(forward, threads));
  cpu::lora_linear_forward(forward, forward_context.get());
  ASSERT_TRUE(forward_context.intact());
  const LoraLinearBackward backward{problem.x.data(), problem.shape.n, bound, outputs.dx.data()};
  TestContext backward_context(threads, cpu::lora_linear_backward_workspace_bytes(backward, threads));
  cpu::lora_linear_backward(backward, backward_context.get());
  ASSERT_TRUE(backward_context.intact());
}

void check(const ProblemShape& shape, std::uint32_t seed = 1) {
  SCOPED_TRACE(shape.name());
  const Problem problem(shape, seed);
  const Expected expected(problem);
  for_each_target([&] {
    for (const int threads : {1, 2, 3}) {
      SCOPED_TRACE("threads " + std::to_string(threads));
      Outputs outputs(problem);
      run_cpu(problem, threads, outputs);
      expected.expect(outputs);
    }
  });
}

// Every kind meets every row count, and widths, ranks, group sizes and dropout in turn (periods without common factors, so all pairs come by).
TEST(LoraLinear, MatchesReferenceForEveryKind) {
  const std::vector<std::int64_t> rows = {1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65};
  const std::vector<std::int64_t> widths = {1, 5, 47, 48, 49, 192, 64, 33, 113};
  const std::vector<std::int64_t> ranks = {0, 1, 3, 8, 16, 64, 24};
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
      check(shape, static_cast<std::uint32_t>(turn));
      if (HasFatalFailure()) return;
    }
  }
}

TEST(LoraLinear, MatchesReferenceOverSeveralDepthBlocksAndColumnBlocks) {
  check({{4, 64, DType::kF16}, 200, 1536, {{576, 8, 0, true}, {192, 8, 0, true}, {192, 16}}});
  check({{8, 32, DType::kBF16}, 70, 2304, {{1201, 3, 0.1f}}});
  check({{0, 0, DType::kBF16}, 67, 1151, {{1303, 8}, {5, 8, 0.5f}}});
  check({{4, 128, DType::kF32}, 1300, 128, {{49, 4}}});
  check({{3, 64, DType::kF16}, 70, 2304, {{1201, 3, 0.1f}, {70, 8}}});
  check({{5, 32, DType::kBF16}, 67, 1184, {{577, 8, 0, true}}});
  check({{6, 128, DType::kF32}, 130, 1280, {{320, 8}}});
  check({{2, 32, DType::kF16}, 67, 1184, {{577, 8}}});
}

// K = 32 with AVX-512 is a fraction of one vector of packed words, and with 2 and 3 bits less than 16 bytes.
TEST(LoraLinear, MatchesReferenceForShortRows) {
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    for (const std::int64_t n : {1, 4, 6}) check({{bits, 32, DType::kF16}, n, 32, {{7, 2}, {32, 2, 0.2f}}});
  }
}

// A copy of bytes whose end, or whose begin, touches a page that must not be read.
class FencedBytes {
 public:
  FencedBytes(const std::byte* from, std::size_t size, bool fence_after) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t inner = (size + page - 1) / page * page;
    size_ = inner + 2 * page;
    base_ = static_cast<std::byte*>(mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT_EQ(0, mprotect(base_ + page, inner, PROT_READ | PROT_WRITE));
    data_ = base_ + page + (fence_after ? inner - size : 0);
    if (size != 0) std::memcpy(data_, from, size);
  }
  ~FencedBytes() { munmap(base_, size_); }
  FencedBytes(const FencedBytes&) = delete;
  FencedBytes& operator=(const FencedBytes&) = delete;
  const std::byte* data() const { return data_; }

 private:
  std::byte* base_;
  std::byte* data_;
  std::size_t size_;
};

// The last weight of a file ends where the mapping ends. Decoders load whole vectors, so this is easy to get wrong, and a heap hides it.
TEST(LoraLinear, ReadsNothingOutsideTheWeight) {
  for (const WeightKind& kind : all_weight_kinds()) {
    const std::int64_t step = kind.bits == 0 ? 33 : kind.group_size;
    for (const auto& [out, in] : {std::pair<std::int64_t, std::int64_t>{1, step}, {19, step}, {21, 3 * step}, {5, 8 * step}}) {
      SCOPED_TRACE(kind.name() + ", out " + std::to_string(out) + ", in " + std::to_string(in));
      const StoredWeight stored(kind, out, in, 3);
      for (const bool fence_after : {true, false}) {
        WeightView w = stored.view();
        const std::size_t element = dtype_size_bytes(w.dtype);
        const std::size_t scale_bytes = w.quantized() ? count_of(out, in / w.group_size) * element : 0;
        const std::size_t data_bytes = w.quantized() ? count_of(out, in) * static_cast<std::size_t>(w.bits) / 8 : count_of(out, in) * element;
        const FencedBytes data(w.data, data_bytes, fence_after);
        const FencedBytes scales(w.scales, scale_bytes, fence_after), biases(w.biases, scale_bytes, fence_after);
        w.data = data.data();
        if (w.quantized()) w.scales = scales.data(), w.biases = biases.data();
        for_each_target([&] {
          for (const std::int64_t n : {1, 2, 6}) {
            const Buffer x = random_buffer(count_of(n, in), 5), dy = random_buffer(count_of(n, out), 6);
            Buffer y(count_of(n, out)), y_heap(y.size()), dx(count_of(n, in)), dx_heap(dx.size());
            TestContext context(1, std::max(cpu::linear_forward_workspace_bytes(w, n, 1), cpu::linear_backward_workspace_bytes(w, n, 1)));
            cpu::linear_forward(w, x.data(), n, 0, y.data(), context.get());
            cpu::linear_forward(stored.view(), x.data(), n, 0, y_heap.data(), context.get());
            cpu::linear_backward(w, dy.data(), n, 0, dx.data(), context.get());
            cpu::linear_backward(stored.view(), dy.data(), n, 0, dx_heap.data(), context.get());
            ASSERT_EQ(0, std::memcmp(y.data(), y_heap.data(), y.size() * sizeof(float)));
            ASSERT_EQ(0, std::memcmp(dx.data(), dx_heap.data(), dx.size() * sizeof(float)));
          }
        });
      }
    }
  }
}

TEST(LoraLinear, IsBitwiseTheSameForEveryThreadCountAndRun) {
  const Problem problem({{4, 64, DType::kF16}, 130, 1280, {{320, 8}, {113, 8, 0.25f}}});
  Outputs first(problem);
  run_cpu(problem, 1, first);
  for (const int threads : {1, 2, 3, 3, 2}) {
    Outputs again(problem);
    run_cpu(problem, threads, again);
    const auto same = [](const Buffer& a, const Buffer& b) { return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0; };
    EXPECT_TRUE(same(first.dx, again.dx)) << threads;
    for (std::size_t i = 0; i < first.projections.size(); ++i) {
      EXPECT_TRUE(same(first.projections[i].y, again.projections[i].y)) << threads;
      EXPECT_TRUE(same(first.projections[i].xa, again.projections[i].xa)) << threads;
      EXPECT_TRUE(same(first.projections[i].da, again.projections[i].da)) << threads;
      EXPECT_TRUE(same(first.projections[i].db, again.projections[i].db)) << threads;
    }
  }
}

TEST(LoraLinear, BackwardWithoutInputGradientStillLearns) {
  const Problem problem({{4, 32, DType::kF32}, 20, 96, {{50, 8}, {20, 0}}});
  Outputs with(problem), without(problem);
  run_cpu(problem, 2, with);
  const std::vector<LoraProjection> bound = without.bind(problem);
  TestContext forward(2, cpu::lora_linear_forward_workspace_bytes({problem.x.data(), 20, bound}, 2));
  cpu::lora_linear_forward({problem.x.data(), 20, bound}, forward.get());
  const LoraLinearBackward args{problem.x.data(), 20, bound, nullptr};
  TestContext backward(2, cpu::lora_linear_backward_workspace_bytes(args, 2));
  cpu::lora_linear_backward(args, backward.get());
  for (std::size_t i = 0; i < with.projections[0].da.size(); ++i) ASSERT_EQ(with.projections[0].da[i], without.projections[0].da[i]);
  for (std::size_t i = 0; i < with.projections[0].db.size(); ++i) ASSERT_EQ(with.projections[0].db[i], without.projections[0].db[i]);
  EXPECT_TRUE(std::isnan(without.dx[0]));
}

TEST(LoraLinear, BackwardWithoutAdaptersNeedsNoInput) {
  const Problem problem({{4, 32, DType::kBF16}, 20, 96, {{50, 0}, {20, 0}}});
  Outputs with(problem), without(problem);
  run_cpu(problem, 2, with);
  const std::vector<LoraProjection> bound = without.bind(problem);
  const LoraLinearBackward args{nullptr, 20, bound, without.dx.data()};
  TestContext context(2, cpu::lora_linear_backward_workspace_bytes(args, 2));
  cpu::lora_linear_backward(args, context.get());
  for (std::size_t i = 0; i < with.dx.size(); ++i) ASSERT_EQ(with.dx[i], without.dx[i]);
}

TEST(LoraLinear, WorkspaceNeedsOnlyShapesAndGrowsWithRows) {
  for (const float dropout : {0.0f, 0.1f}) {
    LoraProjection p{.weight = {.out = 4864, .in = 896, .bits = 4, .group_size = 64, .dtype = DType::kF16}, .rank = 8, .dropout = dropout};
    const std::vector<LoraProjection> group = {p, p};
    std::size_t forward = 0, backward = 0, linear = 0, linear_backward = 0;
    for (std::int64_t n = 0; n < 2500; n += n < 20 ? 1 : 37) {
      for (auto [last, now] : {std::pair(&forward, cpu::lora_linear_forward_workspace_bytes({nullptr, n, group}, 2)),
                               std::pair(&backward, cpu::lora_linear_backward_workspace_bytes({nullptr, n, group, nullptr}, 2)),
                               std::pair(&linear, cpu::linear_forward_workspace_bytes(p.weight, n, 2)),
                               std::pair(&linear_backward, cpu::linear_backward_workspace_bytes(p.weight, n, 2))}) {
        ASSERT_GE(now, *last) << n;
        *last = now;
      }
    }
    // What is planned is scratch for the ranks and a decoded block per thread, nothing of the size of the weight or of y.
    EXPECT_LT(backward, 2u * 600 * 1024 + 2500u * 16 * 4 * 3 + 896u * 16 * 4 + 4096);
  }
}

// y = x W^T and dx = dy W with beta, as head_loss uses them.
TEST(Linear, MatchesReferenceWithBothBetas) {
  for (const WeightKind& kind : {WeightKind{4, 64, DType::kF16}, WeightKind{8, 128, DType::kBF16}, WeightKind{3, 32, DType::kF16},
                                 WeightKind{5, 64, DType::kBF16}, WeightKind{0, 0, DType::kBF16}, WeightKind{0, 0, DType::kF16}}) {
    for (const auto& [n, out, in] :
         {std::tuple<std::int64_t, std::int64_t, std::int64_t>{1, 1009, 256}, {3, 70, 128}, {64, 1500, 256}, {77, 33, 1280}}) {
      SCOPED_TRACE(kind.name() + ", n " + std::to_string(n) + ", out " + std::to_string(out) + ", in " + std::to_string(in));
      const Problem problem({kind, n, in, {{out, 0}}});
      const Expected expected(problem);
      const WeightView& weight = problem.projections[0].weight.view();
      for_each_target([&, n = n, out = out, in = in] {
        for (const float beta : {0.0f, 1.0f}) {
          const Buffer y0 = random_buffer(count_of(n, out), 5);
          const Buffer dx0 = random_buffer(count_of(n, in), 6);
          Buffer y = beta == 0 ? Buffer(y0.size()) : copy_of(y0);
          Buffer dx = beta == 0 ? Buffer(dx0.size()) : copy_of(dx0);
          TestContext forward(2, cpu::linear_forward_workspace_bytes(weight, n, 2));
          cpu::linear_forward(weight, problem.x.data(), n, beta, y.data(), forward.get());
          TestContext backward(2, cpu::linear_backward_workspace_bytes(weight, n, 2));
          cpu::linear_backward(weight, problem.projections[0].dy.data(), n, beta, dx.data(), backward.get());
          EXPECT_TRUE(forward.intact() && backward.intact());
          std::vector<double> y_expected(y.size()), y_bound(y.size()), dx_expected(dx.size()), dx_bound(dx.size());
          for (std::size_t i = 0; i < y.size(); ++i) {
            y_expected[i] = static_cast<double>(expected.values.projections[0].y[i]) + static_cast<double>(beta * y0[i]);
            y_bound[i] =
                expected.forward * (static_cast<double>(expected.magnitudes.projections[0].y[i]) + static_cast<double>(beta * std::abs(y0[i])));
          }
          for (std::size_t i = 0; i < dx.size(); ++i) {
            dx_expected[i] = static_cast<double>(expected.values.dx[i]) + static_cast<double>(beta * dx0[i]);
            dx_bound[i] = expected.backward * (static_cast<double>(expected.magnitudes.dx[i]) + static_cast<double>(beta * std::abs(dx0[i])));
          }
          expect_close(y, y_expected, y_bound, "y");
          expect_close(dx, dx_expected, dx_bound, "dx");
        }
      });
    }
  }
}

// The gradient of a head is a sum over the vocabulary: one large term and many small ones, each below half a unit in the last place of the large one.
TEST(Linear, SmallTermsOfALongSumAreNotLost) {
  constexpr std::int64_t kOut = 49152, kIn = 40;
  constexpr double kSmall = 0x1p-25, kSmallTerms = kSmall * (kOut - 1);
  const std::vector<float> ones(kOut * kIn, 1.0f);
  const WeightView weight{.out = kOut, .in = kIn, .dtype = DType::kF32, .data = reinterpret_cast<const std::byte*>(ones.data())};
  for_each_target([&] {
    for (const std::int64_t n : {1, 9}) {
      std::vector<float> dy(count_of(n, kOut), static_cast<float>(kSmall));
      for (std::int64_t row = 0; row < n; ++row) dy[count_of(row, kOut)] = 1.0f;
      Buffer dx(count_of(n, kIn));
      TestContext context(2, cpu::linear_backward_workspace_bytes(weight, n, 2));
      cpu::linear_backward(weight, dy.data(), n, 0.0f, dx.data(), context.get());
      // The depth block of the large term loses its small ones; no block is a tenth of the vocabulary.
      for (std::size_t i = 0; i < dx.size(); ++i) EXPECT_NEAR(dx[i], 1.0 + kSmallTerms, 0.1 * kSmallTerms) << "element " << i;
    }
  });
}

TEST(WeightValue, DecodesByHand) {
  // Word 0x76543210 holds 0, 1, ... 7 (little end first); the second group has another scale.
  std::vector<std::uint32_t> words(8, 0x76543210u);
  const float scales[] = {0.5f, 2.0f}, biases[] = {-1.0f, 3.0f};
  const WeightView w{.out = 1,
                     .in = 64,
                     .bits = 4,
                     .group_size = 32,
                     .dtype = DType::kF32,
                     .data = reinterpret_cast<const std::byte*>(words.data()),
                     .scales = reinterpret_cast<const std::byte*>(scales),
                     .biases = reinterpret_cast<const std::byte*>(biases)};
  EXPECT_EQ(weight_value(w, 0, 0), -1.0);
  EXPECT_EQ(weight_value(w, 0, 7), 2.5);
  EXPECT_EQ(weight_value(w, 0, 9), -0.5);
  EXPECT_EQ(weight_value(w, 0, 35), 9.0);
}

// What the codec packs (byte-equal with mlx) is what the kernels' definition of an element reads.
TEST(WeightValue, IsWhatTheCodecStored) {
  constexpr std::int64_t kOut = 5, kIn = 384;
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    for (const int group : {32, 64, 128}) {
      const AffineQuantization q{bits, group};
      const Buffer dense = random_buffer(count_of(kOut, kIn), 7);
      std::vector<std::uint32_t> packed(static_cast<std::size_t>(kOut) * packed_words_per_row(q, kIn));
      std::vector<float> scales(count_of(kOut, kIn / group)), biases(scales.size()), back(dense.size());
      affine_quantize(q, DType::kF32, dense.data(), kOut, kIn, packed.data(), scales.data(), biases.data());
      affine_dequantize(q, DType::kF32, packed.data(), scales.data(), biases.data(), kOut, kIn, back.data());
      const auto bytes = [](const auto& array) { return reinterpret_cast<const std::byte*>(array.data()); };
      const WeightView w{.out = kOut,
                         .in = kIn,
                         .bits = bits,
                         .group_size = group,
                         .dtype = DType::kF32,
                         .data = bytes(packed),
                         .scales = bytes(scales),
                         .biases = bytes(biases)};
      for (std::int64_t row = 0; row < kOut; ++row) {
        for (std::int64_t column = 0; column < kIn; ++column) {
          const double exact = weight_value(w, row, column);
          const float stored = back[static_cast<std::size_t>(row * kIn + column)];
          const std::size_t at = static_cast<std::size_t>(row * (kIn / group) + column / group);
          // The codec rounds product and sum to fp32: half a unit of each.
          const double rounding = kEps * (static_cast<double>(std::abs(scales[at])) * (1 << bits) + std::abs(exact));
          ASSERT_NEAR(stored, exact, rounding) << bits << " " << group << " " << row << " " << column;
        }
      }
    }
  }
}

TEST(WeightValue, CodesStraddleBytesAndWords) {
  // 3 bits: 0, 1, ... 7 in three bytes, little end first; the eleventh code straddles the first two words. 6 bits: 1, 2, 3, 4 in three bytes.
  // 5 bits: 31, 0, 31, 0, ...
  std::uint8_t three[12], six[24], five[20] = {};
  constexpr std::uint8_t kThree[] = {0x88, 0xc6, 0xfa}, kSix[] = {0x81, 0x30, 0x10};
  for (std::size_t i = 0; i < sizeof(three); ++i) three[i] = kThree[i % 3];
  for (std::size_t i = 0; i < sizeof(six); ++i) six[i] = kSix[i % 3];
  for (std::size_t bit = 0; bit < 160; ++bit) five[bit / 8] = static_cast<std::uint8_t>(five[bit / 8] | (bit / 5 % 2 == 0 ? 1u << (bit % 8) : 0u));
  const auto view = [](int bits, const std::uint8_t* stream) {
    return WeightView{.out = 1, .in = 32, .bits = bits, .group_size = 32, .data = reinterpret_cast<const std::byte*>(stream)};
  };
  for (std::int64_t k = 0; k < 32; ++k) {
    EXPECT_EQ(stored_code(view(3, three), 0, k), static_cast<std::uint32_t>(k % 8)) << k;
    EXPECT_EQ(stored_code(view(5, five), 0, k), k % 2 == 0 ? 31u : 0u) << k;
    EXPECT_EQ(stored_code(view(6, six), 0, k), static_cast<std::uint32_t>(k % 4 + 1)) << k;
  }
}

TEST(Plan, BlocksCoverEveryProductOnceAndFitTheirPanel) {
  using gemm::Product;
  for (const std::int64_t lanes : {1, 4, 8, 16}) {
    for (const int threads : {1, 2, 7, 64}) {
      const auto product = [](std::int64_t rows, std::int64_t cols, std::vector<std::int64_t> depths) {
        Product p{.rows = rows, .cols = cols};
        for (const std::int64_t depth : depths) p.terms.push_back({nullptr, 0, depth, gemm::dense_source(nullptr, cols, depth, true)});
        return p;
      };
      std::vector<Product> products = {product(1024, 896, {896, 8}), product(64, 128, {896, 8}), product(24, 4864, {2048}),
                                       product(5, 1, {1}),           product(300, 24, {4864}),   product(64, 151936, {896})};
      for (const std::int64_t rows : {37, 512}) {  // in bf16, with an adapter
        products.push_back(product(rows, 1536, {576, 8}));
        products.back().arithmetic = Arithmetic::kBf16;
        products.back().low_terms = {products.back().terms.front()};
        products.back().terms.erase(products.back().terms.begin());
      }
      const auto blocks = gemm::plan_products(products, lanes, threads);
      const std::size_t panel = gemm::panel_bytes(products, lanes);
      std::vector<std::int64_t> covered(products.size(), 0);
      for (const gemm::Block& block : blocks) {
        const Product& p = products[block.product];
        ASSERT_TRUE(0 <= block.row0 && block.row0 < block.row1 && block.row1 <= p.rows);
        ASSERT_TRUE(0 <= block.col0 && block.col0 < block.col1 && block.col1 <= p.cols);
        ASSERT_EQ(block.col0 % lanes, 0);
        covered[block.product] += (block.row1 - block.row0) * (block.col1 - block.col0);
        for (const auto* terms : {&p.terms, &p.low_terms}) {
          const std::size_t bytes = terms == &p.terms ? sizeof(float) : sizeof(std::uint16_t);
          for (const gemm::DepthBlock& depth : gemm::split_depth(*terms)) {
            std::int64_t steps = 0;
            for (const gemm::Segment& s : depth) steps += s.k1 - s.k0;
            const std::int64_t width = (block.col1 - block.col0 + lanes - 1) / lanes * lanes;
            ASSERT_LE(static_cast<std::size_t>(steps * width) * bytes, panel);
          }
        }
      }
      for (std::size_t i = 0; i < products.size(); ++i) EXPECT_EQ(covered[i], products[i].rows * products[i].cols);
    }
  }
}

TEST(Plan, DepthIsCutAtWholeGroups) {
  gemm::Product p{.rows = 1, .cols = 1};
  for (const std::int64_t depth : {896, 128, 128, 8, 8, 8, 4864, 16}) p.terms.push_back({nullptr, 0, depth, {}});
  std::vector<std::int64_t> seen(p.terms.size(), 0);
  for (const gemm::DepthBlock& block : gemm::split_depth(p.terms)) {
    for (const gemm::Segment& s : block) {
      EXPECT_EQ(s.k0, seen[s.term]);
      EXPECT_TRUE(s.k1 % 128 == 0 || s.k1 == p.terms[s.term].depth);
      seen[s.term] = s.k1;
    }
  }
  for (std::size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], p.terms[i].depth);
}

}  // namespace
}  // namespace evolora
