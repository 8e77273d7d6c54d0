// attention forward with SIMD: online softmax over key blocks for one panel of queries at a time (FlashAttention-2, Dao 2023); panels run in
// parallel.
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "kernels/attention/contract.h"
#include "kernels/attention/panel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/cpu.cpp"
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

// Finite, so that differences stay numbers; any real score is far above it, and 2^(it - score) is 0. A row whose window begins in a later block has
// only such scores at first: what they sum to is finite and vanishes when the first real score rescales it by 0.
constexpr float kMasked = -1e30f;

// The scratch of one worker, all (row, lane) with `width` lanes.
struct ForwardScratch {
  float* queries;  // (C, width), times scale * log2(e): scores come out in the base-2 domain
  float* scores;   // (kKeyBlock, width), then probabilities
  float* out;      // (C, width), not yet divided by the sums
  float* largest;  // (width) running maximum
  float* sums;     // (width) running sum of 2^(score - largest)
  float* rescale;  // (width) what the last new maximum multiplies earlier results by
};

void mask_scores(const Panel& panel, std::size_t first_key, std::size_t keys, std::size_t width, float* scores) {
  const D d;
  const DI di;
  for (std::size_t j = 0; j < keys; ++j) {
    const auto key = hn::Set(di, static_cast<std::int32_t>(first_key + j));
    for (std::size_t v = 0; v < width; v += lanes()) {
      const auto unseen = hn::RebindMask(d, hn::Or(hn::Gt(key, hn::LoadU(di, panel.last_key + v)), hn::Lt(key, hn::LoadU(di, panel.first_key + v))));
      hn::StoreU(hn::IfThenElse(unseen, hn::Set(d, kMasked), hn::LoadU(d, scores + j * width + v)), d, scores + j * width + v);
    }
  }
}

// Scores become 2^(score - new maximum); maximum, sums and rescale follow.
template <int kVectors>
HWY_INLINE void softmax_block(std::size_t keys, const ForwardScratch& s) {
  const D d;
  const std::size_t n = lanes();
  const std::size_t width = kVectors * n;
  for (std::size_t v = 0; v < width; v += n) {
    const V before = hn::LoadU(d, s.largest + v);
    V now = before;
    for (std::size_t j = 0; j < keys; ++j) now = hn::Max(now, hn::LoadU(d, s.scores + j * width + v));
    const V rescale = vector_exp2(d, hn::Sub(before, now));
    V sum = hn::Mul(hn::LoadU(d, s.sums + v), rescale);
    for (std::size_t j = 0; j < keys; ++j) {
      const V p = vector_exp2(d, hn::Sub(hn::LoadU(d, s.scores + j * width + v), now));
      sum = hn::Add(sum, p);
      hn::StoreU(p, d, s.scores + j * width + v);
    }
    hn::StoreU(now, d, s.largest + v);
    hn::StoreU(sum, d, s.sums + v);
    hn::StoreU(rescale, d, s.rescale + v);
  }
}

template <int kVectors>
void forward_panel_of(const AttentionForward& args, const AttentionSegment& segment, std::int64_t kv_head, const Panel& panel, float* scratch) {
  const D d;
  const std::size_t n = lanes();
  const std::size_t width = kVectors * n;
  const auto head_dim = static_cast<std::size_t>(args.head_dim);
  const auto stride = static_cast<std::size_t>(args.kv_heads * args.head_dim);
  const ForwardScratch s{scratch,
                         scratch + head_dim * width,
                         scratch + (head_dim + kKeyBlock) * width,
                         scratch + (2 * head_dim + kKeyBlock) * width,
                         scratch + (2 * head_dim + kKeyBlock + 1) * width,
                         scratch + (2 * head_dim + kKeyBlock + 2) * width};
  prefetch_rows(panel, args.q, head_dim);
  constexpr float kLog2E = 1.44269504088896340736f;
  pack_transposed(panel, args.q, args.scale * kLog2E, head_dim, width, s.queries);
  for (std::size_t v = 0; v < width; v += n) {
    hn::StoreU(hn::Set(d, kMasked), d, s.largest + v);
    hn::StoreU(hn::Zero(d), d, s.sums + v);
  }
  const float* k = args.k + segment.kv_start * args.kv_heads * args.head_dim + kv_head * args.head_dim;
  const float* v = args.v + segment.kv_start * args.kv_heads * args.head_dim + kv_head * args.head_dim;
  // Whole blocks of the segment, so that a row's sums have the same order in whatever panel it stands.
  const std::size_t begin = static_cast<std::size_t>(panel.first_key[0]) / kKeyBlock * kKeyBlock;
  const auto end = static_cast<std::size_t>(panel.last_key[panel.rows - 1]) + 1;
  const auto visible_to_all = static_cast<std::size_t>(panel.last_key[0]) + 1;
  const auto visible_to_all_from = static_cast<std::size_t>(panel.first_key[panel.rows - 1]);
  for (std::size_t first = begin; first < end; first += kKeyBlock) {
    const std::size_t keys = std::min(kKeyBlock, end - first);
    multiply<kVectors, false>(keys, {.a = k + first * stride,
                                     .lda = stride,
                                     .b = s.queries,
                                     .ldb = width,
                                     .depth = head_dim,
                                     .start = Start::kZero,
                                     .factors = nullptr,
                                     .c = s.scores,
                                     .ldc = width});
    if (first + keys > visible_to_all || first < visible_to_all_from) mask_scores(panel, first, keys, width, s.scores);
    softmax_block<kVectors>(keys, s);
    multiply<kVectors, true>(head_dim, {.a = v + first * stride,
                                        .lda = stride,
                                        .b = s.scores,
                                        .ldb = width,
                                        .depth = keys,
                                        .start = first == begin ? Start::kZero : Start::kScaleAndAdd,
                                        .factors = s.rescale,
                                        .c = s.out,
                                        .ldc = width});
  }
  for (std::size_t x = 0; x < width; x += n) {
    const V inverse = hn::Div(hn::Set(d, 1.0f), hn::LoadU(d, s.sums + x));
    for (std::size_t c = 0; c < head_dim; ++c) hn::StoreU(hn::Mul(hn::LoadU(d, s.out + c * width + x), inverse), d, s.out + c * width + x);
  }
  unpack_transposed(panel.rows, panel.offset, s.out, 1.0f, head_dim, width, args.out);
  if (args.lse == nullptr) return;
  for (std::size_t r = 0; r < panel.rows; ++r) {
    const double log2_sum = static_cast<double>(s.largest[r]) + std::log2(static_cast<double>(s.sums[r]));
    args.lse[panel.lse_offset[r]] = static_cast<float>(log2_sum * 0.69314718055994530942);
  }
}

}  // namespace
}  // namespace attention

void attention_forward_panel(const AttentionForward& args, const AttentionSegment& segment, std::int64_t kv_head, const Panel& panel,
                             float* scratch) {
  const std::size_t vectors = (panel.rows + attention::lanes() - 1) / attention::lanes();
  if (vectors == 1) return attention::forward_panel_of<1>(args, segment, kv_head, panel, scratch);
  if (vectors == 2) return attention::forward_panel_of<2>(args, segment, kv_head, panel, scratch);
  attention::forward_panel_of<3>(args, segment, kv_head, panel, scratch);
}

std::int64_t attention_panel_rows() { return 3 * static_cast<std::int64_t>(attention::lanes()); }

}  // namespace evolora::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace evolora {
namespace {

HWY_EXPORT(attention_forward_panel);
HWY_EXPORT(attention_panel_rows);

std::size_t scratch_bytes(const AttentionForward& args) {
  return align_up((2 * static_cast<std::size_t>(args.head_dim) + kKeyBlock + 3) * kMaxPanelRows * sizeof(float));
}

void forward(const AttentionForward& args, KernelContext& context) {
  const std::int64_t group = args.heads / args.kv_heads;
  const std::int64_t per_panel = HWY_DYNAMIC_DISPATCH(attention_panel_rows)();
  std::vector<std::int64_t> panels_before{0};  // summed over segments and kv heads
  for (const AttentionSegment& s : args.segments) {
    CHECK(s.q_length >= 1 && s.kv_length >= s.q_length);
    panels_before.push_back(panels_before.back() + args.kv_heads * ((s.q_length * group + per_panel - 1) / per_panel));
  }
  const std::int64_t total = panels_before.back();
  context.threads.for_each(static_cast<std::size_t>(total), [&](std::size_t index, int worker) {
    // From the back: the last panels of a segment see the most keys, and long work should start first.
    const std::int64_t item = total - 1 - static_cast<std::int64_t>(index);
    const auto after = std::upper_bound(panels_before.begin(), panels_before.end(), item);
    const AttentionSegment& s = args.segments[static_cast<std::size_t>(after - panels_before.begin()) - 1];
    const std::int64_t in_segment = item - *(after - 1);
    const std::int64_t first = in_segment / args.kv_heads * per_panel;
    const std::int64_t kv_head = in_segment % args.kv_heads;
    const std::int64_t rows = std::min(per_panel, s.q_length * group - first);
    const Panel panel = make_panel(s, args.heads, args.kv_heads, args.head_dim, args.window, kv_head, first, rows);
    auto* scratch = reinterpret_cast<float*>(context.workspace + static_cast<std::size_t>(worker) * scratch_bytes(args));
    HWY_DYNAMIC_DISPATCH(attention_forward_panel)(args, s, kv_head, panel, scratch);
  });
}

}  // namespace

namespace cpu {

std::size_t attention_forward_workspace_bytes(const AttentionForward& args, int threads) {
  return static_cast<std::size_t>(threads) * scratch_bytes(args);
}

void attention_forward(const AttentionForward& args, KernelContext& context) {
  CHECK(args.kv_heads > 0 && args.heads % args.kv_heads == 0);
  CHECK(args.head_dim > 0 && args.head_dim <= static_cast<std::int64_t>(kMaxHeadDim));
  CHECK(context.workspace_bytes >= attention_forward_workspace_bytes(args, context.threads.count()));
  forward(args, context);
}

}  // namespace cpu
}  // namespace evolora
#endif  // HWY_ONCE
