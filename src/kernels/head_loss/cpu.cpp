// head_loss with SIMD: per chunk of supervised rows, norm -> logits (GEMM) -> softmax and its gradient in place -> d(norm output) (GEMM) -> norm
// backward. Loss of a row: log sum exp - target logit, with sums of exponentials in fp32 lanes and the rest in double.
#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "kernels/head_loss/contract.h"
#include "kernels/lora_linear/linear.h"
#include "kernels/rms_norm/contract.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/head_loss/cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/vector_exp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace evolora::HWY_NAMESPACE {
namespace {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

float largest_of(const float* x, std::int64_t n) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  float largest = x[0];
  std::int64_t i = 0;
  if (n >= lanes) {
    V most = hn::LoadU(d, x);
    for (i = lanes; i + lanes <= n; i += lanes) most = hn::Max(most, hn::LoadU(d, x + i));
    largest = hn::GetLane(hn::MaxOfLanes(d, most));
  }
  for (; i < n; ++i) largest = std::max(largest, x[i]);
  return largest;
}

// The lanes' sums stay short (V / (2 lanes) terms) and meet in double.
double sum_of_exp(const float* x, std::int64_t n, float largest) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const V shift = hn::Set(d, largest);
  V s0 = hn::Zero(d);
  V s1 = hn::Zero(d);
  std::int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    s0 = hn::Add(s0, vector_exp(d, hn::Sub(hn::LoadU(d, x + i), shift)));
    s1 = hn::Add(s1, vector_exp(d, hn::Sub(hn::LoadU(d, x + i + lanes), shift)));
  }
  double sum = static_cast<double>(hn::GetLane(hn::SumOfLanes(d, s0))) + static_cast<double>(hn::GetLane(hn::SumOfLanes(d, s1)));
  for (; i < n; ++i) sum += std::exp(static_cast<double>(x[i]) - static_cast<double>(largest));
  return sum;
}

// x = factor * exp(x - largest)
void scaled_exp(float* x, std::int64_t n, float largest, float factor) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const V shift = hn::Set(d, largest);
  const V f = hn::Set(d, factor);
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(hn::Mul(f, vector_exp(d, hn::Sub(hn::LoadU(d, x + i), shift))), d, x + i);
  for (; i < n; ++i) x[i] = factor * std::exp(x[i] - largest);
}

}  // namespace

// One row of logits -> its loss; if wanted, the row becomes loss_scale (softmax - onehot).
double head_loss_row(float* logits, std::int64_t vocabulary, std::int32_t target, float loss_scale, bool want_gradient) {
  const float largest = largest_of(logits, vocabulary);
  const double total = sum_of_exp(logits, vocabulary, largest);
  const double loss = static_cast<double>(largest) - static_cast<double>(logits[target]) + std::log(total);
  if (want_gradient) {
    scaled_exp(logits, vocabulary, largest, static_cast<float>(static_cast<double>(loss_scale) / total));
    logits[target] -= loss_scale;
  }
  return loss;
}

}  // namespace evolora::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace evolora {
namespace {

HWY_EXPORT(head_loss_row);

std::size_t float_bytes(std::int64_t count) { return align_up(static_cast<std::size_t>(count) * sizeof(float)); }

// Workspace of a chunk, in this order: hidden rows (rows, D), norm output and later its gradient (rows, D), logits (rows, V), row losses, then the
// GEMMs' own.
struct Layout {
  Layout(std::int64_t rows, std::int64_t d, std::int64_t vocabulary)
      : normed(float_bytes(rows * d)),
        logits(normed + float_bytes(rows * d)),
        losses(logits + float_bytes(rows * vocabulary)),
        linear(losses + align_up(static_cast<std::size_t>(rows) * sizeof(double))) {}
  std::size_t normed;
  std::size_t logits;
  std::size_t losses;
  std::size_t linear;
};

std::int64_t rows_per_chunk(const HeadLoss& args) { return std::min(args.chunk_rows, args.m); }

void gather(const float* hidden, std::int64_t d, const std::int32_t* rows, std::int64_t count, float* out) {
  for (std::int64_t r = 0; r < count; ++r) std::copy_n(hidden + rows[r] * d, d, out + r * d);
}

struct Chunk {
  float* hidden;
  float* normed;
  float* logits;
  double* losses;
  KernelContext linear;
};

void chunk_losses(const HeadLoss& args, std::int64_t first, std::int64_t count, Chunk& chunk, KernelContext& context) {
  gather(args.hidden, args.d, args.rows + first, count, chunk.hidden);
  cpu::rms_norm_forward({chunk.hidden, nullptr, args.norm_weight, args.eps, count, args.d, nullptr, chunk.normed}, context);
  cpu::linear_forward(args.head, chunk.normed, count, 0.0f, chunk.logits, chunk.linear, args.forward);
  const std::int64_t vocabulary = args.head.out;
  context.threads.for_each(static_cast<std::size_t>(count), [&](std::size_t r, int) {
    const std::int32_t target = args.targets[first + static_cast<std::int64_t>(r)];
    CHECK(target >= 0 && target < vocabulary);
    chunk.losses[r] = HWY_DYNAMIC_DISPATCH(head_loss_row)(chunk.logits + static_cast<std::int64_t>(r) * vocabulary, vocabulary, target,
                                                          args.loss_scale, args.d_hidden != nullptr);
  });
}

void chunk_gradient(const HeadLoss& args, std::int64_t first, std::int64_t count, Chunk& chunk, KernelContext& context) {
  float* gradient = chunk.normed;  // the norm's output is no longer needed
  cpu::linear_backward(args.head, chunk.logits, count, 0.0f, gradient, chunk.linear, args.backward);
  cpu::rms_norm_backward({gradient, chunk.hidden, args.norm_weight, args.eps, count, args.d, nullptr, gradient}, context);
  for (std::int64_t r = 0; r < count; ++r) std::copy_n(gradient + r * args.d, args.d, args.d_hidden + args.rows[first + r] * args.d);
}

void clear(float* x, std::int64_t n, std::int64_t d, Threads& threads) {
  constexpr std::int64_t kRows = 64;
  threads.for_each(static_cast<std::size_t>((n + kRows - 1) / kRows), [&](std::size_t block, int) {
    const std::int64_t begin = static_cast<std::int64_t>(block) * kRows;
    std::fill(x + begin * d, x + std::min(n, begin + kRows) * d, 0.0f);
  });
}

}  // namespace

namespace cpu {

// d_hidden may be null because it is not wanted or because this is planning, so room for the gradient is always counted.
std::size_t head_loss_workspace_bytes(const HeadLoss& args, int threads) {
  const std::int64_t rows = rows_per_chunk(args);
  if (rows == 0) return 0;
  std::size_t linear = 0;
  for (const std::int64_t count : {rows, args.m % rows}) {
    if (count == 0) continue;
    linear = std::max(linear, linear_forward_workspace_bytes(args.head, count, threads, args.forward));
    linear = std::max(linear, linear_backward_workspace_bytes(args.head, count, threads, args.backward));
  }
  return Layout(rows, args.d, args.head.out).linear + linear;
}

void head_loss(const HeadLoss& args, KernelContext& context) {
  CHECK(args.head.in == args.d && args.m >= 0 && (args.m == 0 || args.chunk_rows > 0));
  CHECK(context.workspace_bytes >= head_loss_workspace_bytes(args, context.threads.count()));
  if (args.d_hidden != nullptr) clear(args.d_hidden, args.n, args.d, context.threads);
  double loss_sum = 0;
  const std::int64_t rows = rows_per_chunk(args);
  const Layout layout(rows, args.d, args.head.out);
  for (std::int64_t first = 0; first < args.m; first += rows) {
    const std::int64_t count = std::min(rows, args.m - first);
    const auto at = [&](std::size_t offset) { return reinterpret_cast<float*>(context.workspace + offset); };
    Chunk chunk{at(0), at(layout.normed), at(layout.logits), reinterpret_cast<double*>(context.workspace + layout.losses),
                KernelContext{context.threads, context.workspace + layout.linear, context.workspace_bytes - layout.linear}};
    chunk_losses(args, first, count, chunk, context);
    for (std::int64_t r = 0; r < count; ++r) {
      loss_sum += chunk.losses[r];
      if (args.row_losses != nullptr) args.row_losses[first + r] = static_cast<float>(chunk.losses[r]);
    }
    if (args.d_hidden != nullptr) chunk_gradient(args, first, count, chunk, context);
  }
  *args.loss_sum = loss_sum;
}

// Workspace: the rows, normalised in place (M, D), then the GEMM's own.
std::size_t head_logits_workspace_bytes(const HeadLogits& args, int threads) {
  return float_bytes(args.m * args.d) + (args.m == 0 ? 0 : linear_forward_workspace_bytes(args.head, args.m, threads));
}

void head_logits(const HeadLogits& args, KernelContext& context) {
  CHECK(args.head.in == args.d);
  CHECK(context.workspace_bytes >= head_logits_workspace_bytes(args, context.threads.count()));
  if (args.m == 0) return;
  const std::size_t block = float_bytes(args.m * args.d);
  auto* x = reinterpret_cast<float*>(context.workspace);
  gather(args.hidden, args.d, args.rows, args.m, x);
  rms_norm_forward({x, nullptr, args.norm_weight, args.eps, args.m, args.d, nullptr, x}, context);
  KernelContext linear{context.threads, context.workspace + block, context.workspace_bytes - block};
  linear_forward(args.head, x, args.m, 0.0f, args.logits, linear);
}

}  // namespace cpu
}  // namespace evolora
#endif  // HWY_ONCE
