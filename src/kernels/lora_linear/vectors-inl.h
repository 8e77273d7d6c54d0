// Names for the vectors of the target being compiled, shared by the linear kernels.
#include <cstdint>

#include <hwy/highway.h>

#if defined(EVOLORA_LORA_LINEAR_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef EVOLORA_LORA_LINEAR_VECTORS_INL_H_
#undef EVOLORA_LORA_LINEAR_VECTORS_INL_H_
#else
#define EVOLORA_LORA_LINEAR_VECTORS_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace evolora::gemm::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using DU = hn::ScalableTag<std::uint32_t>;
using DI = hn::ScalableTag<std::int32_t>;
using VF = hn::Vec<DF>;
using VU = hn::Vec<DU>;
inline constexpr std::int64_t kLanes = hn::MaxLanes(DF());

}  // namespace evolora::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // EVOLORA_LORA_LINEAR_VECTORS_INL_H_
