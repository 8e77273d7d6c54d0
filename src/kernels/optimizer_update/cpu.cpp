// adam and adamw with SIMD, bit-equal to the reference: IEEE operations in the same order, unfused. Memory-bound (28 bytes per parameter).
#include "kernels/no_contraction.h"

#include <algorithm>
#include <cmath>

#include "kernels/optimizer_update/adam_factors.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/optimizer_update/cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace evolora::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE void adam_step(D d, const AdamUpdate& args, const AdamFactors& f, std::int64_t i) {
  const auto g = hn::Mul(hn::Set(d, args.gradient_scale), hn::LoadU(d, args.gradients + i));
  const auto m = hn::Add(hn::Mul(hn::Set(d, f.b1), hn::LoadU(d, args.m + i)), hn::Mul(hn::Set(d, f.one_minus_b1), g));
  const auto v = hn::Add(hn::Mul(hn::Set(d, f.b2), hn::LoadU(d, args.v + i)), hn::Mul(hn::Set(d, f.one_minus_b2), hn::Mul(g, g)));
  hn::StoreU(m, d, args.m + i);
  hn::StoreU(v, d, args.v + i);
  const auto numerator = hn::Mul(hn::Set(d, f.numerator), m);
  const auto denominator = hn::Add(hn::Mul(hn::Sqrt(v), hn::Set(d, f.denominator)), hn::Set(d, args.eps));
  const auto decayed = hn::Mul(hn::Set(d, f.decay), hn::LoadU(d, args.parameters + i));
  hn::StoreU(hn::Sub(decayed, hn::Div(numerator, denominator)), d, args.parameters + i);
}

}  // namespace

void adam_block(const AdamUpdate& args, const AdamFactors& factors, std::int64_t begin, std::int64_t end) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = begin;
  for (; i + lanes <= end; i += lanes) adam_step(d, args, factors, i);
  for (; i < end; ++i) adam_step(hn::CappedTag<float, 1>(), args, factors, i);
}

}  // namespace evolora::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace evolora {
namespace {

HWY_EXPORT(adam_block);

constexpr std::int64_t kBlock = 16384;

}  // namespace

namespace cpu {

void adam_update(const AdamUpdate& args, KernelContext& context) {
  const AdamFactors factors = adam_factors(args);
  const std::int64_t blocks = (args.count + kBlock - 1) / kBlock;
  context.threads.for_each(static_cast<std::size_t>(blocks), [&](std::size_t block, int) {
    const std::int64_t begin = static_cast<std::int64_t>(block) * kBlock;
    HWY_DYNAMIC_DISPATCH(adam_block)(args, factors, begin, std::min(begin + kBlock, args.count));
  });
}

}  // namespace cpu
}  // namespace evolora
#endif  // HWY_ONCE
