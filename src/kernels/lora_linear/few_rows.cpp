// The few-rows forward pass: xa on the spot, then blocks of output features over all projections, each a set of dot products plus bias and LoRA term.
#include "kernels/lora_linear/few_rows.h"

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "kernels/lora_linear/adapters.h"
#include "kernels/lora_linear/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/lora_linear/few_rows.cpp"
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include "kernels/lora_linear/dot-inl.h"
#include "kernels/lora_linear/dropout-inl.h"

HWY_BEFORE_NAMESPACE();
namespace evolora::gemm::HWY_NAMESPACE {

// xa[j] for kWidth columns of A; four partial sums over k hide the latency of the additions. The constant inner loop becomes vectors.
template <int kWidth>
void adapter_columns(const float* x, const float* a, std::int64_t lda, std::int64_t k, float* xa) {
  float sums[4][kWidth] = {};
  std::int64_t row = 0;
  for (; row + 4 <= k; row += 4) {
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u) {
#pragma GCC unroll 16
      for (int j = 0; j < kWidth; ++j) sums[u][j] += x[row + u] * a[(row + u) * lda + j];
    }
  }
  for (; row < k; ++row) {
    for (int j = 0; j < kWidth; ++j) sums[0][j] += x[row] * a[row * lda + j];
  }
  for (int j = 0; j < kWidth; ++j) xa[j] = (sums[0][j] + sums[1][j]) + (sums[2][j] + sums[3][j]);
}

// Row `row` of xa; dropped (K) is scratch for the masked row.
void adapter_row(const LoraProjection& p, const float* x, std::int64_t row, float* dropped) {
  const std::int64_t k = p.weight.in;
  const float* from = x + row * k;
  if (p.dropout > 0) {
    dropout_row(from, dropped, static_cast<std::uint64_t>(row * k), k, p.dropout_key, p.dropout);
    from = dropped;
  }
  float* xa = p.xa + row * p.rank;
  std::int64_t j = 0;
  for (; j + 16 <= p.rank; j += 16) adapter_columns<16>(from, p.a + j, p.rank, k, xa + j);
  for (; j + 8 <= p.rank; j += 8) adapter_columns<8>(from, p.a + j, p.rank, k, xa + j);
  for (; j + 4 <= p.rank; j += 4) adapter_columns<4>(from, p.a + j, p.rank, k, xa + j);
  for (; j < p.rank; ++j) adapter_columns<1>(from, p.a + j, p.rank, k, xa + j);
}

void pack_rows(const WeightView& weight, const float* x, std::int64_t n, float* packed) {
  for (std::int64_t i = 0; i < n; ++i) pack_row(weight, x + i * weight.in, packed + i * packed_floats(weight));
}

std::int64_t packed_row_floats(const WeightView& weight) { return packed_floats(weight); }

void dots(const WeightView& weight, const float* packed, std::int64_t n, std::int64_t row0, std::int64_t row1, bool accumulate, float* y) {
  dot_rows({&weight, packed, row0, row1, y, weight.out, accumulate}, n);
}

// y[:, row0:row1] += bias + scale xa B
void add_bias_and_adapter(const LoraProjection& p, std::int64_t n, std::int64_t row0, std::int64_t row1) {
  for (std::int64_t i = 0; i < n; ++i) {
    float* HWY_RESTRICT y = p.y + i * p.weight.out;
    if (p.bias != nullptr) {
      for (std::int64_t o = row0; o < row1; ++o) y[o] += p.bias[o];
    }
    for (std::int64_t j = 0; j < p.rank; ++j) {
      const float factor = p.scale * p.xa[i * p.rank + j];
      const float* HWY_RESTRICT b = p.b + j * p.weight.out;
      for (std::int64_t o = row0; o < row1; ++o) y[o] += factor * b[o];
    }
  }
}

}  // namespace evolora::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace evolora::gemm {

HWY_EXPORT(adapter_row);
HWY_EXPORT(pack_rows);
HWY_EXPORT(packed_row_floats);
HWY_EXPORT(dots);
HWY_EXPORT(add_bias_and_adapter);

namespace {

// Output features [row0, row1) of one projection.
struct Stretch {
  std::size_t projection;
  std::int64_t row0, row1;
};

// About four stretches per thread, in multiples of 8 features.
void cut_outputs(std::size_t projection, std::int64_t out, std::int64_t total, int threads, std::vector<Stretch>& stretches) {
  const std::int64_t length = std::max<std::int64_t>(16, (total / (4 * threads) + 7) / 8 * 8);
  const std::int64_t parts = (out + length - 1) / length;
  for (std::int64_t i = 0; i < parts; ++i) {
    const std::int64_t begin = std::min(out, (out * i / parts + 7) / 8 * 8);
    const std::int64_t end = i + 1 == parts ? out : std::min(out, (out * (i + 1) / parts + 7) / 8 * 8);
    if (begin < end) stretches.push_back({projection, begin, end});
  }
}

// Work below this many bytes of weight is done before another thread has woken up.
constexpr std::int64_t kAloneBytes = 128 * 1024;

void run_stretches(const std::vector<Stretch>& stretches, std::int64_t weights, Threads& threads, const std::function<void(const Stretch&)>& body) {
  if (weights / 2 <= kAloneBytes) {
    for (const Stretch& stretch : stretches) body(stretch);
    return;
  }
  threads.for_each(stretches.size(), [&](std::size_t index, int) { body(stretches[index]); });
}

// Packed x depends on the weight's format only.
struct FewRows {
  FewRows(const LoraLinearForward& args, std::byte* workspace) : scratch(workspace) {
    bool any_dropout = false;
    for (const LoraProjection& p : args.projections) {
      any_dropout = any_dropout || (p.rank > 0 && p.dropout > 0);
      const auto same = std::find_if(formats.begin(), formats.end(), [&](const WeightView* w) { return w->bits == p.weight.bits; });
      if (same != formats.end()) {
        packed.push_back(packed_by_format[static_cast<std::size_t>(same - formats.begin())]);
        continue;
      }
      formats.push_back(&p.weight);
      packed_by_format.push_back(scratch.floats(args.n * HWY_DYNAMIC_DISPATCH(packed_row_floats)(p.weight)));
      packed.push_back(packed_by_format.back());
    }
    dropped = scratch.floats(any_dropout ? args.projections.front().weight.in : 0);
  }
  Scratch scratch;
  std::vector<const WeightView*> formats;
  std::vector<float*> packed_by_format;
  std::vector<const float*> packed;  // by projection
  float* dropped;
};

}  // namespace

void few_rows_forward(const LoraLinearForward& args, KernelContext& context) {
  const FewRows pass(args, context.workspace);
  for (std::size_t i = 0; i < pass.formats.size(); ++i) HWY_DYNAMIC_DISPATCH(pack_rows)(*pass.formats[i], args.x, args.n, pass.packed_by_format[i]);
  std::int64_t outputs = 0;
  for (const LoraProjection& p : args.projections) {
    outputs += p.weight.out;
    if (p.rank == 0) continue;
    for (std::int64_t row = 0; row < args.n; ++row) HWY_DYNAMIC_DISPATCH(adapter_row)(p, args.x, row, pass.dropped);
  }
  std::vector<Stretch> stretches;
  for (std::size_t i = 0; i < args.projections.size(); ++i)
    cut_outputs(i, args.projections[i].weight.out, outputs, context.threads.count(), stretches);
  run_stretches(stretches, outputs * args.projections.front().weight.in, context.threads, [&](const Stretch& s) {
    const LoraProjection& p = args.projections[s.projection];
    HWY_DYNAMIC_DISPATCH(dots)(p.weight, pass.packed[s.projection], args.n, s.row0, s.row1, false, p.y);
    HWY_DYNAMIC_DISPATCH(add_bias_and_adapter)(p, args.n, s.row0, s.row1);
  });
}

std::size_t few_rows_forward_workspace_bytes(const LoraLinearForward& args) { return FewRows(args, nullptr).scratch.bytes(); }

void few_rows_linear(const WeightView& weight, const float* x, std::int64_t n, float beta, float* y, KernelContext& context) {
  auto* packed = reinterpret_cast<float*>(context.workspace);
  HWY_DYNAMIC_DISPATCH(pack_rows)(weight, x, n, packed);
  std::vector<Stretch> stretches;
  cut_outputs(0, weight.out, weight.out, context.threads.count(), stretches);
  run_stretches(stretches, weight.out * weight.in, context.threads, [&](const Stretch& s) {
    HWY_DYNAMIC_DISPATCH(dots)(weight, packed, n, s.row0, s.row1, beta != 0, y);
  });
}

std::size_t few_rows_linear_workspace_bytes(const WeightView& weight, std::int64_t n) {
  return align_up(static_cast<std::size_t>(n * HWY_DYNAMIC_DISPATCH(packed_row_floats)(weight)) * sizeof(float));
}

}  // namespace evolora::gemm
#endif
