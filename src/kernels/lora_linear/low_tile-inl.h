// The inner kernel of low precision: 8 rows x (kVectors * lanes) columns down the depth, 4 bytes of each row times 4 bytes of each column a step.
// The sums of a stretch of depth end in memory (L1), where the caller scales them; those of a group in int8 are scaled on their way there.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <hwy/highway.h>

#include "kernels/lora_linear/low_precision.h"
#include "kernels/lora_linear/vectors-inl.h"

#if defined(EVOLORA_LORA_LINEAR_LOW_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef EVOLORA_LORA_LINEAR_LOW_TILE_INL_H_
#undef EVOLORA_LORA_LINEAR_LOW_TILE_INL_H_
#else
#define EVOLORA_LORA_LINEAR_LOW_TILE_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace evolora::gemm::HWY_NAMESPACE {

inline constexpr int kLowRows = 8;
// 8 x 3 accumulators, 3 registers for the panel and one for a row fit 32 registers; widened, a step also needs its halves.
inline constexpr int kLowVectors = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_NEON ? 3 : 2;

// rows[i]: the first of `steps` 4-byte elements of row i. panel (steps, vectors * kLanes) of 4 bytes, vector-aligned. sums (8, vectors * kLanes).
struct LowTile {
  const std::byte* rows[kLowRows];
  const std::byte* panel;
  std::int64_t steps;
};

// Where 8 rows of a group go in int8: totals (8, vectors * kLanes); scales and biases by column, scales and sums by row. Vectors are aligned.
struct Int8Scales {
  const float* scales;
  const float* biases;
  float* totals;
  const float* row_scales;
  const float* row_sums;
};

HWY_INLINE std::uint32_t load_step(const std::byte* row, std::int64_t step) {
  std::uint32_t bits;
  std::memcpy(&bits, row + 4 * step, sizeof(bits));
  return bits;
}

// ---- widened to fp32

// Element j of a row's step, as all lanes.
HWY_INLINE VF bf16_element(std::uint32_t step, int j) { return hn::BitCast(DF(), hn::Set(DU(), j == 0 ? step << 16 : step & 0xFFFF0000u)); }
HWY_INLINE VF bf16_elements(VU steps, int j) {
  return hn::BitCast(DF(), j == 0 ? hn::ShiftLeft<16>(steps) : hn::And(steps, hn::Set(DU(), 0xFFFF0000u)));
}
HWY_INLINE VF s8_element(std::uint32_t step, int j) { return hn::Set(DF(), static_cast<float>(static_cast<std::int8_t>(step >> (8 * j)))); }
HWY_INLINE VF u8_elements(VU steps, int j) {
  VU shifted = steps;
  if (j == 1) shifted = hn::ShiftRight<8>(steps);
  if (j == 2) shifted = hn::ShiftRight<16>(steps);
  if (j == 3) shifted = hn::ShiftRight<24>(steps);
  return hn::ConvertTo(DF(), hn::BitCast(DI(), hn::And(shifted, hn::Set(DU(), 0xFFu))));
}

// 4 rows at a time, so that their sums, a column's element and a row's fit 16 registers.
template <bool kInt8, int kVectors>
void widened_steps(const LowTile& tile, float* sums) {
  constexpr int kRows = 4;
  constexpr int kElements = kInt8 ? 4 : 2;
  const DF df;
  for (int top = 0; top < kLowRows; top += kRows) {
    VF acc[kRows][kVectors];
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) acc[i][v] = hn::Zero(df);
    }
    const auto* panel = reinterpret_cast<const std::uint32_t*>(tile.panel);
    for (std::int64_t s = 0; s < tile.steps; ++s, panel += kVectors * kLanes) {
#pragma GCC unroll 4
      for (int j = 0; j < kElements; ++j) {
        VF b[kVectors];
#pragma GCC unroll 3
        for (int v = 0; v < kVectors; ++v) {
          const VU steps = hn::Load(DU(), panel + v * kLanes);
          b[v] = kInt8 ? u8_elements(steps, j) : bf16_elements(steps, j);
        }
#pragma GCC unroll 4
        for (int i = 0; i < kRows; ++i) {
          const std::uint32_t step = load_step(tile.rows[top + i], s);
          const VF a = kInt8 ? s8_element(step, j) : bf16_element(step, j);
#pragma GCC unroll 3
          for (int v = 0; v < kVectors; ++v) acc[i][v] = hn::MulAdd(a, b[v], acc[i][v]);
        }
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) hn::Store(acc[i][v], df, sums + ((top + i) * kVectors + v) * kLanes);
    }
  }
}

// ---- AVX-512

#undef EVOLORA_DOT_INSTRUCTIONS
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
#define EVOLORA_DOT_INSTRUCTIONS 1

// g++ 12 keeps accumulators of these instructions in memory as well as in registers (half the speed), from intrinsics and from one asm statement per
// instruction alike. So the whole loop is one statement: accumulators zmm8..31, panel zmm0..2, the broadcast element of a row zmm3.
// clang-format off: version 14 never settles on these
#define EVOLORA_ZERO(r) "vpxord %%zmm" #r ", %%zmm" #r ", %%zmm" #r "\n\t"
#define EVOLORA_STORE(r, at) "vmovups %%zmm" #r ", " #at "*64(%[sums])\n\t"
#define EVOLORA_ROW(i) "vpbroadcastd (%[r" #i "],%[k]), %%zmm3\n\t"
#define EVOLORA_DOT(op, v, r) op " %%zmm3, %%zmm" #v ", %%zmm" #r "\n\t"

// extra: what the end of the loop needs.
#define EVOLORA_OPERANDS(extra)                                                                                                   \
  : [panel] "+&r"(panel), [k] "+&r"(k), [end] "+&r"(end) \
  : [extra] "r"(extra), [r0] "r"(tile.rows[0]), [r1] "r"(tile.rows[1]), [r2] "r"(tile.rows[2]), [r3] "r"(tile.rows[3]), \
    [r4] "r"(tile.rows[4]), [r5] "r"(tile.rows[5]), [r6] "r"(tile.rows[6]), [r7] "r"(tile.rows[7]) \
  : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", \
    "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", \
    "xmm28", "xmm29", "xmm30", "xmm31"

#define EVOLORA_LOOP(zero, load, width, rows, store, extra)                                      \
  __asm__ volatile(zero "jmp 2f\n\t.p2align 5\n1:\n\t" load "add $" #width ", %[panel]\n\t" rows \
                        "add $4, %[k]\n2:\n\t"                                                   \
                        "cmp %[end], %[k]\n\tjne 1b\n\t" store EVOLORA_OPERANDS(extra))
#define EVOLORA_LOAD1 "vmovdqa64 (%[panel]), %%zmm0\n\t"
#define EVOLORA_LOAD2 EVOLORA_LOAD1 "vmovdqa64 64(%[panel]), %%zmm1\n\t"
#define EVOLORA_LOAD3 EVOLORA_LOAD2 "vmovdqa64 128(%[panel]), %%zmm2\n\t"
#define EVOLORA_ROW1(op, i, r) EVOLORA_ROW(i) EVOLORA_DOT(op, 0, r)
#define EVOLORA_ROW2(op, i, r, s) EVOLORA_ROW1(op, i, r) EVOLORA_DOT(op, 1, s)
#define EVOLORA_ROW3(op, i, r, s, t) EVOLORA_ROW2(op, i, r, s) EVOLORA_DOT(op, 2, t)

#define EVOLORA_ZERO8 \
  EVOLORA_ZERO(8) EVOLORA_ZERO(9) EVOLORA_ZERO(10) EVOLORA_ZERO(11) EVOLORA_ZERO(12) EVOLORA_ZERO(13) EVOLORA_ZERO(14) EVOLORA_ZERO(15)
#define EVOLORA_ZERO16                                                                                                                 \
  EVOLORA_ZERO8 EVOLORA_ZERO(16) EVOLORA_ZERO(17) EVOLORA_ZERO(18) EVOLORA_ZERO(19) EVOLORA_ZERO(20) EVOLORA_ZERO(21) EVOLORA_ZERO(22) \
      EVOLORA_ZERO(23)
#define EVOLORA_ZERO24                                                                                                                  \
  EVOLORA_ZERO16 EVOLORA_ZERO(24) EVOLORA_ZERO(25) EVOLORA_ZERO(26) EVOLORA_ZERO(27) EVOLORA_ZERO(28) EVOLORA_ZERO(29) EVOLORA_ZERO(30) \
      EVOLORA_ZERO(31)
#define EVOLORA_STORE8 \
  EVOLORA_STORE(8, 0)  \
  EVOLORA_STORE(9, 1) EVOLORA_STORE(10, 2) EVOLORA_STORE(11, 3) EVOLORA_STORE(12, 4) EVOLORA_STORE(13, 5) EVOLORA_STORE(14, 6) EVOLORA_STORE(15, 7)
#define EVOLORA_STORE16                                                                                                                            \
  EVOLORA_STORE8 EVOLORA_STORE(16, 8) EVOLORA_STORE(17, 9) EVOLORA_STORE(18, 10) EVOLORA_STORE(19, 11) EVOLORA_STORE(20, 12) EVOLORA_STORE(21, 13) \
      EVOLORA_STORE(22, 14) EVOLORA_STORE(23, 15)
#define EVOLORA_STORE24                                                                                                         \
  EVOLORA_STORE16 EVOLORA_STORE(24, 16) EVOLORA_STORE(25, 17) EVOLORA_STORE(26, 18) EVOLORA_STORE(27, 19) EVOLORA_STORE(28, 20) \
      EVOLORA_STORE(29, 21) EVOLORA_STORE(30, 22) EVOLORA_STORE(31, 23)
#define EVOLORA_TILE1(op) \
  EVOLORA_ROW1(op, 0, 8)  \
  EVOLORA_ROW1(op, 1, 9)  \
  EVOLORA_ROW1(op, 2, 10) EVOLORA_ROW1(op, 3, 11) EVOLORA_ROW1(op, 4, 12) EVOLORA_ROW1(op, 5, 13) EVOLORA_ROW1(op, 6, 14) EVOLORA_ROW1(op, 7, 15)
#define EVOLORA_TILE2(op)     \
  EVOLORA_ROW2(op, 0, 8, 9)   \
  EVOLORA_ROW2(op, 1, 10, 11) \
  EVOLORA_ROW2(op, 2, 12, 13) \
  EVOLORA_ROW2(op, 3, 14, 15) EVOLORA_ROW2(op, 4, 16, 17) EVOLORA_ROW2(op, 5, 18, 19) EVOLORA_ROW2(op, 6, 20, 21) EVOLORA_ROW2(op, 7, 22, 23)
#define EVOLORA_TILE3(op)         \
  EVOLORA_ROW3(op, 0, 8, 9, 10)   \
  EVOLORA_ROW3(op, 1, 11, 12, 13) \
  EVOLORA_ROW3(op, 2, 14, 15, 16) \
  EVOLORA_ROW3(op, 3, 17, 18, 19) \
  EVOLORA_ROW3(op, 4, 20, 21, 22) EVOLORA_ROW3(op, 5, 23, 24, 25) EVOLORA_ROW3(op, 6, 26, 27, 28) EVOLORA_ROW3(op, 7, 29, 30, 31)

#define EVOLORA_DOT_STEPS(name, op)                                                                                          \
  template <int kVectors>                                                                                                    \
  void name(const LowTile& tile, float* sums) {                                                                              \
    const std::byte* panel = tile.panel;                                                                                     \
    std::int64_t k = 0;                                                                                                      \
    std::int64_t end = 4 * tile.steps;                                                                                       \
    if constexpr (kVectors == 1) EVOLORA_LOOP(EVOLORA_ZERO8, EVOLORA_LOAD1, 64, EVOLORA_TILE1(op), EVOLORA_STORE8, sums);    \
    if constexpr (kVectors == 2) EVOLORA_LOOP(EVOLORA_ZERO16, EVOLORA_LOAD2, 128, EVOLORA_TILE2(op), EVOLORA_STORE16, sums); \
    if constexpr (kVectors == 3) EVOLORA_LOOP(EVOLORA_ZERO24, EVOLORA_LOAD3, 192, EVOLORA_TILE3(op), EVOLORA_STORE24, sums); \
  }

EVOLORA_DOT_STEPS(bf16_dot_steps, "vdpbf16ps")
EVOLORA_DOT_STEPS(int8_dot_steps, "vpdpbusd")

// The first 2 or 4 of the 8 rows alone.
template <int kRows, int kVectors>
void int8_dot_few(const LowTile& tile, float* sums) {
  static_assert(kRows == 2 || kRows == 4);
  const std::byte* panel = tile.panel;
  std::int64_t k = 0;
  std::int64_t end = 4 * tile.steps;
#define EVOLORA_TWO1 EVOLORA_ROW1("vpdpbusd", 0, 8) EVOLORA_ROW1("vpdpbusd", 1, 9)
#define EVOLORA_TWO2 EVOLORA_ROW2("vpdpbusd", 0, 8, 9) EVOLORA_ROW2("vpdpbusd", 1, 10, 11)
#define EVOLORA_TWO3 EVOLORA_ROW3("vpdpbusd", 0, 8, 9, 10) EVOLORA_ROW3("vpdpbusd", 1, 11, 12, 13)
#define EVOLORA_FOUR1 EVOLORA_TWO1 EVOLORA_ROW1("vpdpbusd", 2, 10) EVOLORA_ROW1("vpdpbusd", 3, 11)
#define EVOLORA_FOUR2 EVOLORA_TWO2 EVOLORA_ROW2("vpdpbusd", 2, 12, 13) EVOLORA_ROW2("vpdpbusd", 3, 14, 15)
#define EVOLORA_FOUR3 EVOLORA_TWO3 EVOLORA_ROW3("vpdpbusd", 2, 14, 15, 16) EVOLORA_ROW3("vpdpbusd", 3, 17, 18, 19)
  if constexpr (kVectors == 1 && kRows == 2) EVOLORA_LOOP(EVOLORA_ZERO8, EVOLORA_LOAD1, 64, EVOLORA_TWO1, EVOLORA_STORE8, sums);
  if constexpr (kVectors == 2 && kRows == 2) EVOLORA_LOOP(EVOLORA_ZERO8, EVOLORA_LOAD2, 128, EVOLORA_TWO2, EVOLORA_STORE8, sums);
  if constexpr (kVectors == 3 && kRows == 2) EVOLORA_LOOP(EVOLORA_ZERO8, EVOLORA_LOAD3, 192, EVOLORA_TWO3, EVOLORA_STORE8, sums);
  if constexpr (kVectors == 1 && kRows == 4) EVOLORA_LOOP(EVOLORA_ZERO8, EVOLORA_LOAD1, 64, EVOLORA_FOUR1, EVOLORA_STORE8, sums);
  if constexpr (kVectors == 2 && kRows == 4) EVOLORA_LOOP(EVOLORA_ZERO8, EVOLORA_LOAD2, 128, EVOLORA_FOUR2, EVOLORA_STORE8, sums);
  if constexpr (kVectors == 3 && kRows == 4) EVOLORA_LOOP(EVOLORA_ZERO16, EVOLORA_LOAD3, 192, EVOLORA_FOUR3, EVOLORA_STORE16, sums);
}

// The end of a group in int8: the accumulators are scaled on their way to the totals, by what Int8Scales points to (its fields in order: panel, k and
// end take totals, scales and sums of rows). Columns' scales zmm0..2, biases zmm5..7.
#define EVOLORA_COLUMNS1 "vmovaps (%[panel]), %%zmm0\n\tvmovaps (%[k]), %%zmm5\n\t"
#define EVOLORA_COLUMNS2 EVOLORA_COLUMNS1 "vmovaps 64(%[panel]), %%zmm1\n\tvmovaps 64(%[k]), %%zmm6\n\t"
#define EVOLORA_COLUMNS3 EVOLORA_COLUMNS2 "vmovaps 128(%[panel]), %%zmm2\n\tvmovaps 128(%[k]), %%zmm7\n\t"
#define EVOLORA_SCALES(columns)                             \
  "mov (%[at]), %[panel]\n\tmov 8(%[at]), %[k]\n\t" columns \
  "mov 16(%[at]), %[panel]\n\tmov 24(%[at]), %[k]\n\t"      \
  "mov 32(%[at]), %[end]\n\t"
#define EVOLORA_ADD(i, scale, bias, r, at)                          \
  "vmulps " #i "*4(%[k])%{1to16%}, %%zmm" #scale                    \
  ", %%zmm3\n\t"                                                    \
  "vcvtdq2ps %%zmm" #r ", %%zmm" #r                                 \
  "\n\t"                                                            \
  "vfmadd213ps " #at "*64(%[panel]), %%zmm3, %%zmm" #r              \
  "\n\t"                                                            \
  "vfmadd231ps " #i "*4(%[end])%{1to16%}, %%zmm" #bias ", %%zmm" #r \
  "\n\t"                                                            \
  "vmovaps %%zmm" #r ", " #at "*64(%[panel])\n\t"
#define EVOLORA_ADD1               \
  EVOLORA_SCALES(EVOLORA_COLUMNS1) \
  EVOLORA_ADD(0, 0, 5, 8, 0)       \
  EVOLORA_ADD(1, 0, 5, 9, 1)       \
  EVOLORA_ADD(2, 0, 5, 10, 2)      \
  EVOLORA_ADD(3, 0, 5, 11, 3) EVOLORA_ADD(4, 0, 5, 12, 4) EVOLORA_ADD(5, 0, 5, 13, 5) EVOLORA_ADD(6, 0, 5, 14, 6) EVOLORA_ADD(7, 0, 5, 15, 7)
#define EVOLORA_ADD_ROW2(i, r, s, at, next) EVOLORA_ADD(i, 0, 5, r, at) EVOLORA_ADD(i, 1, 6, s, next)
#define EVOLORA_ADD2                \
  EVOLORA_SCALES(EVOLORA_COLUMNS2)  \
  EVOLORA_ADD_ROW2(0, 8, 9, 0, 1)   \
  EVOLORA_ADD_ROW2(1, 10, 11, 2, 3) \
  EVOLORA_ADD_ROW2(2, 12, 13, 4, 5) \
  EVOLORA_ADD_ROW2(3, 14, 15, 6, 7) \
  EVOLORA_ADD_ROW2(4, 16, 17, 8, 9) EVOLORA_ADD_ROW2(5, 18, 19, 10, 11) EVOLORA_ADD_ROW2(6, 20, 21, 12, 13) EVOLORA_ADD_ROW2(7, 22, 23, 14, 15)
#define EVOLORA_ADD_ROW3(i, r, s, t, at, next, last) EVOLORA_ADD_ROW2(i, r, s, at, next) EVOLORA_ADD(i, 2, 7, t, last)
#define EVOLORA_ADD3                          \
  EVOLORA_SCALES(EVOLORA_COLUMNS3)            \
  EVOLORA_ADD_ROW3(0, 8, 9, 10, 0, 1, 2)      \
  EVOLORA_ADD_ROW3(1, 11, 12, 13, 3, 4, 5)    \
  EVOLORA_ADD_ROW3(2, 14, 15, 16, 6, 7, 8)    \
  EVOLORA_ADD_ROW3(3, 17, 18, 19, 9, 10, 11)  \
  EVOLORA_ADD_ROW3(4, 20, 21, 22, 12, 13, 14) \
  EVOLORA_ADD_ROW3(5, 23, 24, 25, 15, 16, 17) EVOLORA_ADD_ROW3(6, 26, 27, 28, 18, 19, 20) EVOLORA_ADD_ROW3(7, 29, 30, 31, 21, 22, 23)

static_assert(offsetof(Int8Scales, biases) == 8 && offsetof(Int8Scales, totals) == 16 && offsetof(Int8Scales, row_scales) == 24 &&
              offsetof(Int8Scales, row_sums) == 32);

// int8_group (low_int8-inl.h) with these instructions.
template <int kVectors>
void int8_dot_group(const LowTile& tile, const Int8Scales& scales) {
  const std::byte* panel = tile.panel;
  std::int64_t k = 0;
  std::int64_t end = 4 * tile.steps;
  const Int8Scales* at = &scales;
  if constexpr (kVectors == 1) EVOLORA_LOOP(EVOLORA_ZERO8, EVOLORA_LOAD1, 64, EVOLORA_TILE1("vpdpbusd"), EVOLORA_ADD1, at);
  if constexpr (kVectors == 2) EVOLORA_LOOP(EVOLORA_ZERO16, EVOLORA_LOAD2, 128, EVOLORA_TILE2("vpdpbusd"), EVOLORA_ADD2, at);
  if constexpr (kVectors == 3) EVOLORA_LOOP(EVOLORA_ZERO24, EVOLORA_LOAD3, 192, EVOLORA_TILE3("vpdpbusd"), EVOLORA_ADD3, at);
}
#undef EVOLORA_DOT_STEPS
// clang-format on

#endif

// Whether the dot product instruction is there (Highway does not look for these two) and wanted.
inline bool use_bf16_dot() {
#ifdef EVOLORA_DOT_INSTRUCTIONS
  static const bool has = __builtin_cpu_supports("avx512bf16") != 0;
  return has && dot_instructions_allowed();
#else
  return false;
#endif
}
inline bool use_int8_dot() {
#ifdef EVOLORA_DOT_INSTRUCTIONS
  static const bool has = __builtin_cpu_supports("avx512vnni") != 0;
  return has && dot_instructions_allowed();
#else
  return false;
#endif
}

using LowSteps = void (*)(const LowTile&, float* sums);

template <int kVectors>
LowSteps bf16_steps() {
#ifdef EVOLORA_DOT_INSTRUCTIONS
  if (use_bf16_dot()) return bf16_dot_steps<kVectors>;
#endif
  return widened_steps<false, kVectors>;
}

// For the first `rows` of the 8. The sums are int32 with kIntegers, else fp32, which is exact for a group: 128 * 127 * 255 < 2^24.
template <bool kIntegers, int kVectors>
LowSteps int8_steps([[maybe_unused]] int rows) {
#ifdef EVOLORA_DOT_INSTRUCTIONS
  if constexpr (kIntegers) {
    if (rows <= 2) return int8_dot_few<2, kVectors>;
    return rows <= 4 ? int8_dot_few<4, kVectors> : int8_dot_steps<kVectors>;
  }
#endif
  return widened_steps<true, kVectors>;
}

}  // namespace evolora::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // EVOLORA_LORA_LINEAR_LOW_TILE_INL_H_
