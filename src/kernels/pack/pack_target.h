// What the sources of a kernel pack are written against.
#pragma once

namespace evolora {

enum class PackTarget {
  kCpu,  // plain C structures, evolora_pack.h: the fused engine's kernels
  kMlx,  // MLX's array API, evolora_mlx_pack.h: the MLX engine's slots
};

constexpr const char* word(PackTarget target) { return target == PackTarget::kCpu ? "cpu" : "mlx"; }

}  // namespace evolora
