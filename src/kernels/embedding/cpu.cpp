// embedding with SIMD: each row of the table is decoded group by group straight into the output. Bound by memory, the more so as the rows are
// scattered.
#include "kernels/no_contraction.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "kernels/embedding/contract.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/embedding/cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace evolora::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// At most 16 lanes, so that a vector never crosses a group of 32.
using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;

// One group: bytes of packed q -> group_size floats. A byte holds two consecutive 4-bit values, low nibble first.
void decode_group_4(const std::uint8_t* packed, float scale, float bias, std::int64_t group_size, float* out) {
  const D d;
  const hn::RebindToSigned<D> di;
  const hn::Rebind<std::uint8_t, D> d8;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const V s = hn::Set(d, scale);
  const V b = hn::Set(d, bias);
  for (std::int64_t i = 0; i < group_size; i += 2 * lanes) {
    const auto bytes = hn::PromoteTo(di, hn::LoadU(d8, packed + i / 2));
    const V low = hn::ConvertTo(d, hn::And(bytes, hn::Set(di, 15)));
    const V high = hn::ConvertTo(d, hn::ShiftRight<4>(bytes));
    hn::StoreInterleaved2(hn::Add(hn::Mul(s, low), b), hn::Add(hn::Mul(s, high), b), d, out + i);
  }
}

void decode_group_8(const std::uint8_t* packed, float scale, float bias, std::int64_t group_size, float* out) {
  const D d;
  const hn::RebindToSigned<D> di;
  const hn::Rebind<std::uint8_t, D> d8;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const V s = hn::Set(d, scale);
  const V b = hn::Set(d, bias);
  for (std::int64_t i = 0; i < group_size; i += lanes) {
    const V q = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(d8, packed + i)));
    hn::StoreU(hn::Add(hn::Mul(s, q), b), d, out + i);
  }
}

// Eight codes of kBits from the lowest end of x, one in each byte of the result: first fours apart, then pairs, then single codes.
template <int kBits>
std::uint64_t spread_codes(std::uint64_t x) {
  constexpr std::uint64_t kCode = (1u << kBits) - 1;
  constexpr std::uint64_t kPair = kCode << kBits | kCode;
  constexpr std::uint64_t kFour = kPair << (2 * kBits) | kPair;
  constexpr std::uint64_t kHalves = 0x0000'0001'0000'0001u;
  constexpr std::uint64_t kQuarters = 0x0001'0001'0001'0001u;
  x = (x & kFour) | ((x >> (4 * kBits) & kFour) << 32);
  x = (x & kPair * kHalves) | ((x & (kPair << (2 * kBits)) * kHalves) << (16 - 2 * kBits));
  return (x & kCode * kQuarters) | ((x & (kCode << kBits) * kQuarters) << (8 - kBits));
}

// Widths whose codes are no fixed part of a byte: eight codes are kBits bytes.
template <int kBits>
void decode_group(const std::uint8_t* packed, float scale, float bias, std::int64_t group_size, float* out) {
  constexpr std::int64_t kLargestGroup = 128;
  std::uint64_t codes[kLargestGroup / 8];
  for (std::int64_t i = 0; i < group_size / 8; ++i) {
    std::uint64_t eight = 0;
    std::memcpy(&eight, packed + i * kBits, kBits);
    codes[i] = spread_codes<kBits>(eight);
  }
  decode_group_8(reinterpret_cast<const std::uint8_t*>(codes), scale, bias, group_size, out);
}

using DecodeGroup = void (*)(const std::uint8_t* packed, float scale, float bias, std::int64_t group_size, float* out);

DecodeGroup group_decoder(int bits) {
  switch (bits) {
    case 2: return decode_group<2>;
    case 3: return decode_group<3>;
    case 4: return decode_group_4;
    case 5: return decode_group<5>;
    case 6: return decode_group<6>;
    case 8: return decode_group_8;
    default: CHECK(false);
  }
}

// count 16-bit floats -> fp32.
template <class Half>
void widen(const std::uint16_t* in, std::int64_t count, DType dtype, float* out) {
  const D d;
  const hn::Rebind<Half, D> dh;
  const hn::Rebind<std::uint16_t, D> d16;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) hn::StoreU(hn::PromoteTo(d, hn::BitCast(dh, hn::LoadU(d16, in + i))), d, out + i);
  for (; i < count; ++i) out[i] = load_float(dtype, in, static_cast<std::size_t>(i));
}

void decode_quantized_row(const WeightView& table, std::int64_t row, float* out) {
  const std::int64_t groups = table.in / table.group_size;
  const std::int64_t group_bytes = table.group_size * table.bits / 8;
  const DecodeGroup decode = group_decoder(table.bits);
  const auto* packed = reinterpret_cast<const std::uint8_t*>(table.data) + row * groups * group_bytes;
  for (std::int64_t g = 0; g < groups; ++g) {
    const auto at = static_cast<std::size_t>(row * groups + g);
    const float scale = load_float(table.dtype, table.scales, at);
    const float bias = load_float(table.dtype, table.biases, at);
    decode(packed + g * group_bytes, scale, bias, table.group_size, out + g * table.group_size);
  }
}

}  // namespace

void embedding_decode_row(const WeightView& table, std::int64_t row, float* out) {
  if (table.quantized()) return decode_quantized_row(table, row, out);
  const std::byte* data = table.data + static_cast<std::size_t>(row * table.in) * dtype_size_bytes(table.dtype);
  switch (table.dtype) {
    case DType::kF16: return widen<hwy::float16_t>(reinterpret_cast<const std::uint16_t*>(data), table.in, table.dtype, out);
    case DType::kBF16: return widen<hwy::bfloat16_t>(reinterpret_cast<const std::uint16_t*>(data), table.in, table.dtype, out);
    default: std::memcpy(out, data, static_cast<std::size_t>(table.in) * sizeof(float));
  }
}

}  // namespace evolora::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace evolora {
namespace {

HWY_EXPORT(embedding_decode_row);

constexpr std::int64_t kRowsPerTask = 16;

}  // namespace

namespace cpu {

void embedding_forward(const EmbeddingForward& args, KernelContext& context) {
  const WeightView& table = args.table;
  CHECK(dtype_is_float(table.dtype));
  CHECK(!table.quantized() || (table.group_size % 32 == 0 && table.group_size <= 128 && table.in % table.group_size == 0));
  const std::int64_t tasks = (args.n + kRowsPerTask - 1) / kRowsPerTask;
  context.threads.for_each(static_cast<std::size_t>(tasks), [&](std::size_t task, int) {
    const std::int64_t begin = static_cast<std::int64_t>(task) * kRowsPerTask;
    for (std::int64_t n = begin; n < std::min(begin + kRowsPerTask, args.n); ++n) {
      CHECK(args.tokens[n] >= 0 && args.tokens[n] < table.out);
      HWY_DYNAMIC_DISPATCH(embedding_decode_row)(table, args.tokens[n], args.out + n * table.in);
    }
  });
}

}  // namespace cpu
}  // namespace evolora
#endif  // HWY_ONCE
