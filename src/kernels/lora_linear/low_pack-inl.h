// What low-precision tiles read: rows and columns as pairs of bf16, and columns of stored weights as quadruples of 8-bit values.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include <hwy/highway.h>

#include "base/check.h"
#include "base/dtype.h"
#include "kernels/lora_linear/decode-inl.h"
#include "kernels/lora_linear/low_tile-inl.h"
#include "kernels/lora_linear/vectors-inl.h"

#if defined(EVOLORA_LORA_LINEAR_LOW_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef EVOLORA_LORA_LINEAR_LOW_PACK_INL_H_
#undef EVOLORA_LORA_LINEAR_LOW_PACK_INL_H_
#else
#define EVOLORA_LORA_LINEAR_LOW_PACK_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace evolora::gemm::HWY_NAMESPACE {

// ---- bf16

// The upper half of each lane is the bf16, rounded to nearest even; the lower half is rubbish. Adding 0x7fff, and one more if the last kept bit is
// odd, carries exactly when rounding goes up. A NaN stays one.
HWY_INLINE VU round_to_bf16(VF value) {
  const DU du;
  const VU bits = hn::BitCast(du, value);
  const VU rounded = hn::Add(bits, hn::Add(hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1)), hn::Set(du, 0x7fff)));
  return hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(value)), hn::Or(bits, hn::Set(du, 0x400000)), rounded);
}

#ifdef EVOLORA_DOT_INSTRUCTIONS
// The same by the conversion instructions that come with vdpbf16ps (numbers below 2^-126 become zero): rows are rounded again for every block of
// columns, which takes a third of the time otherwise. asm, because this target does not include them.
HWY_INLINE std::int64_t convert_row(const float* x, std::int64_t count, std::uint16_t* out) {
  std::int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) {
    __m256i halves;
    __asm__("vcvtneps2bf16 %1, %0" : "=v"(halves) : "v"(_mm512_loadu_ps(x + k)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + k), halves);
  }
  return k;
}

// Row pairs of a decoded panel, all but a last single row.
HWY_INLINE std::int64_t convert_pairs(const float* decoded, std::int64_t depth, std::int64_t width, std::uint32_t* out) {
  HWY_ALIGN std::uint16_t order[2 * kLanes];
  for (std::int64_t i = 0; i < kLanes; ++i) {
    order[2 * i] = static_cast<std::uint16_t>(i);
    order[2 * i + 1] = static_cast<std::uint16_t>(kLanes + i);
  }
  const __m512i interleave = _mm512_load_si512(order);
  std::int64_t k = 0;
  for (; k + 2 <= depth; k += 2, decoded += 2 * width) {
    for (std::int64_t c = 0; c < width; c += kLanes, out += kLanes) {
      __m512i both;  // low half: the even row
      __asm__("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(_mm512_load_ps(decoded + c)), "v"(_mm512_load_ps(decoded + width + c)));
      _mm512_store_si512(out, _mm512_permutexvar_epi16(interleave, both));
    }
  }
  return k;
}
#endif

// count values, and a zero if the count is odd.
inline void pack_bf16_row(const float* x, std::int64_t count, std::uint16_t* out) {
  std::int64_t k = 0;
#ifdef EVOLORA_DOT_INSTRUCTIONS
  if (use_bf16_dot()) k = convert_row(x, count, out);
#endif
#if HWY_TARGET != HWY_SCALAR
  const hn::Rebind<std::uint16_t, DF> d16;
  for (; k + kLanes <= count; k += kLanes) hn::StoreU(hn::TruncateTo(d16, hn::ShiftRight<16>(round_to_bf16(hn::LoadU(DF(), x + k)))), d16, out + k);
#endif
  for (; k < count; ++k) out[k] = f32_to_bf16(x[k]);
  if (count % 2 != 0) out[count] = 0;
}

// Rows 2 s and 2 s + 1 of the decoded panel (depth, vectors * kLanes) as step s; a last single row gets zero for a partner.
inline void pair_bf16_columns(const float* decoded, std::int64_t depth, std::int64_t width, std::uint32_t* out) {
  const DU du;
  const VU high = hn::Set(du, 0xFFFF0000u);
  std::int64_t k = 0;
#ifdef EVOLORA_DOT_INSTRUCTIONS
  if (use_bf16_dot()) k = convert_pairs(decoded, depth, width, out);
  decoded += k * width;
  out += k / 2 * width;
#endif
  for (; k < depth; k += 2, decoded += 2 * width) {
    for (std::int64_t c = 0; c < width; c += kLanes, out += kLanes) {
      const VU even = hn::ShiftRight<16>(round_to_bf16(hn::Load(DF(), decoded + c)));
      if (k + 1 == depth) {
        hn::Store(even, du, out);
        continue;
      }
      hn::Store(hn::Or(even, hn::And(round_to_bf16(hn::Load(DF(), decoded + width + c)), high)), du, out);
    }
  }
}

// Depth decoded at a time: the largest group, and a scratch (128, kLowVectors * kLanes) that stays in L1.
inline constexpr std::int64_t kDecodedDepth = 128;

// Steps [k0, k1) of the source for the columns from col0 on. scratch: kDecodedDepth * vectors * kLanes floats.
inline void pack_bf16_columns(const PanelSource& source, std::int64_t col0, int vectors, std::int64_t k0, std::int64_t k1, float* scratch,
                              std::uint32_t* out) {
  const std::int64_t width = vectors * kLanes;
  for (std::int64_t k = k0; k < k1; k += kDecodedDepth) {
    const std::int64_t end = HWY_MIN(k + kDecodedDepth, k1);
    decode_panel(source, col0, vectors, k, end, scratch);
    pair_bf16_columns(scratch, end - k, width, out);
    out += (end - k + 1) / 2 * width;
  }
}

// ---- stored values

// Any width, a value after the other in a stream of bits, low end first: 8 values are `bits` bytes.
inline void pack_fields(const WeightView& w, std::int64_t col0, std::int64_t width, std::int64_t k0, std::int64_t k1, std::uint32_t* out) {
  auto* bytes = reinterpret_cast<std::uint8_t*>(out);
  const std::uint64_t mask = (std::uint64_t{1} << w.bits) - 1;
  for (std::int64_t c = 0; c < width; ++c) {
    const std::int64_t row = HWY_MIN(col0 + c, w.out - 1);
    for (std::int64_t k = k0; k < k1; k += 8) {
      std::uint64_t fields = 0;
      std::memcpy(&fields, w.data + (row * w.in + k) / 8 * w.bits, static_cast<std::size_t>(w.bits));
      for (std::int64_t j = 0; j < 8; ++j, fields >>= w.bits) {
        bytes[(((k - k0 + j) / 4) * width + c) * 4 + j % 4] = static_cast<std::uint8_t>(fields & mask);
      }
    }
  }
}

#if HWY_TARGET == HWY_SCALAR

inline void pack_int8_columns(const WeightView& w, std::int64_t col0, int vectors, std::int64_t k0, std::int64_t k1, std::uint32_t* out) {
  pack_fields(w, col0, vectors * kLanes, k0, k1, out);
}

inline void pack_group_values(const WeightView& w, const std::byte* values, std::int64_t col0, int vectors, std::int64_t g0, std::int64_t g1,
                              float* out) {
  for (std::int64_t g = g0; g < g1; ++g) {
    for (std::int64_t c = 0; c < vectors * kLanes; ++c) {
      *out++ = load_float(w.dtype, values, static_cast<std::size_t>(HWY_MIN(col0 + c, w.out - 1) * (w.in / w.group_size) + g));
    }
  }
}

#else

// Byte j of each lane is nibble j of the lane's low half.
HWY_INLINE VU spread_nibbles(VU low) {
  const DU du;
  const VU apart = hn::And(hn::Or(low, hn::ShiftLeft<8>(low)), hn::Set(du, 0x00FF00FFu));
  return hn::And(hn::Or(apart, hn::ShiftLeft<4>(apart)), hn::Set(du, 0x0F0F0F0Fu));
}

// Columns col .. col + kLanes of a 4- or 8-bit weight; step s at out + s * width.
template <int kBits>
void pack_int8_vector(const WeightView& w, std::int64_t col, std::int64_t k0, std::int64_t k1, std::int64_t width, std::uint32_t* out) {
  constexpr std::int64_t kPer = 32 / kBits;
  const std::int64_t row_bytes = w.in / kPer * 4;
  const RowPointers words_at(w.data, row_bytes, col, w.out);
  const std::int64_t next = col + 2 * kLanes <= w.out ? kLanes * row_bytes : 0;
  for (std::int64_t k = k0; k < k1; k += 4 * kPer) {
    VU words[4];
    load_transposed(words_at.at, k / kPer * 4, words);
    for (std::int64_t i = k / (4 * kPer) % 4; i < kLanes; i += 4) __builtin_prefetch(words_at.at[i] + next + k / kPer * 4);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      if constexpr (kBits == 8) {
        hn::Store(words[j], DU(), out);
      } else {
        hn::Store(spread_nibbles(hn::And(words[j], hn::Set(DU(), 0xFFFFu))), DU(), out);
        out += width;
        hn::Store(spread_nibbles(hn::ShiftRight<16>(words[j])), DU(), out);
      }
      out += width;
    }
  }
}

// Values [k0, k1) (whole groups) of the columns from col0 on, four of a column in each lane: out ((k1 - k0) / 4, vectors * kLanes).
inline void pack_int8_columns(const WeightView& w, std::int64_t col0, int vectors, std::int64_t k0, std::int64_t k1, std::uint32_t* out) {
  const std::int64_t width = vectors * kLanes;
  if (w.bits != 4 && w.bits != 8) return pack_fields(w, col0, width, k0, k1, out);
  for (int v = 0; v < vectors; ++v) {
    const std::int64_t col = col0 + v * kLanes;
    if (w.bits == 4) {
      pack_int8_vector<4>(w, col, k0, k1, width, out + v * kLanes);
    } else {
      pack_int8_vector<8>(w, col, k0, k1, width, out + v * kLanes);
    }
  }
}

template <DType kType>
void pack_group_values_of(const WeightView& w, const std::byte* values, std::int64_t col0, int vectors, std::int64_t g0, std::int64_t g1,
                          float* out) {
  for (int v = 0; v < vectors; ++v) {
    const RowPointers at(values, w.in / w.group_size * 4 / kPerWord<kType>, col0 + v * kLanes, w.out);
    decode_dense_columns<kType>(at.at, g0, g1, {out + v * kLanes, vectors * kLanes});
  }
}

// Scales or biases of groups [g0, g1) of the columns from col0 on: out (g1 - g0, vectors * kLanes).
inline void pack_group_values(const WeightView& w, const std::byte* values, std::int64_t col0, int vectors, std::int64_t g0, std::int64_t g1,
                              float* out) {
  switch (w.dtype) {
    case DType::kF32: return pack_group_values_of<DType::kF32>(w, values, col0, vectors, g0, g1, out);
    case DType::kF16: return pack_group_values_of<DType::kF16>(w, values, col0, vectors, g0, g1, out);
    case DType::kBF16: return pack_group_values_of<DType::kBF16>(w, values, col0, vectors, g0, g1, out);
    default: CHECK(false);
  }
}

#endif

}  // namespace evolora::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // EVOLORA_LORA_LINEAR_LOW_PACK_INL_H_
