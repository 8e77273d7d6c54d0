// rms_norm with SIMD: each row is read once from memory for its sums and once more from cache to write the result. Threads over blocks of rows.
#include <algorithm>
#include <cmath>

#include "kernels/rms_norm/contract.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rms_norm/cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace evolora::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

float inverse_rms(float squares, std::int64_t d, float eps) { return 1.0f / std::sqrt(squares / static_cast<float>(d) + eps); }

// sum[i] = x[i] + residual[i], and the sum of its squares. Two accumulators hide the latency of the additions.
float add_and_square(const float* x, const float* residual, std::int64_t n, float* sum) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  V a0 = hn::Zero(d);
  V a1 = hn::Zero(d);
  std::int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    const V s0 = hn::Add(hn::LoadU(d, x + i), hn::LoadU(d, residual + i));
    const V s1 = hn::Add(hn::LoadU(d, x + i + lanes), hn::LoadU(d, residual + i + lanes));
    hn::StoreU(s0, d, sum + i);
    hn::StoreU(s1, d, sum + i + lanes);
    a0 = hn::MulAdd(s0, s0, a0);
    a1 = hn::MulAdd(s1, s1, a1);
  }
  float squares = hn::GetLane(hn::SumOfLanes(d, hn::Add(a0, a1)));
  for (; i < n; ++i) {
    const float s = x[i] + residual[i];
    sum[i] = s;
    squares += s * s;
  }
  return squares;
}

float sum_of_squares(const float* x, std::int64_t n) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  V a0 = hn::Zero(d);
  V a1 = hn::Zero(d);
  std::int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    const V s0 = hn::LoadU(d, x + i);
    const V s1 = hn::LoadU(d, x + i + lanes);
    a0 = hn::MulAdd(s0, s0, a0);
    a1 = hn::MulAdd(s1, s1, a1);
  }
  float squares = hn::GetLane(hn::SumOfLanes(d, hn::Add(a0, a1)));
  for (; i < n; ++i) squares += x[i] * x[i];
  return squares;
}

struct BackwardSums {
  float squares;  // sum x^2
  float dot;      // sum w dy x
};

BackwardSums backward_sums(const float* dy, const float* x, const float* weight, std::int64_t n) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  V squares = hn::Zero(d);
  V dot = hn::Zero(d);
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const V v = hn::LoadU(d, x + i);
    squares = hn::MulAdd(v, v, squares);
    dot = hn::MulAdd(hn::Mul(hn::LoadU(d, dy + i), hn::LoadU(d, weight + i)), v, dot);
  }
  BackwardSums sums{hn::GetLane(hn::SumOfLanes(d, squares)), hn::GetLane(hn::SumOfLanes(d, dot))};
  for (; i < n; ++i) {
    sums.squares += x[i] * x[i];
    sums.dot += dy[i] * weight[i] * x[i];
  }
  return sums;
}

void forward_row(const RmsNormForward& args, std::int64_t row) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t n = args.d;
  const float* x = args.x + row * n;
  float squares;
  if (args.residual != nullptr) {
    float* sum = args.sum + row * n;
    squares = add_and_square(x, args.residual + row * n, n, sum);
    x = sum;
  } else {
    squares = sum_of_squares(x, n);
  }
  const float inverse = inverse_rms(squares, n, args.eps);
  float* y = args.y + row * n;
  const V r = hn::Set(d, inverse);
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, x + i), r), hn::LoadU(d, args.weight + i)), d, y + i);
  for (; i < n; ++i) y[i] = x[i] * inverse * args.weight[i];
}

void backward_row(const RmsNormBackward& args, std::int64_t row) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t n = args.d;
  const float* x = args.x + row * n;
  const float* dy = args.dy + row * n;
  const float* add = args.add == nullptr ? nullptr : args.add + row * n;
  float* dx = args.dx + row * n;
  const BackwardSums sums = backward_sums(dy, x, args.weight, n);
  const float inverse = inverse_rms(sums.squares, n, args.eps);
  const float pull = sums.dot / static_cast<float>(n) * inverse * inverse * inverse;
  const V r = hn::Set(d, inverse);
  const V p = hn::Set(d, pull);
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const V base = add == nullptr ? hn::Zero(d) : hn::LoadU(d, add + i);
    const V direct = hn::MulAdd(hn::Mul(hn::LoadU(d, dy + i), hn::LoadU(d, args.weight + i)), r, base);
    hn::StoreU(hn::NegMulAdd(hn::LoadU(d, x + i), p, direct), d, dx + i);
  }
  for (; i < n; ++i) dx[i] = (add == nullptr ? 0.0f : add[i]) + dy[i] * args.weight[i] * inverse - x[i] * pull;
}

}  // namespace

void rms_norm_forward_rows(const RmsNormForward& args, std::int64_t begin, std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row) forward_row(args, row);
}

void rms_norm_backward_rows(const RmsNormBackward& args, std::int64_t begin, std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row) backward_row(args, row);
}

}  // namespace evolora::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace evolora {
namespace {

HWY_EXPORT(rms_norm_forward_rows);
HWY_EXPORT(rms_norm_backward_rows);

// Rows per parallel task: about 16384 elements, some 20 us, against about 1 us for handing a task out.
std::int64_t rows_per_task(std::int64_t d) { return std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(d, 1)); }

template <typename Body>
void for_each_row_block(Threads& threads, std::int64_t n, std::int64_t d, const Body& body) {
  const std::int64_t rows = rows_per_task(d);
  threads.for_each(static_cast<std::size_t>((n + rows - 1) / rows), [&](std::size_t task, int) {
    const std::int64_t begin = static_cast<std::int64_t>(task) * rows;
    body(begin, std::min(begin + rows, n));
  });
}

}  // namespace

namespace cpu {

void rms_norm_forward(const RmsNormForward& args, KernelContext& context) {
  for_each_row_block(context.threads, args.n, args.d, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(rms_norm_forward_rows)(args, begin, end);
  });
}

void rms_norm_backward(const RmsNormBackward& args, KernelContext& context) {
  for_each_row_block(context.threads, args.n, args.d, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(rms_norm_backward_rows)(args, begin, end);
  });
}

}  // namespace cpu
}  // namespace evolora
#endif  // HWY_ONCE
