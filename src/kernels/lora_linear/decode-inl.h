// From a matrix as it is stored to a panel of fp32 [depth][columns], one vector of columns at a time.
//
// Two directions. `columns`: panel columns are rows of the matrix; words of as many rows as a vector has lanes are transposed in registers, so that
// one vector holds the same word of every row, and each code (or half a word) becomes a vector of the panel. `rows`: panel rows are rows of the
// matrix; consecutive elements become consecutive lanes. How codes of 2 to 8 bits lie in words is the business of codes-inl.h.
#include <cstdint>
#include <cstring>
#include <utility>

#include <hwy/highway.h>

#include "base/check.h"
#include "kernels/lora_linear/codes-inl.h"
#include "kernels/lora_linear/dropout-inl.h"
#include "kernels/lora_linear/gemm.h"
#include "kernels/lora_linear/vectors-inl.h"
#include "kernels/lora_linear/weight_value.h"

#if defined(EVOLORA_LORA_LINEAR_DECODE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef EVOLORA_LORA_LINEAR_DECODE_INL_H_
#undef EVOLORA_LORA_LINEAR_DECODE_INL_H_
#else
#define EVOLORA_LORA_LINEAR_DECODE_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace evolora::gemm::HWY_NAMESPACE {

// Where a panel goes: element (k, c) at data[k * stride + c].
struct PanelOut {
  float* data;
  std::int64_t stride;
};

#if HWY_TARGET == HWY_SCALAR

inline void decode_panel(const PanelSource& source, std::int64_t col0, int vectors, std::int64_t k0, std::int64_t k1, float* panel) {
  const WeightView& w = source.weight;
  for (std::int64_t k = k0; k < k1; ++k) {
    for (std::int64_t c = col0; c < col0 + vectors; ++c) {
      const std::int64_t row = source.columns_are_rows ? c : k;
      const std::int64_t column = source.columns_are_rows ? k : c;
      float value = static_cast<float>(weight_value(w, row, column));
      if (source.dropout > 0) dropout_row(&value, &value, static_cast<std::uint64_t>(row * w.in + column), 1, source.dropout_key, source.dropout);
      *panel++ = value;
    }
  }
}

#else

// ---- elements of a dense type inside 32-bit words

HWY_INLINE VF half_to_float(hn::Vec<hn::Rebind<std::uint16_t, DF> > bits) {
  return hn::PromoteTo(DF(), hn::BitCast(hn::Rebind<hwy::float16_t, DF>(), bits));
}

template <DType kType>
inline constexpr int kPerWord = kType == DType::kF32 ? 1 : 2;

// Element `half` (0: low bits) of each word.
template <DType kType>
HWY_INLINE VF word_element(VU words, int half) {
  const DU du;
  if constexpr (kType == DType::kF32) return hn::BitCast(DF(), words);
  if constexpr (kType == DType::kBF16) return hn::BitCast(DF(), half == 0 ? hn::ShiftLeft<16>(words) : hn::And(words, hn::Set(du, 0xFFFF0000u)));
  if constexpr (kType == DType::kF16) {
    const VU low = half == 0 ? hn::And(words, hn::Set(du, 0xFFFFu)) : hn::ShiftRight<16>(words);
    return half_to_float(hn::TruncateTo(hn::Rebind<std::uint16_t, DU>(), low));
  }
}

// kLanes consecutive elements, at any alignment.
template <DType kType>
HWY_INLINE VF load_elements(const std::uint8_t* p) {
  if constexpr (kType == DType::kF32) {
    return hn::BitCast(DF(), hn::LoadU(hn::Repartition<std::uint8_t, DF>(), p));
  } else {
    const hn::Rebind<std::uint16_t, DF> d16;
    const auto bits = hn::BitCast(d16, hn::LoadU(hn::Repartition<std::uint8_t, decltype(d16)>(), p));
    if constexpr (kType == DType::kF16) return half_to_float(bits);
    return hn::BitCast(DF(), hn::ShiftLeft<16>(hn::PromoteTo(DU(), bits)));
  }
}

// One element in all lanes.
template <DType kType>
HWY_INLINE VF broadcast_element(const std::uint8_t* p) {
  if constexpr (kType == DType::kF32) {
    float value;
    std::memcpy(&value, p, sizeof(value));
    return hn::Set(DF(), value);
  } else {
    std::uint16_t bits;
    std::memcpy(&bits, p, sizeof(bits));
    if constexpr (kType == DType::kBF16) return hn::BitCast(DF(), hn::Set(DU(), static_cast<std::uint32_t>(bits) << 16));
    return half_to_float(hn::Set(hn::Rebind<std::uint16_t, DF>(), bits));
  }
}

// ---- words of kLanes rows, transposed

// A vector whose 16-byte block b comes from rows[4 * b].
template <class D>
HWY_INLINE hn::Vec<D> load_blocks(D d, const std::uint8_t* const* rows, std::int64_t offset) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return hn::BitCast(d, hn::LoadU(hn::Repartition<std::uint8_t, D>(), rows[0] + offset));
  } else {
    const hn::Half<D> half;
    return hn::Combine(d, load_blocks(half, rows + hn::MaxLanes(D()) / 2, offset), load_blocks(half, rows, offset));
  }
}

// words[j], lane i: word j at rows[i] + offset.
HWY_INLINE void load_transposed(const std::uint8_t* const* rows, std::int64_t offset, VU* words) {
  const DU du;
  const hn::Repartition<std::uint64_t, DU> d64;
  const VU r0 = load_blocks(du, rows, offset);
  const VU r1 = load_blocks(du, rows + 1, offset);
  const VU r2 = load_blocks(du, rows + 2, offset);
  const VU r3 = load_blocks(du, rows + 3, offset);
  const auto low01 = hn::BitCast(d64, hn::InterleaveLower(du, r0, r1));
  const auto high01 = hn::BitCast(d64, hn::InterleaveUpper(du, r0, r1));
  const auto low23 = hn::BitCast(d64, hn::InterleaveLower(du, r2, r3));
  const auto high23 = hn::BitCast(d64, hn::InterleaveUpper(du, r2, r3));
  words[0] = hn::BitCast(du, hn::InterleaveLower(d64, low01, low23));
  words[1] = hn::BitCast(du, hn::InterleaveUpper(d64, low01, low23));
  words[2] = hn::BitCast(du, hn::InterleaveLower(d64, high01, high23));
  words[3] = hn::BitCast(du, hn::InterleaveUpper(d64, high01, high23));
}

// As word 0 above, for the last words of a row: only `bytes` (2 or 4) of it exist.
HWY_INLINE VU load_last_word(const std::uint8_t* const* rows, std::int64_t offset, std::size_t bytes) {
  HWY_ALIGN std::uint32_t words[kLanes] = {};
  for (std::int64_t i = 0; i < kLanes; ++i) std::memcpy(&words[i], rows[i] + offset, bytes);
  return hn::Load(DU(), words);
}

// kCount words at rows[i] + offset, transposed, into words (room for a multiple of four). Reads nothing past the end of a row.
template <int kCount>
HWY_INLINE void load_words(const std::uint8_t* const* rows, std::int64_t offset, std::int64_t row_bytes, VU* words) {
  constexpr int kFours = kCount / 4 * 4;
  constexpr int kRest = kCount - kFours;
#pragma GCC unroll 2
  for (int j = 0; j < kFours; j += 4) load_transposed(rows, offset + j * 4, words + j);
  if constexpr (kRest != 0) {
    if (HWY_LIKELY(offset + (kFours + 4) * 4 <= row_bytes)) return load_transposed(rows, offset + kFours * 4, words + kFours);
    const std::int64_t last_four = offset + (kCount - 4) * 4;
    if (last_four >= 0) {
      VU last[4];
      load_transposed(rows, last_four, last);
      for (int j = 0; j < kRest; ++j) words[kFours + j] = last[4 - kRest + j];
      return;
    }
    for (int j = 0; j < kRest; ++j) words[kFours + j] = load_last_word(rows, offset + (kFours + j) * 4, 4);
  }
}

// The first bytes of kLanes rows of a matrix from row `first` on; rows past the end repeat the last one (their columns are computed and never
// stored).
struct RowPointers {
  const std::uint8_t* at[kLanes];
  RowPointers(const std::byte* data, std::int64_t row_bytes, std::int64_t first, std::int64_t count) {
    for (std::int64_t i = 0; i < kLanes; ++i) at[i] = reinterpret_cast<const std::uint8_t*>(data) + HWY_MIN(first + i, count - 1) * row_bytes;
  }
};

// ---- dense

template <DType kType>
HWY_INLINE void decode_dense_columns(const std::uint8_t* const* rows, std::int64_t k0, std::int64_t k1, PanelOut out) {
  constexpr std::int64_t kPer = kPerWord<kType>;
  constexpr std::int64_t kBytes = 4 / kPer;
  float* to = out.data;
  std::int64_t k = k0;
  for (; k + 4 * kPer <= k1; k += 4 * kPer) {
    VU words[4];
    load_transposed(rows, k * kBytes, words);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      for (int half = 0; half < kPer; ++half) hn::Store(word_element<kType>(words[j], half), DF(), to + (j * kPer + half) * out.stride);
    }
    to += 4 * kPer * out.stride;
  }
  for (; k < k1; k += kPer) {
    const std::int64_t count = HWY_MIN(kPer, k1 - k);
    const VU words = load_last_word(rows, k * kBytes, static_cast<std::size_t>(count * kBytes));
    for (int half = 0; half < count; ++half) {
      hn::Store(word_element<kType>(words, half), DF(), to);
      to += out.stride;
    }
  }
}

template <DType kType>
void decode_dense_rows(const WeightView& w, std::int64_t col0, int vectors, std::int64_t k0, std::int64_t k1, float* panel) {
  constexpr std::int64_t kBytes = 4 / kPerWord<kType>;
  for (std::int64_t k = k0; k < k1; ++k) {
    const auto* row = reinterpret_cast<const std::uint8_t*>(w.data) + k * w.in * kBytes;
    for (std::int64_t c = col0; c < col0 + vectors * kLanes; c += kLanes, panel += kLanes) {
      if (c + kLanes <= w.in) {
        hn::Store(load_elements<kType>(row + c * kBytes), DF(), panel);
        continue;
      }
      HWY_ALIGN std::uint8_t last[kLanes * kBytes] = {};
      std::memcpy(last, row + c * kBytes, static_cast<std::size_t>((w.in - c) * kBytes));
      hn::Store(load_elements<kType>(last), DF(), panel);
    }
  }
}

// ---- affine: value = scale * q + bias

// The 32 codes of a unit, decoded, to 32 steps of the panel.
template <int kBits, std::size_t... kT>
HWY_INLINE void store_unit(const VU* words, VF scale, VF bias, PanelOut out, std::index_sequence<kT...>) {
  const VU mask = code_mask<kBits>();
  const auto value = [&](VU code) { return hn::MulAdd(hn::ConvertTo(DF(), hn::BitCast(DI(), code)), scale, bias); };
  (hn::Store(value(unit_code<kBits, static_cast<int>(kT)>(words, mask)), DF(), out.data + static_cast<std::int64_t>(kT) * out.stride), ...);
}

template <int kBits, DType kScale>
void decode_affine_columns(const WeightView& w, std::int64_t col, std::int64_t k0, std::int64_t k1, PanelOut out) {
  constexpr std::int64_t kUnit = 32;  // codes: kBits words
  constexpr std::int64_t kScaleBytes = 4 / kPerWord<kScale>;
  constexpr std::int64_t kMaxGroups = 32;
  const std::int64_t group = w.group_size;
  const std::int64_t groups = w.in / group;
  const std::int64_t row_bytes = w.in / kUnit * kBits * 4;
  const RowPointers words_at(w.data, row_bytes, col, w.out);
  const RowPointers scales_at(w.scales, groups * kScaleBytes, col, w.out);
  const RowPointers biases_at(w.biases, groups * kScaleBytes, col, w.out);
  HWY_ALIGN float scales[kMaxGroups * kLanes];
  HWY_ALIGN float biases[kMaxGroups * kLanes];
  const std::int64_t next = col + 2 * kLanes <= w.out ? kLanes * row_bytes : 0;
  float* to = out.data;
  for (std::int64_t g = k0 / group; g * group < k1; g += kMaxGroups) {
    // The scales of these rows are a small dense matrix that wants the same transposition.
    const std::int64_t g1 = HWY_MIN(g + kMaxGroups, k1 / group);
    decode_dense_columns<kScale>(scales_at.at, g, g1, {scales, kLanes});
    decode_dense_columns<kScale>(biases_at.at, g, g1, {biases, kLanes});
    for (std::int64_t k = g * group; k < g1 * group; k += kUnit) {
      const std::int64_t offset = k / kUnit * kBits * 4;
      VU words[(kBits + 3) / 4 * 4];
      load_words<kBits>(words_at.at, offset, row_bytes, words);
      // The next columns' words: too many short streams for the hardware (measured 3.5 of 10 cycles per vector when the weight is not in L2).
      // Every line of a row once: so many units make up a line of 64 bytes.
      constexpr std::int64_t kTurns = 16 / kBits;
      for (std::int64_t i = k / kUnit % kTurns; i < kLanes; i += kTurns) __builtin_prefetch(words_at.at[i] + next + offset);
      const std::int64_t at = (k / group - g) * kLanes;
      store_unit<kBits>(words, hn::Load(DF(), scales + at), hn::Load(DF(), biases + at), {to, out.stride}, std::make_index_sequence<kUnit>());
      to += kUnit * out.stride;
    }
  }
}

template <int kBits, DType kScale, int kVectors>
void decode_affine_rows_of(const WeightView& w, std::int64_t col0, std::int64_t k0, std::int64_t k1, float* panel) {
  constexpr std::int64_t kScaleBytes = 4 / kPerWord<kScale>;
  const std::int64_t row_bytes = w.in / 32 * kBits * 4;
  const std::int64_t scale_row_bytes = w.in / w.group_size * kScaleBytes;
  // Groups are whole vectors. A vector past the matrix (the last panel may be that wide) repeats the last one.
  std::int64_t column[kVectors], group[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    column[v] = HWY_MIN(col0 + v * kLanes, w.in - kLanes);
    group[v] = column[v] / w.group_size * kScaleBytes;
  }
  const CodeLoader<kBits, kVectors> codes(column, row_bytes);
  const auto* row = reinterpret_cast<const std::uint8_t*>(w.data) + k0 * row_bytes;
  const auto* scales = reinterpret_cast<const std::uint8_t*>(w.scales) + k0 * scale_row_bytes;
  const auto* biases = reinterpret_cast<const std::uint8_t*>(w.biases) + k0 * scale_row_bytes;
  for (std::int64_t k = k0; k < k1; ++k) {
    VF scale = broadcast_element<kScale>(scales + group[0]);
    VF bias = broadcast_element<kScale>(biases + group[0]);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      if (v > 0 && group[v] != group[v - 1]) {
        scale = broadcast_element<kScale>(scales + group[v]);
        bias = broadcast_element<kScale>(biases + group[v]);
      }
      const VF q = hn::ConvertTo(DF(), hn::BitCast(DI(), codes.load(row, v)));
      hn::Store(hn::MulAdd(q, scale, bias), DF(), panel + v * kLanes);
    }
    panel += kVectors * kLanes;
    row += row_bytes;
    scales += scale_row_bytes;
    biases += scale_row_bytes;
  }
}

template <int kBits, DType kScale>
void decode_affine_rows(const WeightView& w, std::int64_t col0, int vectors, std::int64_t k0, std::int64_t k1, float* panel) {
  switch (vectors) {
    case 1: return decode_affine_rows_of<kBits, kScale, 1>(w, col0, k0, k1, panel);
    case 2: return decode_affine_rows_of<kBits, kScale, 2>(w, col0, k0, k1, panel);
    case 3: return decode_affine_rows_of<kBits, kScale, 3>(w, col0, k0, k1, panel);
    case 4: return decode_affine_rows_of<kBits, kScale, 4>(w, col0, k0, k1, panel);
    default: CHECK(false);
  }
}

// ---- dropout

inline void decode_dropout_rows(const PanelSource& source, std::int64_t col0, int vectors, std::int64_t k0, std::int64_t k1, float* panel) {
  const WeightView& w = source.weight;
  const auto* x = reinterpret_cast<const float*>(w.data);
  const std::int64_t width = vectors * kLanes;
  const std::int64_t count = HWY_MIN(width, w.in - col0);
  for (std::int64_t k = k0; k < k1; ++k, panel += width) {
    const std::int64_t first = k * w.in + col0;
    dropout_row(x + first, panel, static_cast<std::uint64_t>(first), count, source.dropout_key, source.dropout);
    for (std::int64_t c = count; c < width; ++c) panel[c] = 0;
  }
}

inline void decode_dropout_columns(const PanelSource& source, std::int64_t col, std::int64_t k0, std::int64_t k1, PanelOut out) {
  constexpr std::int64_t kStretch = 64;
  const WeightView& w = source.weight;
  const auto* x = reinterpret_cast<const float*>(w.data);
  HWY_ALIGN float kept[kLanes * kStretch];
  const RowPointers rows(reinterpret_cast<const std::byte*>(kept), kStretch * 4, 0, kLanes);
  for (std::int64_t k = k0; k < k1; k += kStretch) {
    const std::int64_t count = HWY_MIN(kStretch, k1 - k);
    for (std::int64_t i = 0; i < kLanes; ++i) {
      const std::int64_t first = HWY_MIN(col + i, w.out - 1) * w.in + k;
      dropout_row(x + first, kept + i * kStretch, static_cast<std::uint64_t>(first), count, source.dropout_key, source.dropout);
    }
    decode_dense_columns<DType::kF32>(rows.at, 0, count, {out.data + (k - k0) * out.stride, out.stride});
  }
}

// ---- choice

template <DType kType>
void decode_rows(const WeightView& w, std::int64_t col0, int vectors, std::int64_t k0, std::int64_t k1, float* panel) {
  switch (w.bits) {
    case 0: return decode_dense_rows<kType>(w, col0, vectors, k0, k1, panel);
    case 2: return decode_affine_rows<2, kType>(w, col0, vectors, k0, k1, panel);
    case 3: return decode_affine_rows<3, kType>(w, col0, vectors, k0, k1, panel);
    case 4: return decode_affine_rows<4, kType>(w, col0, vectors, k0, k1, panel);
    case 5: return decode_affine_rows<5, kType>(w, col0, vectors, k0, k1, panel);
    case 6: return decode_affine_rows<6, kType>(w, col0, vectors, k0, k1, panel);
    case 8: return decode_affine_rows<8, kType>(w, col0, vectors, k0, k1, panel);
    default: CHECK(false);
  }
}

template <DType kType>
void decode_columns(const WeightView& w, std::int64_t col, std::int64_t k0, std::int64_t k1, PanelOut out) {
  switch (w.bits) {
    case 0: return decode_dense_columns<kType>(RowPointers(w.data, w.in * 4 / kPerWord<kType>, col, w.out).at, k0, k1, out);
    case 2: return decode_affine_columns<2, kType>(w, col, k0, k1, out);
    case 3: return decode_affine_columns<3, kType>(w, col, k0, k1, out);
    case 4: return decode_affine_columns<4, kType>(w, col, k0, k1, out);
    case 5: return decode_affine_columns<5, kType>(w, col, k0, k1, out);
    case 6: return decode_affine_columns<6, kType>(w, col, k0, k1, out);
    case 8: return decode_affine_columns<8, kType>(w, col, k0, k1, out);
    default: CHECK(false);
  }
}

template <DType kType>
void decode_typed(const PanelSource& source, std::int64_t col0, int vectors, std::int64_t k0, std::int64_t k1, float* panel) {
  if (!source.columns_are_rows) return decode_rows<kType>(source.weight, col0, vectors, k0, k1, panel);
  for (int v = 0; v < vectors; ++v) decode_columns<kType>(source.weight, col0 + v * kLanes, k0, k1, {panel + v * kLanes, vectors * kLanes});
}

// Steps [k0, k1) of the source for the columns from col0 on, as panel [k1 - k0][vectors * kLanes]. Columns past the matrix get finite rubbish or
// zero. Quantized: k0 and k1 are multiples of the group size if columns_are_rows.
inline void decode_panel(const PanelSource& source, std::int64_t col0, int vectors, std::int64_t k0, std::int64_t k1, float* panel) {
  if (source.dropout > 0) {
    if (!source.columns_are_rows) return decode_dropout_rows(source, col0, vectors, k0, k1, panel);
    for (int v = 0; v < vectors; ++v) decode_dropout_columns(source, col0 + v * kLanes, k0, k1, {panel + v * kLanes, vectors * kLanes});
    return;
  }
  switch (source.weight.dtype) {
    case DType::kF32: return decode_typed<DType::kF32>(source, col0, vectors, k0, k1, panel);
    case DType::kF16: return decode_typed<DType::kF16>(source, col0, vectors, k0, k1, panel);
    case DType::kBF16: return decode_typed<DType::kBF16>(source, col0, vectors, k0, k1, panel);
    default: CHECK(false);
  }
}

#endif  // HWY_TARGET != HWY_SCALAR

}  // namespace evolora::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // EVOLORA_LORA_LINEAR_DECODE_INL_H_
