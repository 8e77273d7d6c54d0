// A named tensor inside a file that is mapped somewhere: dtype, shape and bytes, not owned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"

namespace evolora {

struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;   // outermost first; row-major
  std::span<const std::byte> bytes;  // exactly product(shape) * element size; no alignment promised

  std::int64_t element_count() const {
    std::int64_t n = 1;
    for (const std::int64_t d : shape) n *= d;
    return n;
  }
};

}  // namespace evolora
