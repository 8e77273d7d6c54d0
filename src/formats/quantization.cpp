// The affine codec, operation for operation what mlx.core.quantize and dequantize do on a CPU, so that the bytes agree.
#include "formats/quantization.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/check.h"

namespace evolora {
namespace {

// Codes are a bit stream, lowest bits first.
class BitWriter {
 public:
  explicit BitWriter(std::uint32_t* out) : out_(out) {}
  void put(std::uint32_t code, int bits) {
    pending_ |= std::uint64_t{code} << count_;
    count_ += bits;
    if (count_ < 32) return;
    *out_++ = static_cast<std::uint32_t>(pending_);
    pending_ >>= 32;
    count_ -= 32;
  }

 private:
  std::uint32_t* out_;
  std::uint64_t pending_ = 0;
  int count_ = 0;
};

class BitReader {
 public:
  explicit BitReader(const std::uint32_t* in) : in_(in) {}
  std::uint32_t get(int bits) {
    if (count_ < bits) {
      pending_ |= std::uint64_t{*in_++} << count_;
      count_ += 32;
    }
    const auto code = static_cast<std::uint32_t>(pending_ & ((1u << bits) - 1u));
    pending_ >>= bits;
    count_ -= bits;
    return code;
  }

 private:
  const std::uint32_t* in_;
  std::uint64_t pending_ = 0;
  int count_ = 0;
};

struct GroupCode {
  float scale;
  float bias;
};

// The grid of one group: the end of larger magnitude is hit exactly, and zero lies on the grid unless the group is nearly constant there.
GroupCode choose_grid(const float* w, int n, float levels) {
  constexpr float kSmallestScale = 1e-7F;  // mlx's eps
  float lowest = std::numeric_limits<float>::infinity();
  float highest = -lowest;
  for (int i = 0; i < n; ++i) {
    lowest = std::min(lowest, w[i]);
    highest = std::max(highest, w[i]);
  }
  const bool from_below = std::abs(lowest) > std::abs(highest);
  const float step = std::max((highest - lowest) / levels, kSmallestScale);
  const float scale = from_below ? step : -step;
  const float edge = from_below ? lowest : highest;
  const float steps_to_zero = std::rint(edge / scale);
  if (steps_to_zero == 0.0F) return {scale, 0.0F};
  return {edge / steps_to_zero, edge};
}

// Codes come from the unrounded grid; only what is stored is rounded to dtype. Not a number becomes 0 (the input contract is finite weights).
std::uint32_t code_of(float w, const GroupCode& grid, float levels) {
  const float q = std::rint((w - grid.bias) / grid.scale);
  return q > 0.0F ? static_cast<std::uint32_t>(std::min(q, levels)) : 0u;
}

float round_to(DType dtype, float value) {
  switch (dtype) {
    case DType::kF16: return f16_to_f32(f32_to_f16(value));
    case DType::kBF16: return bf16_to_f32(f32_to_bf16(value));
    default: return value;
  }
}

}  // namespace

Status check_affine_quantization(const AffineQuantization& q) {
  const bool bits_ok = (q.bits >= 2 && q.bits <= 6) || q.bits == 8;
  const bool group_ok = q.group_size == 32 || q.group_size == 64 || q.group_size == 128;
  if (bits_ok && group_ok) return {};
  return Error{ErrorCode::kUnsupported, "quantization with " + std::to_string(q.bits) + " bits and group size " + std::to_string(q.group_size) +
                                            " is not supported; supported: 2, 3, 4, 5, 6 or 8 bits, group size 32, 64 or 128"};
}

std::size_t packed_words_per_row(const AffineQuantization& q, std::int64_t in_features) {
  return static_cast<std::size_t>(in_features) * static_cast<std::size_t>(q.bits) / 32;
}

void affine_quantize(const AffineQuantization& q, DType dtype, const void* weight, std::int64_t rows, std::int64_t in_features, std::uint32_t* packed,
                     void* scales, void* biases) {
  CHECK(check_affine_quantization(q).ok() && dtype_is_float(dtype));
  CHECK(rows >= 0 && in_features >= 0 && in_features % q.group_size == 0);
  const auto groups = static_cast<std::size_t>(rows * (in_features / q.group_size));
  const auto group_size = static_cast<std::size_t>(q.group_size);
  const auto levels = static_cast<float>((1 << q.bits) - 1);
  std::vector<float> w(group_size);
  BitWriter writer(packed);
  for (std::size_t g = 0; g < groups; ++g) {
    for (std::size_t i = 0; i < group_size; ++i) w[i] = load_float(dtype, weight, g * group_size + i);
    const GroupCode grid = choose_grid(w.data(), q.group_size, levels);
    for (const float value : w) writer.put(code_of(value, grid, levels), q.bits);
    store_float(dtype, scales, g, grid.scale);
    store_float(dtype, biases, g, grid.bias);
  }
}

void affine_dequantize(const AffineQuantization& q, DType dtype, const std::uint32_t* packed, const void* scales, const void* biases,
                       std::int64_t rows, std::int64_t in_features, void* out) {
  CHECK(check_affine_quantization(q).ok() && dtype_is_float(dtype));
  CHECK(rows >= 0 && in_features >= 0 && in_features % q.group_size == 0);
  const auto groups = static_cast<std::size_t>(rows * (in_features / q.group_size));
  const auto group_size = static_cast<std::size_t>(q.group_size);
  BitReader reader(packed);
  for (std::size_t g = 0; g < groups; ++g) {
    const float scale = load_float(dtype, scales, g);
    const float bias = load_float(dtype, biases, g);
    for (std::size_t i = 0; i < group_size; ++i) {
      // Multiply and add are two array operations in mlx, each rounded to dtype. The code itself is exact in every dtype (at most 8 bits).
      const float product = round_to(dtype, static_cast<float>(reader.get(q.bits)) * scale);
      store_float(dtype, out, g * group_size + i, product + bias);
    }
  }
}

}  // namespace evolora
