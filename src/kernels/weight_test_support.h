// Random stored weights of every format, owning their bytes, for the tests of kernels that read a WeightView.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "model/weight_view.h"

namespace evolora::testing_support {

struct WeightFormat {
  int bits;
  int group_size;
  DType dtype;
};

inline std::vector<WeightFormat> all_weight_formats() {
  std::vector<WeightFormat> formats;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    formats.push_back({0, 0, dtype});
    for (const int bits : {2, 3, 4, 5, 6, 8}) {
      for (const int group : {32, 64, 128}) formats.push_back({bits, group, dtype});
    }
  }
  return formats;
}

inline std::string to_string(const WeightFormat& f) {
  return std::string(dtype_name(f.dtype)) + (f.bits == 0 ? " dense" : " " + std::to_string(f.bits) + " bits, group " + std::to_string(f.group_size));
}

// (out, in) weight with values of about `spread`. view() points into the object.
class StoredWeight {
 public:
  StoredWeight(const WeightFormat& format, std::int64_t out, std::int64_t in, std::uint32_t seed, float spread = 1.0f)
      : format_(format), out_(out), in_(in) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal(0.0f, spread);
    const auto elements = static_cast<std::size_t>(out * in);
    if (format.bits == 0) {
      fill(data_, elements, [&] { return normal(generator); });
      return;
    }
    data_.resize(elements * static_cast<std::size_t>(format.bits) / 8);
    for (std::byte& b : data_) b = static_cast<std::byte>(generator() & 255u);
    const std::size_t groups = elements / static_cast<std::size_t>(format.group_size);
    const float levels = static_cast<float>((1 << format.bits) - 1);
    fill(scales_, groups, [&] { return 3.5f * spread / levels * (0.5f + 0.1f * normal(generator) / spread); });
    fill(biases_, groups, [&] { return -1.0f * spread + 0.1f * normal(generator); });
  }
  WeightView view() const {
    return {.out = out_,
            .in = in_,
            .bits = format_.bits,
            .group_size = format_.group_size,
            .dtype = format_.dtype,
            .data = data_.data(),
            .scales = scales_.data(),
            .biases = biases_.data()};
  }

 private:
  template <typename Next>
  void fill(std::vector<std::byte>& bytes, std::size_t count, const Next& next) {
    bytes.resize(count * dtype_size_bytes(format_.dtype));
    for (std::size_t i = 0; i < count; ++i) store_float(format_.dtype, bytes.data(), i, next());
  }
  WeightFormat format_;
  std::int64_t out_;
  std::int64_t in_;
  std::vector<std::byte> data_;
  std::vector<std::byte> scales_;
  std::vector<std::byte> biases_;
};

}  // namespace evolora::testing_support
