// attention backward with SIMD: per panel of queries, probabilities are recomputed from the saved log-sum-exp block by block of keys, and dq, dk and
// dv follow from five small products per block (FlashAttention-2, Dao 2023, section 3.1.2). See backward_plan.h for how threads share it without
// atomics.
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "kernels/attention/backward_plan.h"
#include "kernels/attention/contract.h"
#include "kernels/attention/panel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/cpu_backward.cpp"
// The tiles keep vectors in arrays, which scalable vector types do not allow.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/attention/tile-inl.h"
#include "kernels/vector_exp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace evolora::HWY_NAMESPACE {
namespace attention {
namespace {

// Where one worker sums dk and dv: rows of keys, `stride` floats apart.
struct KeyGradients {
  float* dk;
  float* dv;
  std::size_t stride;
};

// The scratch of one worker. `width` lanes; `padded` is C rounded up to whole vectors.
struct BackwardScratch {
  BackwardScratch(float* at, std::size_t head_dim, std::size_t width, std::size_t padded)
      : queries(at),
        douts(queries + head_dim * width),
        dq(douts + head_dim * width),
        query_rows(dq + head_dim * width),
        dout_rows(query_rows + width * padded),
        probabilities(dout_rows + width * padded),
        dscores(probabilities + kKeyBlock * width),
        lse(dscores + kKeyBlock * width),
        delta(lse + width),
        tail(delta + width) {}
  float* queries;        // (C, width), times scale * log2(e)
  float* douts;          // (C, width)
  float* dq;             // (C, width), without scale
  float* query_rows;     // (width, padded), times scale
  float* dout_rows;      // (width, padded)
  float* probabilities;  // (kKeyBlock, width)
  float* dscores;        // (kKeyBlock, width)
  float* lse;            // (width), base 2
  float* delta;          // (width) dout . out
  float* tail;           // (kKeyBlock, padded), where C is not whole vectors
};

void pack_rows(const Panel& panel, const float* x, float scale, std::size_t head_dim, std::size_t padded, float* out) {
  for (std::size_t r = 0; r < panel.rows; ++r) {
    const float* row = x + panel.offset[r];
    for (std::size_t c = 0; c < head_dim; ++c) out[r * padded + c] = row[c] * scale;
    for (std::size_t c = head_dim; c < padded; ++c) out[r * padded + c] = 0.0f;
  }
}

float dot(const float* a, const float* b, std::size_t count) {
  const D d;
  V sum = hn::Zero(d);
  std::size_t i = 0;
  for (; i + lanes() <= count; i += lanes()) sum = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), sum);
  float total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < count; ++i) total += a[i] * b[i];
  return total;
}

// c (rows, C) += a (rows, depth) b (depth, padded), in tiles as wide as registers allow and as even as possible.
void add_rows(std::size_t rows, const float* a, std::size_t lda, const float* b, std::size_t depth, std::size_t head_dim, std::size_t padded,
              float* tail, float* c, std::size_t ldc) {
  const bool whole = padded == head_dim;
  const std::size_t vectors = padded / lanes();
  const std::size_t tiles = (vectors + kWidestTile - 1) / kWidestTile;
  std::size_t done = 0;
  for (std::size_t t = 0; t < tiles; ++t) {
    const std::size_t wide = (vectors - done + tiles - t - 1) / (tiles - t);
    const std::size_t column = done * lanes();
    const Product product{.a = a,
                          .lda = lda,
                          .b = b + column,
                          .ldb = padded,
                          .depth = depth,
                          .start = whole ? Start::kAdd : Start::kZero,
                          .factors = nullptr,
                          .c = (whole ? c : tail) + column,
                          .ldc = whole ? ldc : padded};
    if (wide == 1) multiply<1, false>(rows, product);
    if (wide == 2) multiply<2, false>(rows, product);
    if constexpr (kWidestTile > 2) {
      if (wide == 3) multiply<3, false>(rows, product);
      if (wide == 4) multiply<4, false>(rows, product);
    }
    done += wide;
  }
  if (whole) return;
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t i = 0; i < head_dim; ++i) c[r * ldc + i] += tail[r * padded + i];
  }
}

// Scores -> p = 2^(score - lse), zero where masked; dp -> ds = p (dp - delta).
template <int kVectors>
HWY_INLINE void softmax_gradient(const Panel& panel, std::size_t first_key, std::size_t keys, bool masked, const BackwardScratch& s) {
  const D d;
  const DI di;
  const std::size_t n = lanes();
  const std::size_t width = kVectors * n;
  for (std::size_t v = 0; v < width; v += n) {
    const V lse = hn::LoadU(d, s.lse + v);
    const V delta = hn::LoadU(d, s.delta + v);
    const auto last_key = hn::LoadU(di, panel.last_key + v);
    for (std::size_t j = 0; j < keys; ++j) {
      float* score = s.probabilities + j * width + v;
      float* dscore = s.dscores + j * width + v;
      V p = vector_exp2(d, hn::Sub(hn::LoadU(d, score), lse));
      if (masked) p = hn::IfThenZeroElse(hn::RebindMask(d, hn::Gt(hn::Set(di, static_cast<std::int32_t>(first_key + j)), last_key)), p);
      hn::StoreU(p, d, score);
      hn::StoreU(hn::Mul(p, hn::Sub(hn::LoadU(d, dscore), delta)), d, dscore);
    }
  }
}

template <int kVectors>
void backward_panel(const AttentionBackward& args, const AttentionSegment& segment, std::int64_t kv_head, const Panel& panel, const KeyGradients& to,
                    float* scratch) {
  const std::size_t width = kVectors * lanes();
  const auto head_dim = static_cast<std::size_t>(args.head_dim);
  const std::size_t padded = (head_dim + lanes() - 1) / lanes() * lanes();
  const auto stride = static_cast<std::size_t>(args.kv_heads * args.head_dim);
  const BackwardScratch s(scratch, head_dim, width, padded);
  constexpr float kLog2E = 1.44269504088896340736f;
  pack_transposed(panel, args.q, args.scale * kLog2E, head_dim, width, s.queries);
  pack_transposed(panel, args.dout, 1.0f, head_dim, width, s.douts);
  pack_rows(panel, args.q, args.scale, head_dim, padded, s.query_rows);
  pack_rows(panel, args.dout, 1.0f, head_dim, padded, s.dout_rows);
  for (std::size_t r = 0; r < width; ++r) {
    const bool used = r < panel.rows;
    s.lse[r] = used ? args.lse[panel.lse_offset[r]] * kLog2E : 1e30f;  // lanes without a query get p = 0
    s.delta[r] = used ? dot(args.dout + panel.offset[r], args.out + panel.offset[r], head_dim) : 0.0f;
  }
  const std::int64_t base = (segment.kv_start * args.kv_heads + kv_head) * args.head_dim;
  const auto visible_to_all = static_cast<std::size_t>(panel.last_key[0]) + 1;
  const auto visible = static_cast<std::size_t>(panel.last_key[panel.rows - 1]) + 1;
  for (std::size_t first = 0; first < visible; first += kKeyBlock) {
    const std::size_t keys = std::min(kKeyBlock, visible - first);
    const float* k = args.k + base + static_cast<std::ptrdiff_t>(first * stride);
    const float* v = args.v + base + static_cast<std::ptrdiff_t>(first * stride);
    multiply<kVectors, false>(keys, {.a = k,
                                     .lda = stride,
                                     .b = s.queries,
                                     .ldb = width,
                                     .depth = head_dim,
                                     .start = Start::kZero,
                                     .factors = nullptr,
                                     .c = s.probabilities,
                                     .ldc = width});
    multiply<kVectors, false>(keys, {.a = v,
                                     .lda = stride,
                                     .b = s.douts,
                                     .ldb = width,
                                     .depth = head_dim,
                                     .start = Start::kZero,
                                     .factors = nullptr,
                                     .c = s.dscores,
                                     .ldc = width});
    softmax_gradient<kVectors>(panel, first, keys, first + keys > visible_to_all, s);
    multiply<kVectors, true>(head_dim, {.a = k,
                                        .lda = stride,
                                        .b = s.dscores,
                                        .ldb = width,
                                        .depth = keys,
                                        .start = first == 0 ? Start::kZero : Start::kAdd,
                                        .factors = nullptr,
                                        .c = s.dq,
                                        .ldc = width});
    add_rows(keys, s.probabilities, width, s.dout_rows, panel.rows, head_dim, padded, s.tail, to.dv + first * to.stride, to.stride);
    add_rows(keys, s.dscores, width, s.query_rows, panel.rows, head_dim, padded, s.tail, to.dk + first * to.stride, to.stride);
  }
  unpack_transposed(panel, s.dq, args.scale, head_dim, width, args.dq);
}

void clear(float* rows, std::int64_t count, std::size_t stride, std::int64_t head_dim) {
  for (std::int64_t j = 0; j < count; ++j) std::fill_n(rows + static_cast<std::size_t>(j) * stride, head_dim, 0.0f);
}

}  // namespace
}  // namespace attention

// One item of the plan. partials: the plan's workspace.
void attention_backward_item(const AttentionBackward& args, const BackwardItem& item, float* partials, float* scratch) {
  const AttentionSegment& segment = args.segments[item.segment];
  const std::int64_t base = (segment.kv_start * args.kv_heads + item.kv_head) * args.head_dim;
  float* partial = partials + item.partial_offset;
  const attention::KeyGradients to =
      item.is_last ? attention::KeyGradients{args.dk + base, args.dv + base, static_cast<std::size_t>(args.kv_heads * args.head_dim)}
                   : attention::KeyGradients{partial, partial + item.keys * args.head_dim, static_cast<std::size_t>(args.head_dim)};
  attention::clear(to.dk, item.keys, to.stride, args.head_dim);
  attention::clear(to.dv, item.keys, to.stride, args.head_dim);
  const auto per_panel = static_cast<std::int64_t>(3 * attention::lanes());
  const auto panel_at = [&](std::int64_t first) {
    return make_panel(segment, args.heads, args.kv_heads, args.head_dim, item.kv_head, first, std::min(per_panel, item.last - first));
  };
  Panel next = panel_at(item.first);
  for (std::int64_t first = item.first; first < item.last; first += per_panel) {
    const Panel panel = next;
    if (first + per_panel < item.last) {
      next = panel_at(first + per_panel);
      for (const float* x : {args.q, args.dout, args.out}) attention::prefetch_rows(next, x, static_cast<std::size_t>(args.head_dim));
    }
    const std::size_t vectors = (panel.rows + attention::lanes() - 1) / attention::lanes();
    if (vectors == 1) attention::backward_panel<1>(args, segment, item.kv_head, panel, to, scratch);
    if (vectors == 2) attention::backward_panel<2>(args, segment, item.kv_head, panel, to, scratch);
    if (vectors == 3) attention::backward_panel<3>(args, segment, item.kv_head, panel, to, scratch);
  }
}

// Adds what item kept in the workspace to dk and dv.
void attention_add_partial(const AttentionBackward& args, const BackwardItem& item, const float* partials) {
  const AttentionSegment& segment = args.segments[item.segment];
  const std::int64_t base = (segment.kv_start * args.kv_heads + item.kv_head) * args.head_dim;
  const float* partial = partials + item.partial_offset;
  for (std::int64_t j = 0; j < item.keys; ++j) {
    float* dk = args.dk + base + j * args.kv_heads * args.head_dim;
    float* dv = args.dv + base + j * args.kv_heads * args.head_dim;
    for (std::int64_t c = 0; c < args.head_dim; ++c) dk[c] += partial[j * args.head_dim + c];
    for (std::int64_t c = 0; c < args.head_dim; ++c) dv[c] += partial[(item.keys + j) * args.head_dim + c];
  }
}

}  // namespace evolora::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace evolora {
namespace {

HWY_EXPORT(attention_backward_item);
HWY_EXPORT(attention_add_partial);

std::size_t scratch_bytes(const AttentionBackward& args) {
  const auto head_dim = static_cast<std::size_t>(args.head_dim);
  const std::size_t padded = (head_dim + 15) / 16 * 16;
  return align_up((3 * head_dim + 2 * padded + 2 * kKeyBlock + 2) * kMaxPanelRows * sizeof(float) + kKeyBlock * padded * sizeof(float));
}

}  // namespace

namespace cpu {

std::size_t attention_backward_workspace_bytes(const AttentionBackward& args, int threads) {
  const BackwardPlan plan = plan_backward(args.segments, args.heads, args.kv_heads, args.head_dim, threads);
  return static_cast<std::size_t>(threads) * scratch_bytes(args) + align_up(plan.partial_floats * sizeof(float));
}

void attention_backward(const AttentionBackward& args, KernelContext& context) {
  CHECK(args.kv_heads > 0 && args.heads % args.kv_heads == 0);
  CHECK(args.head_dim > 0 && args.head_dim <= static_cast<std::int64_t>(kMaxHeadDim));
  for (const AttentionSegment& s : args.segments) CHECK(s.q_length >= 1 && s.q_start == s.kv_start && s.q_length == s.kv_length);
  const int threads = context.threads.count();
  CHECK(context.workspace_bytes >= attention_backward_workspace_bytes(args, threads));
  const BackwardPlan plan = plan_backward(args.segments, args.heads, args.kv_heads, args.head_dim, threads);
  auto* partials = reinterpret_cast<float*>(context.workspace + static_cast<std::size_t>(threads) * scratch_bytes(args));
  context.threads.for_each(plan.items.size(), [&](std::size_t index, int worker) {
    auto* scratch = reinterpret_cast<float*>(context.workspace + static_cast<std::size_t>(worker) * scratch_bytes(args));
    HWY_DYNAMIC_DISPATCH(attention_backward_item)(args, plan.items[index], partials, scratch);
  });
  if (plan.partial_floats == 0) return;
  // The items of a unit follow each other and end with the one that wrote dk and dv itself.
  std::vector<std::size_t> unit_begin{0};
  for (std::size_t i = 0; i < plan.items.size(); ++i) {
    if (plan.items[i].is_last) unit_begin.push_back(i + 1);
  }
  context.threads.for_each(unit_begin.size() - 1, [&](std::size_t unit, int) {
    for (std::size_t i = unit_begin[unit]; !plan.items[i].is_last; ++i) HWY_DYNAMIC_DISPATCH(attention_add_partial)(args, plan.items[i], partials);
  });
}

}  // namespace cpu
}  // namespace evolora
#endif  // HWY_ONCE
