// rope with SIMD: per row, cos and sin of C/2 angles once into a small per-thread table, then all heads of q and k are rotated with it.
#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "kernels/rope/contract.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rope/cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace evolora::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// The range reduction below is exact while |angle| * 2/pi fits the 20 bits that its parts of pi/2 leave free.
constexpr float kLargestReducedAngle = 1e6f;

void scalar_cos_sin(float angle, float direction, float* cosine, float* sine) {
  *cosine = static_cast<float>(std::cos(static_cast<double>(angle)));
  *sine = direction * static_cast<float>(std::sin(static_cast<double>(angle)));
}

#if HWY_HAVE_FLOAT64

using D64 = hn::ScalableTag<double>;
using V64 = hn::Vec<D64>;

// cos and sin of x in double, |x| <= kLargestReducedAngle, with an error far below an fp32 rounding: x - n pi/2 with pi/2 in parts of 33 + 33 + 53
// bits (Cody & Waite), then Taylor polynomials on [-pi/4, pi/4] to r^13 and r^12, whose remainders are 1e-14 and 4e-13 there.
HWY_INLINE void cos_sin(D64 d, V64 x, V64& cosine, V64& sine) {
  const hn::RebindToSigned<D64> di;
  const V64 n = hn::Round(hn::Mul(x, hn::Set(d, 0x1.45f306dc9c883p-1)));
  V64 r = hn::NegMulAdd(n, hn::Set(d, 0x1.921fb544p+0), x);
  r = hn::NegMulAdd(n, hn::Set(d, 0x1.0b4611a6p-34), r);
  r = hn::NegMulAdd(n, hn::Set(d, 0x1.3198a2e037073p-69), r);
  const V64 r2 = hn::Mul(r, r);
  V64 s = hn::MulAdd(r2, hn::Set(d, 1.0 / 6227020800.0), hn::Set(d, -1.0 / 39916800.0));
  s = hn::MulAdd(s, r2, hn::Set(d, 1.0 / 362880.0));
  s = hn::MulAdd(s, r2, hn::Set(d, -1.0 / 5040.0));
  s = hn::MulAdd(s, r2, hn::Set(d, 1.0 / 120.0));
  s = hn::MulAdd(s, r2, hn::Set(d, -1.0 / 6.0));
  s = hn::MulAdd(hn::Mul(s, r2), r, r);
  V64 c = hn::MulAdd(r2, hn::Set(d, 1.0 / 479001600.0), hn::Set(d, -1.0 / 3628800.0));
  c = hn::MulAdd(c, r2, hn::Set(d, 1.0 / 40320.0));
  c = hn::MulAdd(c, r2, hn::Set(d, -1.0 / 720.0));
  c = hn::MulAdd(c, r2, hn::Set(d, 1.0 / 24.0));
  c = hn::MulAdd(c, r2, hn::Set(d, -0.5));
  c = hn::MulAdd(c, r2, hn::Set(d, 1.0));
  // Adding 1.5 * 2^52 leaves n mod 4 in the lowest bits: quadrant q swaps cos and sin if odd; sin is negative in 2, 3 and cos in 1, 2.
  const auto quadrant = hn::BitCast(di, hn::Add(n, hn::Set(d, 0x1.8p52)));
  const auto one = hn::Set(di, 1);
  const auto odd = hn::RebindMask(d, hn::Eq(hn::And(quadrant, one), one));
  const auto sine_sign = hn::BitCast(d, hn::ShiftLeft<62>(hn::And(quadrant, hn::Set(di, 2))));
  const auto cosine_sign = hn::BitCast(d, hn::ShiftLeft<62>(hn::And(hn::Add(quadrant, one), hn::Set(di, 2))));
  sine = hn::Xor(hn::IfThenElse(odd, c, s), sine_sign);
  cosine = hn::Xor(hn::IfThenElse(odd, s, c), cosine_sign);
}

// Returns how many of the half angles it did, from the front.
std::int64_t vector_cos_sin(float position, const float* inverse_frequencies, std::int64_t half, float direction, float* cosines, float* sines) {
  const D64 d;
  const hn::Rebind<float, D64> df;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto limit = hn::Set(df, kLargestReducedAngle);
  std::int64_t i = 0;
  for (; i + lanes <= half; i += lanes) {
    const auto angle = hn::Mul(hn::Set(df, position), hn::LoadU(df, inverse_frequencies + i));
    if (!hn::AllTrue(df, hn::Le(hn::Abs(angle), limit))) return i;
    V64 c;
    V64 s;
    cos_sin(d, hn::PromoteTo(d, angle), c, s);
    hn::StoreU(hn::DemoteTo(df, c), df, cosines + i);
    hn::StoreU(hn::Mul(hn::DemoteTo(df, s), hn::Set(df, direction)), df, sines + i);
  }
  return i;
}

#else

std::int64_t vector_cos_sin(float, const float*, std::int64_t, float, float*, float*) { return 0; }

#endif  // HWY_HAVE_FLOAT64

using D = hn::ScalableTag<float>;

// Pairs (i, i + half).
void rotate_halves(float* x, const float* cosines, const float* sines, std::int64_t half) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + lanes <= half; i += lanes) {
    const auto a = hn::LoadU(d, x + i);
    const auto b = hn::LoadU(d, x + half + i);
    const auto c = hn::LoadU(d, cosines + i);
    const auto s = hn::LoadU(d, sines + i);
    hn::StoreU(hn::NegMulAdd(b, s, hn::Mul(a, c)), d, x + i);
    hn::StoreU(hn::MulAdd(b, c, hn::Mul(a, s)), d, x + half + i);
  }
  for (; i < half; ++i) {
    const float a = x[i];
    const float b = x[half + i];
    x[i] = a * cosines[i] - b * sines[i];
    x[half + i] = a * sines[i] + b * cosines[i];
  }
}

// Pairs (2i, 2i + 1).
void rotate_neighbours(float* x, const float* cosines, const float* sines, std::int64_t half) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + lanes <= half; i += lanes) {
    hn::Vec<D> a;
    hn::Vec<D> b;
    hn::LoadInterleaved2(d, x + 2 * i, a, b);
    const auto c = hn::LoadU(d, cosines + i);
    const auto s = hn::LoadU(d, sines + i);
    hn::StoreInterleaved2(hn::NegMulAdd(b, s, hn::Mul(a, c)), hn::MulAdd(b, c, hn::Mul(a, s)), d, x + 2 * i);
  }
  for (; i < half; ++i) {
    const float a = x[2 * i];
    const float b = x[2 * i + 1];
    x[2 * i] = a * cosines[i] - b * sines[i];
    x[2 * i + 1] = a * sines[i] + b * cosines[i];
  }
}

}  // namespace

// table: room for head_dim floats.
void rope_row(const Rope& args, std::int64_t n, float* table) {
  const std::int64_t half = args.head_dim / 2;
  float* cosines = table;
  float* sines = table + half;
  const auto position = static_cast<float>(args.positions[n]);
  const auto direction = static_cast<float>(args.direction);
  std::int64_t i = vector_cos_sin(position, args.inverse_frequencies, half, direction, cosines, sines);
  for (; i < half; ++i) scalar_cos_sin(position * args.inverse_frequencies[i], direction, cosines + i, sines + i);
  const auto rotate = args.traditional ? rotate_neighbours : rotate_halves;
  for (std::int64_t h = 0; h < args.q_heads; ++h) rotate(args.q + (n * args.q_heads + h) * args.head_dim, cosines, sines, half);
  for (std::int64_t h = 0; h < args.k_heads; ++h) rotate(args.k + (n * args.k_heads + h) * args.head_dim, cosines, sines, half);
}

}  // namespace evolora::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace evolora {
namespace {

HWY_EXPORT(rope_row);

constexpr std::int64_t kRowsPerTask = 16;

std::size_t table_bytes(const Rope& args) { return align_up(static_cast<std::size_t>(args.head_dim) * sizeof(float)); }

}  // namespace

namespace cpu {

std::size_t rope_workspace_bytes(const Rope& args, int threads) { return static_cast<std::size_t>(threads) * table_bytes(args); }

void rope(const Rope& args, KernelContext& context) {
  CHECK(args.head_dim % 2 == 0 && (args.direction == 1 || args.direction == -1));
  CHECK(context.workspace_bytes >= rope_workspace_bytes(args, context.threads.count()));
  const std::int64_t tasks = (args.n + kRowsPerTask - 1) / kRowsPerTask;
  context.threads.for_each(static_cast<std::size_t>(tasks), [&](std::size_t task, int worker) {
    auto* table = reinterpret_cast<float*>(context.workspace + static_cast<std::size_t>(worker) * table_bytes(args));
    const std::int64_t begin = static_cast<std::int64_t>(task) * kRowsPerTask;
    for (std::int64_t n = begin; n < std::min(begin + kRowsPerTask, args.n); ++n) HWY_DYNAMIC_DISPATCH(rope_row)(args, n, table);
  });
}

}  // namespace cpu
}  // namespace evolora
#endif  // HWY_ONCE
