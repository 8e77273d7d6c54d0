// The inner kernel on matrix tiles: 32 rows x 16 or 32 columns of bf16 down the depth.
#include <cstdint>

#include <hwy/highway.h>

#include "kernels/lora_linear/vectors-inl.h"

#if defined(EVOLORA_LORA_LINEAR_TILE_STEPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef EVOLORA_LORA_LINEAR_TILE_STEPS_INL_H_
#undef EVOLORA_LORA_LINEAR_TILE_STEPS_INL_H_
#else
#define EVOLORA_LORA_LINEAR_TILE_STEPS_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace evolora::gemm::HWY_NAMESPACE {

#undef EVOLORA_MATRIX_TILES
#if (HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL) && defined(__linux__)
#define EVOLORA_MATRIX_TILES 1

inline constexpr std::int64_t kTileRows = 16;
inline constexpr std::int64_t kStepDepth = 32;  // values of a row that one instruction multiplies
inline constexpr std::int64_t kStepPairs = kStepDepth / 2;
inline constexpr std::int64_t kTileValues = kTileRows * kStepDepth;

// While one lives, the thread's tile registers are 16 rows of 64 bytes each. asm throughout, because the target does not include these instructions
// and the compiler does not know the registers.
class TileUse {
 public:
  TileUse() {
    struct alignas(64) {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {};
      std::uint8_t rows[16] = {};
    } config;
    for (int i = 0; i < 8; ++i) {
      config.row_bytes[i] = 64;
      config.rows[i] = 16;
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
  }
  ~TileUse() { __asm__ volatile("tilerelease"); }
  TileUse(const TileUse&) = delete;
  TileUse& operator=(const TileUse&) = delete;
};

// rows: two tiles, (steps, 16, 32) bf16 each. columns (steps, 16 pairs, vectors * 16) pairs of bf16. sums (32 rows, 32 columns) fp32, of which
// vectors * 16 columns mean something.
struct TileOperands {
  const std::uint16_t* row0;
  const std::uint16_t* row1;
  const std::uint32_t* columns;
  int vectors;
  std::int64_t steps;
  float* sums;
};

// Sums tmm0 (row0, column0), tmm1 (row0, column1), tmm2 (row1, column0), tmm3 (row1, column1); rows tmm4, tmm5; columns tmm6, tmm7.
HWY_INLINE void multiply_tiles(const TileOperands& t) {
  const std::uint16_t* r0 = t.row0;
  const std::uint16_t* r1 = t.row1;
  const std::uint32_t* c = t.columns;
  const std::int64_t row_stride = 64;
  const std::int64_t column_stride = t.vectors * 64;
  __asm__ volatile("tilezero %tmm0\n\ttilezero %tmm1\n\ttilezero %tmm2\n\ttilezero %tmm3");
  for (std::int64_t s = 0; s < t.steps; ++s) {
    __asm__ volatile(
        "tileloadd (%[r0],%[rs],1), %%tmm4\n\t"
        "tileloadd (%[c],%[cs],1), %%tmm6\n\t"
        "tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n\t"
        "tileloadd (%[r1],%[rs],1), %%tmm5\n\t"
        "tdpbf16ps %%tmm6, %%tmm5, %%tmm2"
        :
        : [r0] "r"(r0), [r1] "r"(r1), [c] "r"(c), [rs] "r"(row_stride), [cs] "r"(column_stride)
        : "memory");
    if (t.vectors == 2) {
      __asm__ volatile(
          "tileloadd 64(%[c],%[cs],1), %%tmm7\n\t"
          "tdpbf16ps %%tmm7, %%tmm4, %%tmm1\n\t"
          "tdpbf16ps %%tmm7, %%tmm5, %%tmm3"
          :
          : [c] "r"(c), [cs] "r"(column_stride)
          : "memory");
    }
    r0 += kTileValues;
    r1 += kTileValues;
    c += kStepPairs * t.vectors * kLanes;
  }
  __asm__ volatile(
      "tilestored %%tmm0, (%[upper],%[stride],1)\n\t"
      "tilestored %%tmm1, 64(%[upper],%[stride],1)\n\t"
      "tilestored %%tmm2, (%[lower],%[stride],1)\n\t"
      "tilestored %%tmm3, 64(%[lower],%[stride],1)"
      :
      : [upper] "r"(t.sums), [lower] "r"(t.sums + kTileRows * 2 * kLanes), [stride] "r"(std::int64_t{128})
      : "memory");
}

#endif

}  // namespace evolora::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // EVOLORA_LORA_LINEAR_TILE_STEPS_INL_H_
