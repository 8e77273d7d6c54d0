// swiglu with SIMD: memory-bound, so one pass over each array and threads over blocks of elements.
#include <algorithm>

#include "kernels/swiglu/contract.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/swiglu/cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/vector_exp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace evolora::HWY_NAMESPACE {
namespace {

template <class V>
struct Sigmoids {
  V plus;   // sigmoid(g)
  V minus;  // sigmoid(-g) = 1 - sigmoid(g), without its cancellation
};

// Through e = exp(-|g|) <= 1, so that nothing overflows for any g.
template <class D, class V = hn::Vec<D>>
HWY_INLINE Sigmoids<V> sigmoids(D d, V g) {
  const V one = hn::Set(d, 1.0f);
  const V e = vector_exp(d, hn::Neg(hn::Abs(g)));
  const V large = hn::Div(one, hn::Add(one, e));
  const V small = hn::Mul(e, large);
  const auto negative = hn::Lt(g, hn::Zero(d));
  return {hn::IfThenElse(negative, small, large), hn::IfThenElse(negative, large, small)};
}

template <class D>
HWY_INLINE void forward_step(D d, const float* gate, const float* up, float* act) {
  const auto g = hn::LoadU(d, gate);
  hn::StoreU(hn::Mul(hn::Mul(g, sigmoids(d, g).plus), hn::LoadU(d, up)), d, act);
}

template <class D>
HWY_INLINE void backward_step(D d, const float* d_act, const float* gate, const float* up, float* d_gate, float* d_up) {
  const auto g = hn::LoadU(d, gate);
  const auto u = hn::LoadU(d, up);
  const auto da = hn::LoadU(d, d_act);
  const auto s = sigmoids(d, g);
  const auto ds = hn::Mul(da, s.plus);
  hn::StoreU(hn::Mul(hn::Mul(ds, u), hn::MulAdd(g, s.minus, hn::Set(d, 1.0f))), d, d_gate);
  hn::StoreU(hn::Mul(ds, g), d, d_up);
}

}  // namespace

void swiglu_forward_block(const SwigluForward& args, std::int64_t begin, std::int64_t end) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = begin;
  for (; i + lanes <= end; i += lanes) forward_step(d, args.gate + i, args.up + i, args.act + i);
  for (; i < end; ++i) forward_step(hn::CappedTag<float, 1>(), args.gate + i, args.up + i, args.act + i);
}

void swiglu_backward_block(const SwigluBackward& args, std::int64_t begin, std::int64_t end) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = begin;
  for (; i + lanes <= end; i += lanes) backward_step(d, args.d_act + i, args.gate + i, args.up + i, args.d_gate + i, args.d_up + i);
  for (; i < end; ++i) backward_step(hn::CappedTag<float, 1>(), args.d_act + i, args.gate + i, args.up + i, args.d_gate + i, args.d_up + i);
}

}  // namespace evolora::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace evolora {
namespace {

HWY_EXPORT(swiglu_forward_block);
HWY_EXPORT(swiglu_backward_block);

// Elements per parallel task: 192 KiB of traffic, some 20 us, against about 1 us for handing a task out.
constexpr std::int64_t kBlock = 16384;

template <typename Body>
void for_each_block(Threads& threads, std::int64_t count, const Body& body) {
  const std::int64_t blocks = (count + kBlock - 1) / kBlock;
  threads.for_each(static_cast<std::size_t>(blocks), [&](std::size_t block, int) {
    const std::int64_t begin = static_cast<std::int64_t>(block) * kBlock;
    body(begin, std::min(begin + kBlock, count));
  });
}

}  // namespace

namespace cpu {

void swiglu_forward(const SwigluForward& args, KernelContext& context) {
  for_each_block(context.threads, args.count, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(swiglu_forward_block)(args, begin, end);
  });
}

void swiglu_backward(const SwigluBackward& args, KernelContext& context) {
  for_each_block(context.threads, args.count, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(swiglu_backward_block)(args, begin, end);
  });
}

}  // namespace cpu
}  // namespace evolora
#endif  // HWY_ONCE
