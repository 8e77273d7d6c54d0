// rope against the reference: odd head sizes, both pairings, both directions, far positions; backward as the transpose (and inverse) of forward.
#include "kernels/kernel_test_support.h"
#include "kernels/rope/contract.h"

namespace evolora {
namespace {

using namespace testing_support;

struct Case {
  std::int64_t n;
  std::int64_t q_heads;
  std::int64_t k_heads;
  std::int64_t head_dim;
  std::int32_t first_position;
  std::int32_t stride;
};

// The last two reach beyond the vector range reduction (angles above 1e6), for all or some frequencies.
constexpr Case kCases[] = {{1, 1, 1, 2, 0, 1},      {3, 2, 1, 6, 5, 1},          {37, 14, 2, 64, 0, 1},     {17, 3, 3, 128, 1000, 7},
                           {5, 9, 3, 34, 8191, 13}, {4, 1, 1, 256, 131072, 101}, {3, 2, 2, 64, 1500000, 1}, {2, 1, 1, 30, 2000000000, 1000}};

struct Inputs {
  explicit Inputs(const Case& c)
      : q(random_buffer(static_cast<std::size_t>(c.n * c.q_heads * c.head_dim), 1)),
        k(random_buffer(static_cast<std::size_t>(c.n * c.k_heads * c.head_dim), 2)) {
    for (std::int64_t n = 0; n < c.n; ++n) positions.push_back(c.first_position + static_cast<std::int32_t>(n) * c.stride);
    for (std::int64_t i = 0; i < c.head_dim / 2; ++i) {
      frequencies.push_back(static_cast<float>(std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(c.head_dim))));
    }
  }
  Rope args(const Case& c, bool traditional, int direction, Buffer& q_out, Buffer& k_out) const {
    return {q_out.data(), k_out.data(), c.n, c.q_heads, c.k_heads, c.head_dim, positions.data(), frequencies.data(), traditional, direction};
  }
  Buffer q;
  Buffer k;
  std::vector<std::int32_t> positions;
  std::vector<float> frequencies;
};

// Each output is a c -+ b s: cos and sin rounded to fp32 (1 eps each), two products, one sum: 4 eps of |a| + |b|.
std::vector<double> bounds(const Buffer& x, std::int64_t head_dim, bool traditional) {
  std::vector<double> result(x.size());
  const auto c = static_cast<std::size_t>(head_dim);
  for (std::size_t at = 0; at < x.size(); ++at) {
    const std::size_t i = at % c;
    const std::size_t other = traditional ? at - i + (i ^ 1) : at - i + (i + c / 2) % c;
    result[at] = 4 * kEps * (std::abs(static_cast<double>(x[at])) + std::abs(static_cast<double>(x[other])));
  }
  return result;
}

TEST(Rope, MatchesReference) {
  for (const Case& c : kCases) {
    const Inputs inputs(c);
    for (const bool traditional : {false, true}) {
      for (const int direction : {1, -1}) {
        SCOPED_TRACE("head_dim " + std::to_string(c.head_dim) + " position " + std::to_string(c.first_position) +
                     (traditional ? " traditional" : ""));
        Buffer expected_q = copy_of(inputs.q);
        Buffer expected_k = copy_of(inputs.k);
        TestContext plain(1, 0);
        reference::rope(inputs.args(c, traditional, direction, expected_q, expected_k), plain.get());
        for_each_target_and_thread_count([&](int threads) {
          Buffer q = copy_of(inputs.q);
          Buffer k = copy_of(inputs.k);
          const Rope args = inputs.args(c, traditional, direction, q, k);
          TestContext context(threads, cpu::rope_workspace_bytes(args, threads));
          cpu::rope(args, context.get());
          EXPECT_TRUE(context.intact());
          expect_close(q, expected_q, bounds(inputs.q, c.head_dim, traditional), "q");
          expect_close(k, expected_k, bounds(inputs.k, c.head_dim, traditional), "k");
        });
      }
    }
  }
}

TEST(Rope, RotationByHand) {
  const float frequency = 0.5f;
  const std::int32_t position = 3;
  Buffer q(2);
  q[0] = 1;
  q[1] = 2;
  Buffer k(2);
  k[0] = 0;
  k[1] = 1;
  TestContext context(1, 0);
  reference::rope({q.data(), k.data(), 1, 1, 1, 2, &position, &frequency, false, 1}, context.get());
  const double c = std::cos(1.5);
  const double s = std::sin(1.5);
  EXPECT_FLOAT_EQ(q[0], static_cast<float>(c - 2 * s));
  EXPECT_FLOAT_EQ(q[1], static_cast<float>(s + 2 * c));
  EXPECT_FLOAT_EQ(k[0], static_cast<float>(-s));
}

// <R x, y> = <x, R^T y>: what makes direction -1 the gradient. The rotation is linear, so this is exact up to rounding.
TEST(Rope, BackwardIsTheTranspose) {
  const Case c{11, 3, 1, 64, 40, 3};
  const Inputs x(c);
  for (const bool traditional : {false, true}) {
    for_each_target_and_thread_count([&](int threads) {
      const Buffer y = random_buffer(x.q.size(), 9);
      Buffer rx = copy_of(x.q);
      Buffer ry = copy_of(y);
      Buffer k1 = copy_of(x.k);
      Buffer k2 = copy_of(x.k);
      TestContext context(threads, cpu::rope_workspace_bytes(x.args(c, traditional, 1, rx, k1), threads));
      cpu::rope(x.args(c, traditional, 1, rx, k1), context.get());
      cpu::rope(x.args(c, traditional, -1, ry, k2), context.get());
      double left = 0;
      double right = 0;
      double magnitude = 0;
      for (std::size_t i = 0; i < y.size(); ++i) {
        left += static_cast<double>(rx[i]) * y[i];
        right += static_cast<double>(x.q[i]) * ry[i];
        magnitude += std::hypot(static_cast<double>(x.q[i]), static_cast<double>(y[i])) *
                     (std::abs(static_cast<double>(x.q[i])) + std::abs(static_cast<double>(y[i])));
      }
      EXPECT_NEAR(left, right, 8 * kEps * magnitude);
    });
  }
}

}  // namespace
}  // namespace evolora
