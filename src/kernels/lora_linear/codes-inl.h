// Codes of 2, 3, 4, 5, 6 or 8 bits as vectors of 32-bit lanes, out of rows that are little-end bit streams (the codes of 3, 5 and 6 bits straddle
// words; 32 codes are always a whole number of words, so no group or row ends inside one).
//
// Three orders, for the three ways a weight is read: `unit_code` (one code of each of kLanes rows, from transposed words), `CodeLoader` (consecutive
// codes of a row in consecutive lanes) and `LaneLoader` (a few consecutive codes inside each lane, for dot products in which no lane may move).
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <hwy/highway.h>

#include "kernels/lora_linear/vectors-inl.h"

#if defined(EVOLORA_LORA_LINEAR_CODES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef EVOLORA_LORA_LINEAR_CODES_INL_H_
#undef EVOLORA_LORA_LINEAR_CODES_INL_H_
#else
#define EVOLORA_LORA_LINEAR_CODES_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace evolora::gemm::HWY_NAMESPACE {

// Codes that a lane of LaneLoader holds: as many as fit while a group of 32 stays at most 8 lanes and bytes begin at most half a byte into a lane.
constexpr std::int64_t codes_per_lane(int bits) { return bits <= 4 ? 8 : 4; }

#if HWY_TARGET != HWY_SCALAR

template <int kBits>
HWY_INLINE VU code_mask() {
  return hn::Set(DU(), (1u << kBits) - 1);
}

// Code kT of a unit of 32; words[j], lane i: word j of the unit of row i.
template <int kBits, int kT>
HWY_INLINE VU unit_code(const VU* words, VU mask) {
  constexpr int kWord = kT * kBits / 32;
  constexpr int kShift = kT * kBits % 32;
  const VU low = hn::ShiftRight<kShift>(words[kWord]);
  if constexpr (kShift + kBits == 32) return low;
  if constexpr (kShift + kBits > 32) return hn::And(hn::Or(low, hn::ShiftLeft<32 - kShift>(words[kWord + 1])), mask);
  return hn::And(low, mask);
}

// ---- consecutive codes in consecutive lanes

// kVectors vectors of kLanes codes of one row, the same columns of every row. column[v] is a multiple of kLanes.
// Widths that divide a word: the word (or pair) of the vector in all lanes, shifted by a different distance in each.
template <int kBits, int kVectors>
class WholeCodeLoader {
 public:
  WholeCodeLoader(const std::int64_t* column, std::int64_t /*row_bytes*/) {
    for (int v = 0; v < kVectors; ++v) column_[v] = column[v];
    for (std::int64_t i = 0; i < kLanes; ++i) {
      shifts_[i] = static_cast<std::uint32_t>(i % kPer * kBits);
      word_of_[i] = static_cast<std::int32_t>(i / kPer);
    }
  }
  HWY_INLINE VU load(const std::uint8_t* row, int v) const {
    const DU du;
    const std::int64_t c = column_[v];
    if constexpr (kBits == 8) {
      return hn::PromoteTo(du, hn::LoadU(hn::Rebind<std::uint8_t, DU>(), row + c));
    } else if constexpr (kLanes <= kPer) {
      std::uint32_t word;
      std::memcpy(&word, row + c / kPer * 4, sizeof(word));
      word >>= c % kPer * kBits;
      return hn::And(hn::Shr(hn::Set(du, word), hn::Load(du, shifts_)), code_mask<kBits>());
    } else {
      static_assert(kLanes == 2 * kPer);
      std::uint64_t pair;
      std::memcpy(&pair, row + c / kPer * 4, sizeof(pair));
      const VU both = hn::BitCast(du, hn::Set(hn::Repartition<std::uint64_t, DU>(), pair));
      const VU words = hn::TableLookupLanes(both, hn::SetTableIndices(du, word_of_));
      return hn::And(hn::Shr(words, hn::Load(du, shifts_)), code_mask<kBits>());
    }
  }

 private:
  static constexpr std::int64_t kPer = 32 / kBits;
  std::int64_t column_[kVectors];
  HWY_ALIGN std::uint32_t shifts_[kLanes];
  HWY_ALIGN std::int32_t word_of_[kLanes];
};

// 3, 5 and 6 bits: kLanes codes are at most 12 bytes, so a window of 16 in every block reaches all of them. A shuffle takes the bytes that hold the
// lane's code to the lane, a shift by less than 8 drops the code before it. The window ends with the row at the latest.
template <int kBits, int kVectors>
class StraddlingCodeLoader {
 public:
  StraddlingCodeLoader(const std::int64_t* column, std::int64_t row_bytes) : row_bytes_(HWY_MIN(row_bytes, kWindow)) {
    for (int v = 0; v < kVectors; ++v) {
      begin_[v] = HWY_MAX(0, HWY_MIN(column[v] * kBits / 8, row_bytes - kWindow));
      for (std::int64_t i = 0; i < kLanes; ++i) {
        const std::int64_t bit = (column[v] + i) * kBits - begin_[v] * 8;
        shifts_[v][i] = static_cast<std::uint32_t>(bit % 8);
        // The code is in two bytes at most; whatever the other two are is masked away, they need only be inside the window.
        for (std::int64_t b = 0; b < 4; ++b) byte_of_[v][4 * i + b] = static_cast<std::uint8_t>(HWY_MIN(bit / 8 + b, kWindow - 1));
      }
    }
  }
  HWY_INLINE VU load(const std::uint8_t* row, int v) const {
    if (HWY_LIKELY(row_bytes_ == kWindow)) return codes_in(row + begin_[v], v);
    HWY_ALIGN std::uint8_t short_row[kWindow] = {};
    std::memcpy(short_row, row, static_cast<std::size_t>(row_bytes_));
    return codes_in(short_row, v);
  }

 private:
  static constexpr std::int64_t kWindow = 16;
  HWY_INLINE VU codes_in(const std::uint8_t* window, int v) const {
    const DU du;
    const hn::Repartition<std::uint8_t, DU> d8;
    const auto bytes = hn::TableLookupBytes(hn::LoadDup128(d8, window), hn::Load(d8, byte_of_[v]));
    return hn::And(hn::Shr(hn::BitCast(du, bytes), hn::Load(du, shifts_[v])), code_mask<kBits>());
  }
  std::int64_t row_bytes_;  // or kWindow if there are more
  std::int64_t begin_[kVectors];
  HWY_ALIGN std::uint32_t shifts_[kVectors][kLanes];
  HWY_ALIGN std::uint8_t byte_of_[kVectors][4 * kLanes];
};

template <int kBits, int kVectors>
using CodeLoader = std::conditional_t<32 % kBits == 0, WholeCodeLoader<kBits, kVectors>, StraddlingCodeLoader<kBits, kVectors>>;

// ---- a few codes inside each lane

// A vector whose 16-byte block b comes from p + b * kStride.
template <std::int64_t kStride, class D>
HWY_INLINE hn::Vec<D> load_overlapping_blocks(D d, const std::uint8_t* p) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return hn::BitCast(d, hn::LoadU(hn::Repartition<std::uint8_t, D>(), p));
  } else {
    const hn::Half<D> half;
    constexpr std::int64_t kHalf = static_cast<std::int64_t>(hn::MaxLanes(D()) / 8) * kStride;
    return hn::Combine(d, load_overlapping_blocks<kStride>(half, p + kHalf), load_overlapping_blocks<kStride>(half, p));
  }
}

// Lane i: codes_per_lane consecutive codes from bit 0 on (rubbish above), lane i + 1 the next ones.
template <int kBits>
class LaneLoader {
 public:
  static constexpr std::int64_t kLaneBits = codes_per_lane(kBits) * kBits;
  static constexpr std::int64_t kVectorBytes = kLanes * kLaneBits / 8;
  // load reads so many bytes from p on; what is past kVectorBytes does not count, and load_end does not read it.
  static constexpr std::int64_t kReadBytes = kLaneBits % 16 == 0 ? kVectorBytes : kVectorBytes - kLaneBits / 2 + 16;

  LaneLoader() {
    for (std::int64_t i = 0; i < kLanes; ++i) {
      const std::int64_t bit = i % 4 * kLaneBits;
      shifts_[i] = static_cast<std::uint32_t>(bit % 8);
      for (std::int64_t b = 0; b < 4; ++b) byte_of_[4 * i + b] = static_cast<std::uint8_t>(HWY_MIN(bit / 8 + b, 15));
    }
  }
  HWY_INLINE VU load(const std::uint8_t* p) const {
    const DU du;
    const hn::Repartition<std::uint8_t, DU> d8;
    if constexpr (kLaneBits == 32) {
      return hn::BitCast(du, hn::LoadU(d8, p));
    } else if constexpr (kLaneBits == 16) {
      const hn::Rebind<std::uint16_t, DU> d16;
      return hn::PromoteTo(du, hn::BitCast(d16, hn::LoadU(hn::Repartition<std::uint8_t, decltype(d16)>(), p)));
    } else {
      // Four lanes are 10 or 12 bytes: a block of 16 holds them, a shuffle inside the block spreads them.
      const auto packed = hn::BitCast(d8, load_overlapping_blocks<kLaneBits / 2>(du, p));
      const VU lanes = hn::BitCast(du, hn::TableLookupBytes(packed, hn::Load(d8, byte_of_)));
      if constexpr (kLaneBits % 8 == 0) return lanes;
      return hn::Shr(lanes, hn::Load(du, shifts_));
    }
  }
  HWY_INLINE VU load_end(const std::uint8_t* p) const {
    HWY_ALIGN std::uint8_t copy[kReadBytes] = {};
    std::memcpy(copy, p, kVectorBytes);
    return load(copy);
  }

 private:
  HWY_ALIGN std::uint32_t shifts_[kLanes];
  HWY_ALIGN std::uint8_t byte_of_[4 * kLanes];
};

#endif  // HWY_TARGET != HWY_SCALAR

}  // namespace evolora::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // EVOLORA_LORA_LINEAR_CODES_INL_H_
