// attention backward with SIMD: per panel of queries, probabilities are recomputed from the saved log-sum-exp block by block of keys, and dq, dk and
// dv follow from five small products per block (FlashAttention-2, Dao 2023, section 3.1.2). All panels pass a chunk of keys before the next chunk, so
// k, v, dk and dv come from L2 however long the sequence. See backward_plan.h for how threads share it without atomics.
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

// Keys [first, end) of a segment and what is summed for them: (keys, padded) each, zero beyond C.
struct KeyChunk {
  float* k;
  float* v;
  float* dk;
  float* dv;
  std::size_t first;
  std::size_t end;
  std::size_t padded;
  bool is_only;  // of its item: dq is then written, not added to

  std::size_t at(std::size_t key) const { return (key - first) * padded; }
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
        delta(lse + width) {}
  float* queries;        // (C, width), times scale * log2(e)
  float* douts;          // (C, width)
  float* dq;             // (C, width), without scale
  float* query_rows;     // (width, padded), times scale
  float* dout_rows;      // (width, padded)
  float* probabilities;  // (kKeyBlock, width)
  float* dscores;        // (kKeyBlock, width)
  float* lse;            // (width), base 2
  float* delta;          // (width) dout . out
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

void add(const float* x, std::size_t count, float* to) {
  const D d;
  std::size_t i = 0;
  for (; i + lanes() <= count; i += lanes()) hn::StoreU(hn::Add(hn::LoadU(d, to + i), hn::LoadU(d, x + i)), d, to + i);
  for (; i < count; ++i) to[i] += x[i];
}

// c (rows, padded) += a (rows, depth) b (depth, padded), in tiles as wide as registers allow and as even as possible.
void add_rows(std::size_t rows, const float* a, std::size_t lda, const float* b, std::size_t depth, std::size_t padded, float* c) {
  const std::size_t vectors = padded / lanes();
  const std::size_t tiles = (vectors + kWidestTile - 1) / kWidestTile;
  std::size_t done = 0;
  for (std::size_t t = 0; t < tiles; ++t) {
    const std::size_t wide = (vectors - done + tiles - t - 1) / (tiles - t);
    const std::size_t column = done * lanes();
    const Product product{
        .a = a, .lda = lda, .b = b + column, .ldb = padded, .depth = depth, .start = Start::kAdd, .factors = nullptr, .c = c + column, .ldc = padded};
    if (wide == 1) multiply<1, false>(rows, product);
    if (wide == 2) multiply<2, false>(rows, product);
    if constexpr (kWidestTile > 2) {
      if (wide == 3) multiply<3, false>(rows, product);
      if (wide == 4) multiply<4, false>(rows, product);
    }
    done += wide;
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
    const auto oldest_key = hn::LoadU(di, panel.first_key + v);
    for (std::size_t j = 0; j < keys; ++j) {
      float* score = s.probabilities + j * width + v;
      float* dscore = s.dscores + j * width + v;
      V p = vector_exp2(d, hn::Sub(hn::LoadU(d, score), lse));
      if (masked) {
        const auto key = hn::Set(di, static_cast<std::int32_t>(first_key + j));
        p = hn::IfThenZeroElse(hn::RebindMask(d, hn::Or(hn::Gt(key, last_key), hn::Lt(key, oldest_key))), p);
      }
      hn::StoreU(p, d, score);
      hn::StoreU(hn::Mul(p, hn::Sub(hn::LoadU(d, dscore), delta)), d, dscore);
    }
  }
}

// What the panel adds to the chunk's dk and dv, and what the chunk adds to the panel's dq.
template <int kVectors>
void backward_panel(const AttentionBackward& args, const Panel& panel, const KeyChunk& chunk, float* scratch) {
  const std::size_t width = kVectors * lanes();
  const auto head_dim = static_cast<std::size_t>(args.head_dim);
  const std::size_t padded = chunk.padded;
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
  const auto visible_to_all = static_cast<std::size_t>(panel.last_key[0]) + 1;
  const auto visible_to_all_from = static_cast<std::size_t>(panel.first_key[panel.rows - 1]);
  const std::size_t begin = std::max(chunk.first, static_cast<std::size_t>(panel.first_key[0]));
  const std::size_t end = std::min(chunk.end, static_cast<std::size_t>(panel.last_key[panel.rows - 1]) + 1);
  for (std::size_t first = begin; first < end; first += kKeyBlock) {
    const std::size_t keys = std::min(kKeyBlock, end - first);
    const float* k = chunk.k + chunk.at(first);
    multiply<kVectors, false>(keys, {.a = k,
                                     .lda = padded,
                                     .b = s.queries,
                                     .ldb = width,
                                     .depth = head_dim,
                                     .start = Start::kZero,
                                     .factors = nullptr,
                                     .c = s.probabilities,
                                     .ldc = width});
    multiply<kVectors, false>(keys, {.a = chunk.v + chunk.at(first),
                                     .lda = padded,
                                     .b = s.douts,
                                     .ldb = width,
                                     .depth = head_dim,
                                     .start = Start::kZero,
                                     .factors = nullptr,
                                     .c = s.dscores,
                                     .ldc = width});
    softmax_gradient<kVectors>(panel, first, keys, first + keys > visible_to_all || first < visible_to_all_from, s);
    multiply<kVectors, true>(head_dim, {.a = k,
                                        .lda = padded,
                                        .b = s.dscores,
                                        .ldb = width,
                                        .depth = keys,
                                        .start = first == begin ? Start::kZero : Start::kAdd,
                                        .factors = nullptr,
                                        .c = s.dq,
                                        .ldc = width});
    add_rows(keys, s.probabilities, width, s.dout_rows, panel.rows, padded, chunk.dv + chunk.at(first));
    add_rows(keys, s.dscores, width, s.query_rows, panel.rows, padded, chunk.dk + chunk.at(first));
  }
  if (chunk.is_only) return unpack_transposed(panel.rows, panel.offset, s.dq, args.scale, head_dim, width, args.dq);
  std::ptrdiff_t offset[kMaxPanelRows];
  for (std::size_t r = 0; r < panel.rows; ++r) offset[r] = static_cast<std::ptrdiff_t>(r * padded);
  float* dq_rows = s.query_rows;  // no longer needed
  unpack_transposed(panel.rows, offset, s.dq, args.scale, head_dim, width, dq_rows);
  for (std::size_t r = 0; r < panel.rows; ++r) add(dq_rows + r * padded, head_dim, args.dq + panel.offset[r]);
}

// Rows of x (keys of the segment, `stride` apart) -> (keys, padded), zero beyond C.
void pack_keys(const float* x, std::size_t keys, std::size_t stride, std::size_t head_dim, std::size_t padded, float* out) {
  for (std::size_t j = 0; j < keys; ++j) {
    std::copy_n(x + j * stride, head_dim, out + j * padded);
    std::fill_n(out + j * padded + head_dim, padded - head_dim, 0.0f);
  }
}

void unpack_keys(const float* packed, std::size_t keys, std::size_t stride, std::size_t head_dim, std::size_t padded, float* x) {
  for (std::size_t j = 0; j < keys; ++j) std::copy_n(packed + j * padded, head_dim, x + j * stride);
}

void clear_rows(float* x, std::size_t rows, std::size_t stride, std::size_t head_dim) {
  for (std::size_t j = 0; j < rows; ++j) std::fill_n(x + j * stride, head_dim, 0.0f);
}

// All rows of the item that see keys of the chunk.
void backward_chunk(const AttentionBackward& args, const BackwardItem& item, const KeyChunk& chunk, float* scratch) {
  const AttentionSegment& segment = args.segments[item.segment];
  const std::int64_t group = args.heads / args.kv_heads;
  const std::int64_t first_key = static_cast<std::int64_t>(chunk.first) - keys_before(segment);  // counted from the first query
  const std::int64_t end_key = static_cast<std::int64_t>(chunk.end) - keys_before(segment);
  const std::int64_t begin = std::max(item.first, first_key * group);
  const std::int64_t end = args.window == 0 ? item.last : std::min(item.last, (end_key - 1 + args.window) * group);
  const auto per_panel = static_cast<std::int64_t>(3 * lanes());
  const auto panel_at = [&](std::int64_t first) {
    return make_panel(segment, args.heads, args.kv_heads, args.head_dim, args.window, item.kv_head, first, std::min(per_panel, end - first));
  };
  Panel next = panel_at(begin);
  for (std::int64_t first = begin; first < end; first += per_panel) {
    const Panel panel = next;
    if (first + per_panel < end) {
      next = panel_at(first + per_panel);
      for (const float* x : {args.q, args.dout, args.out}) prefetch_rows(next, x, static_cast<std::size_t>(args.head_dim));
    }
    const std::size_t vectors = (panel.rows + lanes() - 1) / lanes();
    if (vectors == 1) backward_panel<1>(args, panel, chunk, scratch);
    if (vectors == 2) backward_panel<2>(args, panel, chunk, scratch);
    if (vectors == 3) backward_panel<3>(args, panel, chunk, scratch);
  }
}

}  // namespace
}  // namespace attention

// One item of the plan. partials: the plan's workspace.
void attention_backward_item(const AttentionBackward& args, const BackwardItem& item, float* partials, float* scratch) {
  const AttentionSegment& segment = args.segments[item.segment];
  const std::int64_t group = args.heads / args.kv_heads;
  const auto head_dim = static_cast<std::size_t>(args.head_dim);
  const auto stride = static_cast<std::size_t>(args.kv_heads) * head_dim;
  const std::int64_t base = (segment.kv_start * args.kv_heads + item.kv_head) * args.head_dim;
  const std::size_t padded = (head_dim + attention::lanes() - 1) / attention::lanes() * attention::lanes();
  const std::size_t chunk_keys = backward_chunk_keys(padded);
  const auto item_first = static_cast<std::size_t>(item.first_key);
  const auto item_end = static_cast<std::size_t>(item.end_key);
  const bool one_chunk = item_end - item_first <= chunk_keys;
  for (std::int64_t row = item.first; row < item.last && !one_chunk; ++row) {
    const std::int64_t at = (segment.q_start + row / group) * args.heads + item.kv_head * group + row % group;
    std::fill_n(args.dq + at * args.head_dim, head_dim, 0.0f);
  }
  if (item.is_last) {  // keys that only earlier splits see: those add theirs
    attention::clear_rows(args.dk + base, item_first, stride, head_dim);
    attention::clear_rows(args.dv + base, item_first, stride, head_dim);
  }
  float* dk_out = item.is_last ? args.dk + base + static_cast<std::ptrdiff_t>(item_first * stride) : partials + item.partial_offset;
  float* dv_out = item.is_last ? args.dv + base + static_cast<std::ptrdiff_t>(item_first * stride) : dk_out + item.keys() * args.head_dim;
  const std::size_t out_stride = item.is_last ? stride : head_dim;
  const std::size_t size = chunk_keys * padded;
  for (std::size_t first = item_first; first < item_end; first += chunk_keys) {
    const std::size_t keys = std::min(chunk_keys, item_end - first);
    const attention::KeyChunk chunk{scratch, scratch + size, scratch + 2 * size, scratch + 3 * size, first, first + keys, padded, one_chunk};
    attention::pack_keys(args.k + base + static_cast<std::ptrdiff_t>(first * stride), keys, stride, head_dim, padded, chunk.k);
    attention::pack_keys(args.v + base + static_cast<std::ptrdiff_t>(first * stride), keys, stride, head_dim, padded, chunk.v);
    std::fill_n(chunk.dk, keys * padded, 0.0f);
    std::fill_n(chunk.dv, keys * padded, 0.0f);
    attention::backward_chunk(args, item, chunk, scratch + 4 * size);
    attention::unpack_keys(chunk.dk, keys, out_stride, head_dim, padded, dk_out + (first - item_first) * out_stride);
    attention::unpack_keys(chunk.dv, keys, out_stride, head_dim, padded, dv_out + (first - item_first) * out_stride);
  }
}

// Adds what item kept in the workspace to dk and dv.
void attention_add_partial(const AttentionBackward& args, const BackwardItem& item, const float* partials) {
  const AttentionSegment& segment = args.segments[item.segment];
  const std::int64_t base = ((segment.kv_start + item.first_key) * args.kv_heads + item.kv_head) * args.head_dim;
  const float* partial = partials + item.partial_offset;
  const auto head_dim = static_cast<std::size_t>(args.head_dim);
  for (std::int64_t j = 0; j < item.keys(); ++j) {
    const std::int64_t to = base + j * args.kv_heads * args.head_dim;
    attention::add(partial + j * args.head_dim, head_dim, args.dk + to);
    attention::add(partial + (item.keys() + j) * args.head_dim, head_dim, args.dv + to);
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
  return align_up(((3 * head_dim + 2 * padded + 2 * kKeyBlock + 2) * kMaxPanelRows + 4 * backward_chunk_floats(padded)) * sizeof(float));
}

}  // namespace

namespace cpu {

std::size_t attention_backward_workspace_bytes(const AttentionBackward& args, int threads) {
  const BackwardPlan plan = plan_backward(args, threads);
  return static_cast<std::size_t>(threads) * scratch_bytes(args) + align_up(plan.partial_floats * sizeof(float));
}

void attention_backward(const AttentionBackward& args, KernelContext& context) {
  CHECK(args.kv_heads > 0 && args.heads % args.kv_heads == 0);
  CHECK(args.head_dim > 0 && args.head_dim <= static_cast<std::int64_t>(kMaxHeadDim));
  for (const AttentionSegment& s : args.segments) CHECK(s.q_length >= 1 && s.kv_length >= s.q_length);
  const int threads = context.threads.count();
  CHECK(context.workspace_bytes >= attention_backward_workspace_bytes(args, threads));
  const BackwardPlan plan = plan_backward(args, threads);
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
