// swiglu against the plain reference, against finite differences in fp64, in place, and far out where exp overflows.
#include "kernels/kernel_test_support.h"
#include "kernels/swiglu/contract.h"

namespace evolora {
namespace {

using namespace testing_support;

constexpr std::size_t kCounts[] = {1, 3, 16, 17, 63, 1000, 16384, 16385, 40001};

// Gates from the ordinary range and, every seventh, from far outside.
Buffer gates(std::size_t n, std::uint32_t seed) {
  Buffer gate = random_buffer(n, seed, 3.0f);
  const float far[] = {100.0f, -100.0f, 88.7f, -88.7f, 1e4f, -1e4f, 0.0f, -0.0f, -87.4f};
  for (std::size_t i = 0; i < n; i += 7) gate[i] = far[(i / 7) % std::size(far)];
  return gate;
}

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// Rounding: exp 2 ulp (4 eps), then add, divide, multiply twice or three times: under 12 eps relative. Where exp(-|g|) is below the smallest normal
// float it is taken as zero, which costs at most |factors| * FLT_MIN.
double bound(double value, double factors) { return 12 * kEps * std::abs(value) + 2 * std::abs(factors) * 1.1754944e-38; }

TEST(Swiglu, ForwardMatchesReference) {
  for (const std::size_t n : kCounts) {
    const Buffer gate = gates(n, 1);
    const Buffer up = random_buffer(n, 2);
    std::vector<double> expected(n);
    std::vector<double> bounds(n);
    for (std::size_t i = 0; i < n; ++i) {
      const double g = gate[i];
      expected[i] = g * sigmoid(g) * up[i];
      bounds[i] = bound(expected[i], g * up[i]);
    }
    Buffer plain(n);
    TestContext plain_context(1, 0);
    reference::swiglu_forward({gate.data(), up.data(), static_cast<std::int64_t>(n), plain.data()}, plain_context.get());
    expect_close(plain, expected, bounds, "reference act");
    for_each_target_and_thread_count([&](int threads) {
      TestContext context(threads, 0);
      Buffer act(n);
      cpu::swiglu_forward({gate.data(), up.data(), static_cast<std::int64_t>(n), act.data()}, context.get());
      expect_close(act, expected, bounds, "act");
      Buffer in_gate = copy_of(gate);
      cpu::swiglu_forward({in_gate.data(), up.data(), static_cast<std::int64_t>(n), in_gate.data()}, context.get());
      Buffer in_up = copy_of(up);
      cpu::swiglu_forward({gate.data(), in_up.data(), static_cast<std::int64_t>(n), in_up.data()}, context.get());
      for (std::size_t i = 0; i < n; ++i) {
        ASSERT_EQ(act[i], in_gate[i]);
        ASSERT_EQ(act[i], in_up[i]);
      }
    });
  }
}

TEST(Swiglu, BackwardMatchesReferenceAndFiniteDifferences) {
  for (const std::size_t n : kCounts) {
    const Buffer gate = gates(n, 3);
    const Buffer up = random_buffer(n, 4);
    const Buffer d_act = random_buffer(n, 5);
    Buffer plain_gate(n);
    Buffer plain_up(n);
    TestContext plain_context(1, 0);
    reference::swiglu_backward({d_act.data(), gate.data(), up.data(), static_cast<std::int64_t>(n), plain_gate.data(), plain_up.data()},
                               plain_context.get());
    std::vector<double> bound_gate(n);
    std::vector<double> bound_up(n);
    for (std::size_t i = 0; i < n; ++i) {
      const double g = gate[i];
      const double du = static_cast<double>(d_act[i]) * up[i];
      // 1 + g (1 - s) may cancel for negative g: its error is that of its terms.
      bound_gate[i] = 16 * kEps * std::abs(du * sigmoid(g)) * (1 + std::abs(g) * sigmoid(-g)) + bound(0, du * (1 + std::abs(g)));
      bound_up[i] = bound(plain_up[i], g * d_act[i]);
      // Central difference of silu in fp64: step 1e-5 leaves truncation 1e-10 |f'''|/6 (|f'''| < 0.2 beside g of order 1, decaying) and rounding
      // 1e-16 |g| / 1e-5.
      const double h = 1e-5;
      const auto silu = [](double x) { return x * sigmoid(x); };
      const double difference = du * (silu(g + h) - silu(g - h)) / (2 * h);
      ASSERT_NEAR(plain_gate[i], difference, std::abs(du) * (1e-10 + 4e-11 * (1 + std::abs(g))) + bound_gate[i]);
    }
    for_each_target_and_thread_count([&](int threads) {
      TestContext context(threads, 0);
      Buffer d_gate(n);
      Buffer d_up(n);
      cpu::swiglu_backward({d_act.data(), gate.data(), up.data(), static_cast<std::int64_t>(n), d_gate.data(), d_up.data()}, context.get());
      expect_close(d_gate, plain_gate, bound_gate, "d_gate");
      expect_close(d_up, plain_up, bound_up, "d_up");
      // The engine's use: gradients over gate and up themselves; and over d_act.
      Buffer g = copy_of(gate);
      Buffer u = copy_of(up);
      cpu::swiglu_backward({d_act.data(), g.data(), u.data(), static_cast<std::int64_t>(n), g.data(), u.data()}, context.get());
      Buffer da = copy_of(d_act);
      Buffer other(n);
      cpu::swiglu_backward({da.data(), gate.data(), up.data(), static_cast<std::int64_t>(n), other.data(), da.data()}, context.get());
      for (std::size_t i = 0; i < n; ++i) {
        ASSERT_EQ(g[i], d_gate[i]);
        ASSERT_EQ(u[i], d_up[i]);
        ASSERT_EQ(other[i], d_gate[i]);
        ASSERT_EQ(da[i], d_up[i]);
      }
    });
  }
}

}  // namespace
}  // namespace evolora
