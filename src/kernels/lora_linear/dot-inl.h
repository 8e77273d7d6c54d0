// Dot products of rows of a stored weight with a few rows of x, decoded in registers and never stored.
//
// Affine weights: each lane of a vector holds a few consecutive codes t = 0, 1, ...; x is laid out in the same order once per call (packed), so that
// no lane ever moves. sum(w x) over a group is scale * sum(q x) + bias * sum(x), the second sum also packed. The last vector of a row ends with the
// row and overlaps the one before; packed x is zero in the lanes already seen, so there is no tail.
#include <cstdint>
#include <cstring>

#include <hwy/highway.h>

#include "kernels/lora_linear/codes-inl.h"
#include "kernels/lora_linear/decode-inl.h"
#include "kernels/lora_linear/weight_value.h"

#if defined(EVOLORA_LORA_LINEAR_DOT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef EVOLORA_LORA_LINEAR_DOT_INL_H_
#undef EVOLORA_LORA_LINEAR_DOT_INL_H_
#else
#define EVOLORA_LORA_LINEAR_DOT_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace evolora::gemm::HWY_NAMESPACE {

// Rows of the weight that share the loads of x and keep the multipliers busy.
inline constexpr int kRowsAtOnce = 4;

// The unit of a row: the codes of a lane, or a dense element.
struct RowLayout {
  std::int64_t units;          // per row
  std::int64_t fields;         // per unit
  std::int64_t vectors;        // per row
  std::int64_t vector_floats;  // of packed x per vector of units: the fields and, for affine weights, their sum
  explicit RowLayout(const WeightView& w)
      : units(w.bits == 0 ? w.in : w.in / codes_per_lane(w.bits)),
        fields(w.bits == 0 ? 1 : codes_per_lane(w.bits)),
        vectors((units + kLanes - 1) / kLanes),
        vector_floats((w.bits == 0 ? 1 : fields + 1) * kLanes) {}
  std::int64_t first_unit(std::int64_t v) const { return HWY_MAX(HWY_MIN(v * kLanes, units - kLanes), 0); }
};

inline std::int64_t packed_floats(const WeightView& weight) {
  const RowLayout layout(weight);
  return layout.vectors * layout.vector_floats;
}

inline void pack_row(const WeightView& weight, const float* x, float* packed) {
  const RowLayout layout(weight);
  for (std::int64_t v = 0; v < layout.vectors; ++v, packed += layout.vector_floats) {
    const std::int64_t first = layout.first_unit(v);
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      const std::int64_t unit = first + lane;
      const bool fresh = unit >= v * kLanes && unit < layout.units;
      float sum = 0;
      for (std::int64_t t = 0; t < layout.fields; ++t) {
        const float value = fresh ? x[unit * layout.fields + t] : 0.0f;
        packed[t * kLanes + lane] = value;
        sum += value;
      }
      if (weight.bits != 0) packed[layout.fields * kLanes + lane] = sum;
    }
  }
}

// y[i * ldy + row], i being the row of x.
struct DotArgs {
  const WeightView* weight;
  const float* packed;
  std::int64_t row0, row1;
  float* y;
  std::int64_t ldy;
  bool accumulate;
};

#if HWY_TARGET == HWY_SCALAR

template <int kN>
void dot_rows_for(const DotArgs& args) {
  const WeightView& w = *args.weight;
  const RowLayout layout(w);
  const std::int64_t packed_row = packed_floats(w);
  for (std::int64_t row = args.row0; row < args.row1; ++row) {
    for (int i = 0; i < kN; ++i) {
      double sum = 0;
      for (std::int64_t k = 0; k < w.in; ++k) {
        sum +=
            weight_value(w, row, k) * static_cast<double>(args.packed[i * packed_row + k / layout.fields * layout.vector_floats + k % layout.fields]);
      }
      float& y = args.y[i * args.ldy + row];
      y = args.accumulate ? y + static_cast<float>(sum) : static_cast<float>(sum);
    }
  }
}

#else

// The scales (or biases) of the groups that a vector of units spans, spread over its lanes.
template <DType kType>
struct GroupLoader {
  static constexpr std::int64_t kBytes = 4 / kPerWord<kType>;
  std::int64_t count;  // groups per vector: 1, 2 or 4
  HWY_ALIGN std::int32_t group_of[kLanes];
  GroupLoader(std::int64_t units_per_group) : count(HWY_MAX(1, kLanes / units_per_group)) {
    for (std::int64_t i = 0; i < kLanes; ++i) group_of[i] = static_cast<std::int32_t>(i / units_per_group);
  }
  template <typename Repeated>
  HWY_INLINE VF spread(const std::uint8_t* p) const {
    Repeated repeated;
    std::memcpy(&repeated, p, sizeof(repeated));
    if constexpr (kType == DType::kF32) {
      return hn::TableLookupLanes(hn::BitCast(DF(), hn::Set(hn::Repartition<Repeated, DF>(), repeated)), hn::SetTableIndices(DF(), group_of));
    } else {
      const hn::Rebind<std::uint16_t, DF> d16;
      const auto bits = hn::BitCast(d16, hn::Set(hn::Repartition<Repeated, decltype(d16)>(), repeated));
      VF values;
      if constexpr (kType == DType::kF16) {
        values = half_to_float(bits);
      } else {
        values = hn::BitCast(DF(), hn::ShiftLeft<16>(hn::PromoteTo(DU(), bits)));
      }
      return hn::TableLookupLanes(values, hn::SetTableIndices(DF(), group_of));
    }
  }
  HWY_INLINE VF load(const std::uint8_t* p) const {
    if (count == 1) return broadcast_element<kType>(p);
    if constexpr (kType == DType::kF32) {
      if (count == 2) return spread<std::uint64_t>(p);
      return hn::TableLookupLanes(hn::BitCast(DF(), hn::LoadDup128(hn::Repartition<std::uint8_t, DF>(), p)), hn::SetTableIndices(DF(), group_of));
    } else {
      return count == 2 ? spread<std::uint32_t>(p) : spread<std::uint64_t>(p);
    }
  }
};

template <int kN>
HWY_INLINE void store_sums(const DotArgs& args, std::int64_t row, const VF (&sums)[kRowsAtOnce][kN]) {
  for (int r = 0; r < HWY_MIN(kRowsAtOnce, args.row1 - row); ++r) {
    for (int i = 0; i < kN; ++i) {
      const float sum = hn::GetLane(hn::SumOfLanes(DF(), sums[r][i]));
      float& y = args.y[i * args.ldy + row + r];
      y = args.accumulate ? y + sum : sum;
    }
  }
}

template <int kBits, DType kScale, int kN>
void dot_affine(const DotArgs& args) {
  using Loader = LaneLoader<kBits>;
  constexpr std::int64_t kPer = codes_per_lane(kBits);
  const WeightView& w = *args.weight;
  const RowLayout layout(w);
  const Loader loader;
  const std::int64_t packed_row = layout.vectors * layout.vector_floats;
  const std::int64_t row_bytes = w.in * kBits / 8;
  const std::int64_t units_per_group = w.group_size / kPer;
  const std::int64_t groups = w.in / w.group_size;
  const GroupLoader<kScale> group_loader(units_per_group);
  constexpr std::int64_t kScaleBytes = GroupLoader<kScale>::kBytes;
  const VU mask = code_mask<kBits>();
  const auto* data = reinterpret_cast<const std::uint8_t*>(w.data);
  for (std::int64_t row = args.row0; row < args.row1; row += kRowsAtOnce) {
    std::int64_t begin[kRowsAtOnce];
    const std::uint8_t* scales[kRowsAtOnce];
    const std::uint8_t* biases[kRowsAtOnce];
    VF sums[kRowsAtOnce][kN];
    for (int r = 0; r < kRowsAtOnce; ++r) {
      const std::int64_t at = HWY_MIN(row + r, args.row1 - 1);
      begin[r] = at * row_bytes;
      scales[r] = reinterpret_cast<const std::uint8_t*>(w.scales) + at * groups * kScaleBytes;
      biases[r] = reinterpret_cast<const std::uint8_t*>(w.biases) + at * groups * kScaleBytes;
      for (int i = 0; i < kN; ++i) sums[r][i] = hn::Zero(DF());
    }
    for (std::int64_t v = 0; v < layout.vectors; ++v) {
      const std::int64_t first = layout.first_unit(v);
      const float* packed = args.packed + v * layout.vector_floats;
      VU word[kRowsAtOnce];
      VF dots[kRowsAtOnce][kN];
#pragma GCC unroll 4
      for (int r = 0; r < kRowsAtOnce; ++r) {
        const std::int64_t from = begin[r] + first * Loader::kLaneBits / 8;
        // What follows the matrix may not be ours to read.
        const bool inside = Loader::kReadBytes == Loader::kVectorBytes || HWY_LIKELY(from + Loader::kReadBytes <= w.out * row_bytes);
        word[r] = inside ? loader.load(data + from) : loader.load_end(data + from);
#pragma GCC unroll 4
        for (int i = 0; i < kN; ++i) dots[r][i] = hn::Zero(DF());
      }
#pragma GCC unroll 8
      for (int t = 0; t < kPer; ++t) {
#pragma GCC unroll 4
        for (int r = 0; r < kRowsAtOnce; ++r) {
          const VF q = hn::ConvertTo(DF(), hn::BitCast(DI(), hn::And(word[r], mask)));
          word[r] = hn::ShiftRight<kBits>(word[r]);
#pragma GCC unroll 4
          for (int i = 0; i < kN; ++i) dots[r][i] = hn::MulAdd(q, hn::Load(DF(), packed + i * packed_row + t * kLanes), dots[r][i]);
        }
      }
      const std::int64_t group = first / units_per_group;
#pragma GCC unroll 4
      for (int r = 0; r < kRowsAtOnce; ++r) {
        const VF scale = group_loader.load(scales[r] + group * kScaleBytes);
        const VF bias = group_loader.load(biases[r] + group * kScaleBytes);
#pragma GCC unroll 4
        for (int i = 0; i < kN; ++i) {
          const VF x_sum = hn::Load(DF(), packed + i * packed_row + kPer * kLanes);
          sums[r][i] = hn::MulAdd(scale, dots[r][i], hn::MulAdd(bias, x_sum, sums[r][i]));
        }
      }
    }
    store_sums<kN>(args, row, sums);
  }
}

template <DType kType, int kN>
void dot_dense(const DotArgs& args) {
  constexpr std::int64_t kBytes = 4 / kPerWord<kType>;
  const WeightView& w = *args.weight;
  const RowLayout layout(w);
  const std::int64_t packed_row = layout.vectors * layout.vector_floats;
  for (std::int64_t row = args.row0; row < args.row1; row += kRowsAtOnce) {
    VF sums[kRowsAtOnce][kN];
    const std::uint8_t* elements[kRowsAtOnce];
    for (int r = 0; r < kRowsAtOnce; ++r) {
      elements[r] = reinterpret_cast<const std::uint8_t*>(w.data) + HWY_MIN(row + r, args.row1 - 1) * w.in * kBytes;
      for (int i = 0; i < kN; ++i) sums[r][i] = hn::Zero(DF());
    }
    for (std::int64_t v = 0; v < layout.vectors; ++v) {
      const std::int64_t first = layout.first_unit(v);
#pragma GCC unroll 4
      for (int r = 0; r < kRowsAtOnce; ++r) {
        const VF value = load_elements<kType>(elements[r] + first * kBytes);
#pragma GCC unroll 4
        for (int i = 0; i < kN; ++i) sums[r][i] = hn::MulAdd(value, hn::Load(DF(), args.packed + i * packed_row + v * kLanes), sums[r][i]);
      }
    }
    store_sums<kN>(args, row, sums);
  }
}

// Rows shorter than one vector of units (a toy model): decoded to a panel of one row.
template <int kN>
void dot_short(const DotArgs& args) {
  const WeightView& w = *args.weight;
  const RowLayout layout(w);
  const std::int64_t packed_row = layout.vectors * layout.vector_floats;
  for (std::int64_t row = args.row0; row < args.row1; ++row) {
    for (int i = 0; i < kN; ++i) {
      double sum = 0;
      for (std::int64_t k = 0; k < w.in; ++k) {
        sum += weight_value(w, row, k) * static_cast<double>(args.packed[i * packed_row + k % layout.fields * kLanes + k / layout.fields]);
      }
      float& y = args.y[i * args.ldy + row];
      y = args.accumulate ? y + static_cast<float>(sum) : static_cast<float>(sum);
    }
  }
}

template <DType kType, int kN>
void dot_rows_typed(const DotArgs& args) {
  switch (args.weight->bits) {
    case 0: return dot_dense<kType, kN>(args);
    case 2: return dot_affine<2, kType, kN>(args);
    case 3: return dot_affine<3, kType, kN>(args);
    case 4: return dot_affine<4, kType, kN>(args);
    case 5: return dot_affine<5, kType, kN>(args);
    case 6: return dot_affine<6, kType, kN>(args);
    case 8: return dot_affine<8, kType, kN>(args);
    default: CHECK(false);
  }
}

template <int kN>
void dot_rows_for(const DotArgs& args) {
  const WeightView& w = *args.weight;
  if (RowLayout(w).units < kLanes) return dot_short<kN>(args);
  switch (w.dtype) {
    case DType::kF32: return dot_rows_typed<DType::kF32, kN>(args);
    case DType::kF16: return dot_rows_typed<DType::kF16, kN>(args);
    case DType::kBF16: return dot_rows_typed<DType::kBF16, kN>(args);
    default: CHECK(false);
  }
}

#endif  // HWY_TARGET != HWY_SCALAR

// Any number of rows of x, fours first.
inline void dot_rows(DotArgs args, std::int64_t n) {
  const auto skip = [&](std::int64_t rows) {
    args.packed += rows * packed_floats(*args.weight);
    args.y += rows * args.ldy;
    n -= rows;
  };
  for (; n >= 4; skip(4)) dot_rows_for<4>(args);
  for (; n >= 2; skip(2)) dot_rows_for<2>(args);
  for (; n >= 1; skip(1)) dot_rows_for<1>(args);
}

}  // namespace evolora::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // EVOLORA_LORA_LINEAR_DOT_INL_H_
