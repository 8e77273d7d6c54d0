// Slot `attention`: causal grouped-query attention over segments (block-diagonal), tiled with online softmax, never an N x N matrix
// (FlashAttention-2, Dao 2023, arXiv 2307.08691; log-sum-exp saved for backward), with an optional sliding window (Longformer, Beltagy et al. 2020,
// arXiv 2004.05150, section 3.1; Mistral 7B, Jiang et al. 2023, arXiv 2310.06825).
#pragma once

#include <cstdint>
#include <span>

#include "kernels/context.h"

namespace evolora {

// Queries [q_start, q_start + q_length) see keys of the same segment: query i sees keys j <= p, p = i + (kv_length - q_length), and with a window
// only the last `window` of them, j > p - window; p itself counts, as in mlx-lm. The work is then of order q_length * window.
// Training: q and kv ranges are equal, or the keys begin with a prefix whose queries are in another segment. Decoding: kv_length >= q_length, keys
// come from a cache.
struct AttentionSegment {
  std::int64_t q_start;
  std::int64_t q_length;
  std::int64_t kv_start;
  std::int64_t kv_length;
};

// q (Nq, H, C), k and v (Nkv, G, C), H % G == 0, query head h uses kv head h / (H/G)
// -> out (Nq, H, C), lse (Nq, H) = log sum exp of scale * q k^T (may be null when no backward follows). No aliasing.
struct AttentionForward {
  const float* q;
  const float* k;
  const float* v;
  std::span<const AttentionSegment> segments;
  std::int64_t heads;
  std::int64_t kv_heads;
  std::int64_t head_dim;
  std::int64_t window;  // keys; 0: no window
  float scale;
  float* out;
  float* lse;
};

// dout (Nq, H, C) and the forward's tensors -> dq (Nq, H, C), dk, dv (Nkv, G, C), overwritten. dq may alias q's buffer only if implementations say
// so: it may not. The segments' q ranges tile [0, Nq), their kv ranges [0, Nkv).
struct AttentionBackward {
  const float* q;
  const float* k;
  const float* v;
  const float* out;
  const float* lse;
  const float* dout;
  std::span<const AttentionSegment> segments;
  std::int64_t n;
  std::int64_t heads;
  std::int64_t kv_heads;
  std::int64_t head_dim;
  std::int64_t window;  // keys; 0: no window
  float scale;
  float* dq;
  float* dk;
  float* dv;
};

namespace reference {
void attention_forward(const AttentionForward& args, KernelContext& context);
void attention_backward(const AttentionBackward& args, KernelContext& context);
}  // namespace reference
namespace cpu {
void attention_forward(const AttentionForward& args, KernelContext& context);
void attention_backward(const AttentionBackward& args, KernelContext& context);
// Upper bounds from shapes (segment lengths and window included) and thread count; linear in the sequence length at most.
std::size_t attention_forward_workspace_bytes(const AttentionForward& args, int threads);
std::size_t attention_backward_workspace_bytes(const AttentionBackward& args, int threads);
}  // namespace cpu

}  // namespace evolora
