// rms_norm against the reference and fp64 finite differences over odd shapes, with and without residual, and through every aliasing the contract
// allows.
#include "kernels/kernel_test_support.h"
#include "kernels/rms_norm/contract.h"

namespace evolora {
namespace {

using namespace testing_support;

constexpr float kNormEps = 1e-5f;

struct Shape {
  std::int64_t n;
  std::int64_t d;
};
constexpr Shape kShapes[] = {{1, 1}, {2, 3}, {5, 16}, {3, 17}, {7, 33}, {40, 576}, {3, 896}, {19, 1023}};

double forward_element(const float* x, const float* w, std::int64_t d, std::int64_t i) {
  double squares = 0;
  for (std::int64_t j = 0; j < d; ++j) squares += static_cast<double>(x[j]) * x[j];
  return x[i] / std::sqrt(squares / static_cast<double>(d) + static_cast<double>(kNormEps)) * w[i];
}

// Relative error of 1/rms: half of that of the sum of d squares (at most d + 2 roundings in any order), plus division, eps, root, reciprocal.
double inverse_error(std::int64_t d) { return (0.5 * static_cast<double>(d + 2) + 4) * kEps; }

TEST(RmsNorm, ForwardMatchesReference) {
  for (const auto& [n, d] : kShapes) {
    for (const bool with_residual : {false, true}) {
      SCOPED_TRACE(std::to_string(n) + " x " + std::to_string(d) + (with_residual ? " residual" : ""));
      const auto size = static_cast<std::size_t>(n * d);
      const Buffer x = random_buffer(size, 1, 2.0f);
      const Buffer residual = random_buffer(size, 2);
      const Buffer weight = random_buffer(static_cast<std::size_t>(d), 3);
      Buffer expected_sum(size);
      Buffer expected(size);
      TestContext plain(1, 0);
      reference::rms_norm_forward({x.data(), with_residual ? residual.data() : nullptr, weight.data(), kNormEps, n, d,
                                   with_residual ? expected_sum.data() : nullptr, expected.data()},
                                  plain.get());
      std::vector<double> bounds(size);
      const Buffer& normalised = with_residual ? expected_sum : x;
      for (std::size_t i = 0; i < size; ++i) {
        bounds[i] = (inverse_error(d) + 3 * kEps) * std::abs(expected[i]);
        const auto row = static_cast<std::int64_t>(i) / d;
        ASSERT_NEAR(expected[i], forward_element(normalised.data() + row * d, weight.data(), d, static_cast<std::int64_t>(i) % d),
                    2 * kEps * std::abs(expected[i]));
      }
      for_each_target_and_thread_count([&](int threads) {
        TestContext context(threads, 0);
        Buffer sum(size);
        Buffer y(size);
        cpu::rms_norm_forward(
            {x.data(), with_residual ? residual.data() : nullptr, weight.data(), kNormEps, n, d, with_residual ? sum.data() : nullptr, y.data()},
            context.get());
        expect_close(y, expected, bounds, "y");
        if (with_residual) {
          const std::vector<double> exact(size, 0.0);
          expect_close(sum, expected_sum, exact, "sum");
        }
        // y over x.
        Buffer in_place = copy_of(x);
        Buffer other_sum(size);
        cpu::rms_norm_forward({in_place.data(), with_residual ? residual.data() : nullptr, weight.data(), kNormEps, n, d,
                               with_residual ? other_sum.data() : nullptr, in_place.data()},
                              context.get());
        for (std::size_t i = 0; i < size; ++i) ASSERT_EQ(in_place[i], y[i]);
        if (!with_residual) return;
        // sum over x, then over residual.
        Buffer sum_on_x = copy_of(x);
        Buffer sum_on_residual = copy_of(residual);
        cpu::rms_norm_forward({sum_on_x.data(), residual.data(), weight.data(), kNormEps, n, d, sum_on_x.data(), y.data()}, context.get());
        expect_close(y, expected, bounds, "y with sum over x");
        cpu::rms_norm_forward({x.data(), sum_on_residual.data(), weight.data(), kNormEps, n, d, sum_on_residual.data(), y.data()}, context.get());
        expect_close(y, expected, bounds, "y with sum over residual");
        for (std::size_t i = 0; i < size; ++i) {
          ASSERT_EQ(sum_on_x[i], sum[i]);
          ASSERT_EQ(sum_on_residual[i], sum[i]);
        }
      });
    }
  }
}

TEST(RmsNorm, BackwardMatchesReference) {
  for (const auto& [n, d] : kShapes) {
    for (const bool with_add : {false, true}) {
      const auto size = static_cast<std::size_t>(n * d);
      const Buffer x = random_buffer(size, 4, 2.0f);
      const Buffer dy = random_buffer(size, 5);
      const Buffer add = random_buffer(size, 6);
      const Buffer weight = random_buffer(static_cast<std::size_t>(d), 7);
      Buffer expected(size);
      TestContext plain(1, 0);
      reference::rms_norm_backward({dy.data(), x.data(), weight.data(), kNormEps, n, d, with_add ? add.data() : nullptr, expected.data()},
                                   plain.get());
      std::vector<double> bounds(size);
      for (std::int64_t row = 0; row < n; ++row) {
        double squares = 0;
        double magnitude = 0;
        for (std::int64_t i = row * d; i < (row + 1) * d; ++i) {
          const auto at = static_cast<std::size_t>(i);
          squares += static_cast<double>(x[at]) * x[at];
          magnitude += std::abs(static_cast<double>(dy[at]) * weight[static_cast<std::size_t>(i - row * d)] * x[at]);
        }
        const double inverse = 1 / std::sqrt(squares / static_cast<double>(d) + static_cast<double>(kNormEps));
        for (std::int64_t i = 0; i < d; ++i) {
          const auto at = static_cast<std::size_t>(row * d + i);
          const double direct = std::abs(static_cast<double>(dy[at]) * weight[static_cast<std::size_t>(i)]) * inverse;
          const double pull = std::abs(x[at]) * magnitude / static_cast<double>(d) * inverse * inverse * inverse;
          const double added = with_add ? std::abs(static_cast<double>(add[at])) : 0;
          bounds[at] = direct * (inverse_error(d) + 4 * kEps) + pull * (3 * inverse_error(d) + static_cast<double>(d + 8) * kEps) +
                       3 * kEps * (added + direct + pull);
        }
      }
      for_each_target_and_thread_count([&](int threads) {
        TestContext context(threads, 0);
        Buffer dx(size);
        cpu::rms_norm_backward({dy.data(), x.data(), weight.data(), kNormEps, n, d, with_add ? add.data() : nullptr, dx.data()}, context.get());
        expect_close(dx, expected, bounds, "dx");
        Buffer on_dy = copy_of(dy);
        cpu::rms_norm_backward({on_dy.data(), x.data(), weight.data(), kNormEps, n, d, with_add ? add.data() : nullptr, on_dy.data()}, context.get());
        Buffer on_add = copy_of(add);
        if (with_add) cpu::rms_norm_backward({dy.data(), x.data(), weight.data(), kNormEps, n, d, on_add.data(), on_add.data()}, context.get());
        for (std::size_t i = 0; i < size; ++i) {
          ASSERT_EQ(on_dy[i], dx[i]);
          ASSERT_TRUE(!with_add || on_add[i] == dx[i]);
        }
      });
    }
  }
}

TEST(RmsNorm, ReferenceGradientIsTheFiniteDifference) {
  constexpr std::int64_t d = 9;
  const Buffer x = random_buffer(d, 8);
  const Buffer dy = random_buffer(d, 9);
  const Buffer weight = random_buffer(d, 10);
  Buffer dx(d);
  TestContext context(1, 0);
  reference::rms_norm_backward({dy.data(), x.data(), weight.data(), kNormEps, 1, d, nullptr, dx.data()}, context.get());
  const auto loss = [&](std::size_t moved, double by) {
    double squares = 0;
    double dot = 0;
    for (std::size_t i = 0; i < d; ++i) {
      const double v = x[i] + (i == moved ? by : 0.0);
      squares += v * v;
      dot += v * weight[i] * dy[i];
    }
    return dot / std::sqrt(squares / d + static_cast<double>(kNormEps));
  };
  // Step 1e-5: truncation h^2/6 |f'''| and rounding 1e-16/h are both about 1e-11 for values of order 1; the fp32 result rounds at eps.
  for (std::size_t i = 0; i < d; ++i) EXPECT_NEAR(dx[i], (loss(i, 1e-5) - loss(i, -1e-5)) / 2e-5, 1e-9 + 2 * kEps * std::abs(dx[i]));
}

}  // namespace
}  // namespace evolora
