// Slot lora_linear on MLX arrays: y = W x + scale * B^T (A^T x) (+ bias), and DoRA (Liu et al. 2024, arXiv 2402.09353):
// y = m / |W + scale * B^T A^T|_row * (W x + scale * B^T (A^T x)) + bias, the norm taken as a constant for gradients.
//
// standard:  mlx_lm/tuner/lora.py and dora.py, operation by operation; MLX makes the backward pass. DoRA dequantizes W in every pass.
// optimized: a function with its own backward pass. It saves x and x A (and for DoRA its output); adapters are cast to the type of x before the
//            products; DoRA's norm is |W|^2 + 2 s rowsum(B^T * (W A)) + s^2 rowsum((B^T A^T A) * B^T), which needs W A only (arXiv 2603.22276).
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "reference/mlx_model.h"

namespace evolora {

// One linear's trainable arrays: a (in, r), b (r, out), and DoRA's m (out).
struct MlxAdapter {
  mx::array a;
  mx::array b;
  std::optional<mx::array> m;
  float scale = 0;
};

// Standard. dropout_key: null when there is no dropout.
mx::array adapted_linear(const mx::array& x, const MlxLinear& layer, const MlxAdapter& adapter, float dropout, const mx::array* dropout_key);

// The weights of an optimized call: one linear, or some that share their input.
struct MlxLinearGroup {
  MlxWeight weight;               // rows of all members
  std::vector<std::int64_t> out;  // of each member
  std::vector<std::optional<mx::array>> biases;
  std::optional<mx::array> squared_row_norms;  // (out of all) fp32 |W|^2, for DoRA
};

// with_norms: for DoRA. The weights of linears are copied into one when there are several.
MlxLinearGroup make_group(const std::vector<MlxLinear>& linears, bool with_norms);

// x (..., in) -> one (..., out) per member. adapters: one per member, or empty (frozen). on_backward is called whenever MLX asks for the backward
// pass.
std::vector<mx::array> grouped_linear(const mx::array& x, const MlxLinearGroup& group, const std::vector<MlxAdapter>& adapters,
                                      const std::function<void()>& on_backward);

// down(silu(gate) * up) with the product in between computed again by the backward pass. group has one member.
mx::array swiglu_down(const mx::array& gate, const mx::array& up, const MlxLinearGroup& group, const std::vector<MlxAdapter>& adapters,
                      const std::function<void()>& on_backward);

// silu(gate) * up, as mlx_lm.models.activations.
mx::array swiglu(const mx::array& gate, const mx::array& up);

// Row norms (out) fp32 of W + scale * B^T A^T from W A alone; squared_row_norms (out) fp32 is |W|^2.
mx::array factored_row_norms(const MlxWeight& weight, const mx::array& squared_row_norms, const MlxAdapter& adapter, mx::Dtype dtype);

}  // namespace evolora
