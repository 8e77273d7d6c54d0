// head_loss and head_logits against fp64 with derived error bounds: chunk sizes around the row count, quantized and dense heads, gaps between
// supervised rows; gradients also against fp64 finite differences.
#include <algorithm>

#include "kernels/embedding/decoded_value.h"
#include "kernels/head_loss/contract.h"
#include "kernels/kernel_test_support.h"
#include "kernels/weight_test_support.h"

namespace evolora {
namespace {

using namespace testing_support;

constexpr float kNormEps = 1e-6f;
constexpr float kLossScale = 0.37f;

struct Problem {
  Problem(const WeightFormat& format, std::int64_t rows, std::int64_t width, std::int64_t vocabulary, std::int64_t supervised)
      : n(rows),
        d(width),
        m(supervised),
        hidden(random_buffer(static_cast<std::size_t>(rows * width), 1, 2.0f)),
        norm_weight(random_buffer(static_cast<std::size_t>(width), 2)),
        weight(format, vocabulary, width, 3, 0.3f),
        head(weight.view()) {
    std::mt19937 generator(4);
    for (std::int64_t i = 0; i < supervised; ++i) {
      row_indices.push_back(static_cast<std::int32_t>(i * (rows - 1) / std::max<std::int64_t>(supervised - 1, 1)));
      targets.push_back(static_cast<std::int32_t>(generator() % static_cast<std::uint32_t>(vocabulary)));
    }
  }
  HeadLoss args(std::int64_t chunk_rows, float* d_hidden, float* row_losses, double* loss_sum) const {
    return {hidden.data(),  n, d,          norm_weight.data(), kNormEps, head,       row_indices.data(),
            targets.data(), m, kLossScale, chunk_rows,         d_hidden, row_losses, loss_sum};
  }
  HeadLogits logits_args(float* logits) const { return {hidden.data(), d, norm_weight.data(), kNormEps, head, row_indices.data(), m, logits}; }

  std::int64_t n;
  std::int64_t d;
  std::int64_t m;
  Buffer hidden;
  Buffer norm_weight;
  StoredWeight weight;
  WeightView head;
  std::vector<std::int32_t> row_indices;
  std::vector<std::int32_t> targets;
};

// A stored weight and the size of the terms it is decoded from, |scale q| + |bias|, which bounds its rounding.
struct Weights {
  explicit Weights(const WeightView& view) {
    for (std::int64_t v = 0; v < view.out; ++v) {
      for (std::int64_t i = 0; i < view.in; ++i) {
        value.push_back(reference::decoded_value(view, v, i));
        const auto group = static_cast<std::size_t>(view.quantized() ? (v * view.in + i) / view.group_size : 0);
        const double bias = view.quantized() ? std::abs(load_float(view.dtype, view.biases, group)) : 0.0;
        magnitude.push_back(std::abs(value.back()) + 2 * bias);
      }
    }
  }
  std::vector<double> value;
  std::vector<double> magnitude;
};

struct ExactRow {
  std::vector<double> logits;
  std::vector<double> logit_bounds;
  double loss;
  double loss_bound;
  std::vector<double> d_hidden;
  std::vector<double> d_hidden_bounds;
};

// hidden may be moved in fp64 (finite differences).
ExactRow exact_row(const Problem& p, const Weights& w, const std::vector<double>& hidden, std::int32_t target) {
  const auto d = static_cast<std::size_t>(p.d);
  const auto vocabulary = static_cast<std::size_t>(p.head.out);
  const auto width = static_cast<double>(p.d);
  double squares = 0;
  for (const double x : hidden) squares += x * x;
  const double inverse = 1 / std::sqrt(squares / width + static_cast<double>(kNormEps));
  const double inverse_error = (0.5 * (width + 2) + 4) * kEps;  // relative: half that of the sum of squares, then division, eps, root, reciprocal
  ExactRow row{std::vector<double>(vocabulary), std::vector<double>(vocabulary), 0, 0, std::vector<double>(d), std::vector<double>(d)};
  for (std::size_t v = 0; v < vocabulary; ++v) {
    double magnitude = 0;
    for (std::size_t i = 0; i < d; ++i) {
      const double x = hidden[i] * inverse * p.norm_weight[i];
      row.logits[v] += w.value[v * d + i] * x;
      magnitude += w.magnitude[v * d + i] * std::abs(x);
    }
    row.logit_bounds[v] = magnitude * (inverse_error + (width + 6) * kEps);  // D products and sums; 2 roundings of x; 2 of the decoded weight
  }
  const double largest = *std::max_element(row.logits.begin(), row.logits.end());
  const double logit_error = *std::max_element(row.logit_bounds.begin(), row.logit_bounds.end());
  double total = 0;
  double largest_magnitude = 0;
  for (const double logit : row.logits) {
    total += std::exp(logit - largest);
    largest_magnitude = std::max(largest_magnitude, std::abs(logit));
  }
  const double lse = largest + std::log(total);
  row.loss = lse - row.logits[static_cast<std::size_t>(target)];
  // exp(logit - max): the difference rounds (2 |logit| eps) and carries both logits' errors; exp 4 eps; a sum of V terms.
  const double exp_error = 2 * logit_error + (2 * largest_magnitude + 4 + static_cast<double>(vocabulary)) * kEps;
  row.loss_bound = 2 * logit_error + exp_error + 2 * kEps * (largest_magnitude + std::abs(row.loss));
  std::vector<double> dx(d);
  std::vector<double> dx_error(d);
  for (std::size_t v = 0; v < vocabulary; ++v) {
    const double probability = std::exp(row.logits[v] - lse);
    const bool is_target = v == static_cast<std::size_t>(target);
    const double scale = static_cast<double>(kLossScale);
    const double gradient = scale * (probability - (is_target ? 1.0 : 0.0));
    const double gradient_error = scale * (probability * (2 * exp_error + 4 * kEps) + (is_target ? 2 * kEps : 0.0));
    for (std::size_t i = 0; i < d; ++i) {
      dx[i] += gradient * w.value[v * d + i];
      dx_error[i] += w.magnitude[v * d + i] * (gradient_error + std::abs(gradient) * kEps * (static_cast<double>(vocabulary) + 4));
    }
  }
  double dot = 0;
  double dot_magnitude = 0;
  double dot_error = 0;
  for (std::size_t i = 0; i < d; ++i) {
    dot += p.norm_weight[i] * dx[i] * hidden[i];
    dot_magnitude += std::abs(p.norm_weight[i] * dx[i] * hidden[i]);
    dot_error += std::abs(p.norm_weight[i] * hidden[i]) * dx_error[i];
  }
  const double cube = inverse * inverse * inverse / width;
  for (std::size_t i = 0; i < d; ++i) {
    row.d_hidden[i] = inverse * p.norm_weight[i] * dx[i] - hidden[i] * dot * cube;
    row.d_hidden_bounds[i] = inverse * std::abs(p.norm_weight[i]) * (dx_error[i] + std::abs(dx[i]) * (inverse_error + 5 * kEps)) +
                             std::abs(hidden[i]) * cube * (dot_error + dot_magnitude * (3 * inverse_error + (width + 10) * kEps));
  }
  return row;
}

std::vector<double> hidden_row(const Problem& p, std::size_t m) {
  const float* row = p.hidden.data() + p.row_indices[m] * p.d;
  return {row, row + p.d};
}

struct Exact {
  explicit Exact(const Problem& p)
      : losses(static_cast<std::size_t>(p.m)), loss_bounds(losses.size()), d_hidden(p.hidden.size()), d_hidden_bounds(p.hidden.size()) {
    const Weights w(p.head);
    for (std::size_t m = 0; m < losses.size(); ++m) {
      const ExactRow row = exact_row(p, w, hidden_row(p, m), p.targets[m]);
      logits.insert(logits.end(), row.logits.begin(), row.logits.end());
      logit_bounds.insert(logit_bounds.end(), row.logit_bounds.begin(), row.logit_bounds.end());
      losses[m] = row.loss;
      loss_bounds[m] = row.loss_bound;
      loss_sum += row.loss;
      loss_sum_bound += row.loss_bound;
      const auto at = static_cast<std::ptrdiff_t>(p.row_indices[m] * p.d);
      std::copy(row.d_hidden.begin(), row.d_hidden.end(), d_hidden.begin() + at);
      std::copy(row.d_hidden_bounds.begin(), row.d_hidden_bounds.end(), d_hidden_bounds.begin() + at);
    }
  }
  std::vector<double> logits;
  std::vector<double> logit_bounds;
  std::vector<double> losses;
  std::vector<double> loss_bounds;
  std::vector<double> d_hidden;
  std::vector<double> d_hidden_bounds;
  double loss_sum = 0;
  double loss_sum_bound = 0;
};

using LossFunction = void (*)(const HeadLoss&, KernelContext&);

void expect_loss(const Problem& p, const Exact& exact, LossFunction function, std::int64_t chunk_rows, TestContext& context) {
  Buffer d_hidden(p.hidden.size());
  Buffer losses(static_cast<std::size_t>(p.m));
  double loss_sum = std::numeric_limits<double>::quiet_NaN();
  function(p.args(chunk_rows, d_hidden.data(), losses.data(), &loss_sum), context.get());
  EXPECT_TRUE(context.intact());
  expect_close(losses, exact.losses, exact.loss_bounds, "row_losses");
  expect_close(d_hidden, exact.d_hidden, exact.d_hidden_bounds, "d_hidden");
  EXPECT_LE(std::abs(loss_sum - exact.loss_sum), exact.loss_sum_bound);
  double without_gradient = 0;
  function(p.args(chunk_rows, nullptr, nullptr, &without_gradient), context.get());
  EXPECT_EQ(loss_sum, without_gradient);
}

void expect_problem(const Problem& p) {
  SCOPED_TRACE("d " + std::to_string(p.d) + ", vocabulary " + std::to_string(p.head.out) + ", rows " + std::to_string(p.m));
  const Exact exact(p);
  TestContext plain(1, 0);
  expect_loss(p, exact, reference::head_loss, 1, plain);
  Buffer logits(exact.logits.size());
  reference::head_logits(p.logits_args(logits.data()), plain.get());
  expect_close(logits, exact.logits, exact.logit_bounds, "reference logits");
  for_each_target_and_thread_count([&](int threads) {
    for (const std::int64_t chunk_rows : {std::int64_t{1}, std::int64_t{4}, p.m, p.m + 5}) {
      if (chunk_rows == 0) continue;
      TestContext context(threads, cpu::head_loss_workspace_bytes(p.args(chunk_rows, nullptr, nullptr, nullptr), threads));
      expect_loss(p, exact, cpu::head_loss, chunk_rows, context);
    }
    TestContext context(threads, cpu::head_logits_workspace_bytes(p.logits_args(nullptr), threads));
    logits.poison();
    cpu::head_logits(p.logits_args(logits.data()), context.get());
    EXPECT_TRUE(context.intact());
    expect_close(logits, exact.logits, exact.logit_bounds, "logits");
  });
}

TEST(HeadLoss, MatchesFp64) {
  for (const WeightFormat& format :
       {WeightFormat{0, 0, DType::kF32}, WeightFormat{0, 0, DType::kBF16}, WeightFormat{4, 32, DType::kF16}, WeightFormat{8, 64, DType::kF32}}) {
    SCOPED_TRACE(to_string(format));
    expect_problem(Problem(format, 13, 64, 97, 7));
    expect_problem(Problem(format, 9, 128, 301, 9));
    expect_problem(Problem(format, 3, 64, 1, 1));
  }
  expect_problem(Problem({0, 0, DType::kF32}, 6, 19, 33, 5));
  expect_problem(Problem({0, 0, DType::kF32}, 5, 8, 16, 0));
}

TEST(HeadLoss, GradientIsTheFiniteDifference) {
  const Problem p({4, 32, DType::kF16}, 5, 32, 23, 3);
  const Weights w(p.head);
  const Exact exact(p);
  // Step 1e-4 in hidden values of order 2: truncation h^2/6 |f'''|, where each derivative brings at most a factor max |d logit / d hidden| (below 3
  // here, so |f'''| < 100); rounding 1e-15 / 1e-4.
  constexpr double kDifferenceError = 1e-8 / 6 * 100;
  std::vector<double> numeric(p.hidden.size());
  std::vector<double> bounds = exact.d_hidden_bounds;
  for (std::size_t m = 0; m < exact.losses.size(); ++m) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(p.d); ++i) {
      std::vector<double> above = hidden_row(p, m);
      std::vector<double> below = above;
      above[i] += 1e-4;
      below[i] -= 1e-4;
      const std::size_t at = static_cast<std::size_t>(p.row_indices[m] * p.d) + i;
      numeric[at] = static_cast<double>(kLossScale) * (exact_row(p, w, above, p.targets[m]).loss - exact_row(p, w, below, p.targets[m]).loss) / 2e-4;
      bounds[at] += kDifferenceError;
    }
  }
  for_each_target_and_thread_count([&](int threads) {
    Buffer d_hidden(p.hidden.size());
    double loss_sum = 0;
    const HeadLoss args = p.args(2, d_hidden.data(), nullptr, &loss_sum);
    TestContext context(threads, cpu::head_loss_workspace_bytes(args, threads));
    cpu::head_loss(args, context.get());
    expect_close(d_hidden, numeric, bounds, "d_hidden");
    d_hidden.poison();
    reference::head_loss(args, context.get());
    expect_close(d_hidden, numeric, bounds, "reference d_hidden");
  });
}

struct LossAndGradient {
  LossAndGradient(const Problem& p, LossFunction function, Arithmetic forward, Arithmetic backward, int threads)
      : d_hidden(p.hidden.size()), losses(static_cast<std::size_t>(p.m)) {
    double loss_sum = 0;
    HeadLoss args = p.args(4, d_hidden.data(), losses.data(), &loss_sum);
    args.forward = forward;
    args.backward = backward;
    TestContext context(threads, cpu::head_loss_workspace_bytes(args, threads));
    function(args, context.get());
    EXPECT_TRUE(context.intact());
  }
  Buffer d_hidden, losses;
};

double distance(const Buffer& a, const Buffer& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
  return std::sqrt(sum);
}

// The reference rounds the same factors. Factors that differ by fp32 rounding (2^-24) round to another bf16 (2^-8 away) with a probability of 2^-15,
// so all that flip are off by 2^-7.5, 0.6 %, of what bf16 changes; a product left in fp32, or lowered where it should not be, by 30 % and more.
TEST(HeadLoss, Bf16RoundsAsTheReferenceDoes) {
  using enum Arithmetic;
  for (const WeightFormat& format : {WeightFormat{0, 0, DType::kF32}, WeightFormat{4, 32, DType::kF16}, WeightFormat{8, 64, DType::kF32}}) {
    const Problem p(format, 13, 128, 301, 11);
    const LossAndGradient exact(p, reference::head_loss, kFp32, kFp32, 1);
    for (const auto& [forward, backward] : {std::pair(kBf16, kFp32), {kFp32, kBf16}, {kBf16, kBf16}}) {
      SCOPED_TRACE(to_string(format) + ", " + arithmetic_name(forward) + " and " + arithmetic_name(backward));
      const LossAndGradient expected(p, reference::head_loss, forward, backward, 1);
      const double lowered = distance(expected.d_hidden, exact.d_hidden);
      EXPECT_GT(lowered, 0);
      for_each_target_and_thread_count([&](int threads) {
        const LossAndGradient got(p, cpu::head_loss, forward, backward, threads);
        EXPECT_LE(distance(got.d_hidden, expected.d_hidden), 0.1 * lowered);
        if (forward == kFp32) return;  // its losses differ by the order of sums only, as MatchesFp64 checks
        EXPECT_LE(distance(got.losses, expected.losses), 0.1 * distance(expected.losses, exact.losses));
      });
    }
  }
}

}  // namespace
}  // namespace evolora
