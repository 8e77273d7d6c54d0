/* The interface of a kernel pack for target `mlx`: what its source files include and what they define. C++ on MLX's array API, compiled against the
 * headers of the MLX library that it runs with. A pack builds graphs: its functions are called while a step is traced and must not evaluate anything,
 * keep anything or depend on anything but their arguments. MLX differentiates what they return, by its own rules or by those that a pack gives with
 * mx::custom_vjp. Kernel text for Metal or CUDA goes through mx::fast::metal_kernel and mx::fast::cuda_kernel.
 *
 * Gradients that somebody asks for: of x, a, b and m. Weights and biases are frozen. */
#pragma once

#include <optional>
#include <vector>

#include <mlx/array.h>
#include <mlx/fast.h>
#include <mlx/linalg.h>
#include <mlx/ops.h>
#include <mlx/transforms.h>

#define EVOLORA_MLX_PACK_ABI 1

/* Packs are compiled with hidden symbols; what the program looks for is marked with this. */
#define EVOLORA_PACK_EXPORT __attribute__((visibility("default")))

namespace mx = mlx::core;

namespace evolora_mlx {

/* weight (out, in). bits == 0: values is dense, of the type of the model. bits 2, 3, 4, 5, 6, 8: MLX affine, as mx::quantize packs it: values
 * (out, in * bits / 32) uint32, scales and biases (out, in / group_size) of the type of the model. */
struct Weight {
  mx::array values;
  std::optional<mx::array> scales;
  std::optional<mx::array> biases;
  int bits;
  int group_size;
  int out;
  int in;
};

/* A linear with an adapter. a (in, rank), b (rank, out) and m (out) are fp32 and trained. */
struct Linear {
  Weight weight;
  std::optional<mx::array> bias; /* (out) of the type of the model */
  mx::array a;
  mx::array b;
  std::optional<mx::array> m; /* dora_linear only */
  float scale;
  std::vector<mx::array> prepared; /* what the _prepare function of the slot gave for this weight, evaluated; empty without one */
};

}  // namespace evolora_mlx

extern "C" {

/* Slot dora_linear (Liu et al. 2024, arXiv 2402.09353), as mlx-lm's DoRALinear without dropout:
 *   v = x W^T + scale * (x a) b,   y = m / |W + scale * (a b)^T| * v + bias
 * where |.| is the Euclidean norm of each of the out rows and a constant for gradients. x (..., in) of the type of the model (fp32, fp16, bf16) ->
 * y (..., out) of the same type. */
EVOLORA_PACK_EXPORT mx::array evolora_mlx_dora_linear(const mx::array& x, const evolora_mlx::Linear& linear);

/* Slot lora_linear, as mlx-lm's LoRALinear without dropout: y = x W^T + bias + scale * (x a) b. */
EVOLORA_PACK_EXPORT mx::array evolora_mlx_lora_linear(const mx::array& x, const evolora_mlx::Linear& linear);

/* Optional. What of a frozen weight is worth computing once: called once per linear before the first step, evaluated and kept for the whole run, so
 * its memory counts. */
EVOLORA_PACK_EXPORT std::vector<mx::array> evolora_mlx_dora_linear_prepare(const evolora_mlx::Weight& weight);
EVOLORA_PACK_EXPORT std::vector<mx::array> evolora_mlx_lora_linear_prepare(const evolora_mlx::Weight& weight);

/* EVOLORA_MLX_PACK_ABI, and 100000 * major + 1000 * minor + patch of MLX, as the pack was compiled with them. Added by the program when it compiles a
 * pack; a pack does not define them. */
EVOLORA_PACK_EXPORT int evolora_mlx_pack_abi(void);
EVOLORA_PACK_EXPORT int evolora_mlx_pack_mlx_version(void);
}
