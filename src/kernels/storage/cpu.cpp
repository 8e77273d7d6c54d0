// storage with SIMD: bound by memory, so one pass, threads over blocks of elements.
#include <algorithm>

#include "kernels/storage/contract.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/storage/cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace evolora::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// Adding 0x7fff, and one more if the last kept bit is odd, carries into the kept half exactly when rounding to nearest even goes up.
template <class D>
HWY_INLINE void narrow_step(D d, const float* x, std::uint16_t* out) {
  const hn::RebindToUnsigned<D> du;
  const hn::Rebind<std::uint16_t, D> d16;
  const auto value = hn::LoadU(d, x);
  const auto bits = hn::BitCast(du, value);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7fff)));
  const auto quiet = hn::Or(bits, hn::Set(du, 0x400000));
  const auto is_nan = hn::RebindMask(du, hn::IsNaN(value));
  hn::StoreU(hn::TruncateTo(d16, hn::ShiftRight<16>(hn::IfThenElse(is_nan, quiet, rounded))), d16, out);
}

template <class D>
HWY_INLINE void widen_step(D d, const std::uint16_t* x, float* out) {
  const hn::RebindToUnsigned<D> du;
  const hn::Rebind<std::uint16_t, D> d16;
  hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(d16, x)))), d, out);
}

}  // namespace

void narrow_block(const Narrow& args, std::int64_t begin, std::int64_t end) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = begin;
  for (; i + lanes <= end; i += lanes) narrow_step(d, args.x + i, args.out + i);
  for (; i < end; ++i) narrow_step(hn::CappedTag<float, 1>(), args.x + i, args.out + i);
}

void widen_block(const Widen& args, std::int64_t begin, std::int64_t end) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = begin;
  for (; i + lanes <= end; i += lanes) widen_step(d, args.x + i, args.out + i);
  for (; i < end; ++i) widen_step(hn::CappedTag<float, 1>(), args.x + i, args.out + i);
}

}  // namespace evolora::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace evolora {
namespace {

HWY_EXPORT(narrow_block);
HWY_EXPORT(widen_block);

// Elements per parallel task: 192 KiB of traffic, some 20 us, against about 1 us for handing a task out.
constexpr std::int64_t kBlock = 32768;

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

void narrow(const Narrow& args, KernelContext& context) {
  for_each_block(context.threads, args.count, [&](std::int64_t begin, std::int64_t end) { HWY_DYNAMIC_DISPATCH(narrow_block)(args, begin, end); });
}

void widen(const Widen& args, KernelContext& context) {
  for_each_block(context.threads, args.count, [&](std::int64_t begin, std::int64_t end) { HWY_DYNAMIC_DISPATCH(widen_block)(args, begin, end); });
}

}  // namespace cpu
}  // namespace evolora
#endif  // HWY_ONCE
