// head_loss, plainly: one supervised row at a time, everything in double, weights decoded value by value.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/embedding/decoded_value.h"
#include "kernels/head_loss/contract.h"

namespace evolora::reference {

namespace {

struct NormedRow {
  std::vector<double> x;
  double inverse_rms;
};

NormedRow normed(const float* hidden, const float* weight, std::int64_t d, float eps) {
  double squares = 0;
  for (std::int64_t i = 0; i < d; ++i) squares += static_cast<double>(hidden[i]) * hidden[i];
  NormedRow row{std::vector<double>(static_cast<std::size_t>(d)), 1.0 / std::sqrt(squares / static_cast<double>(d) + static_cast<double>(eps))};
  for (std::int64_t i = 0; i < d; ++i) row.x[static_cast<std::size_t>(i)] = hidden[i] * row.inverse_rms * weight[i];
  return row;
}

double rounded(double value, Arithmetic arithmetic) {
  return arithmetic == Arithmetic::kBf16 ? static_cast<double>(bf16_to_f32(f32_to_bf16(static_cast<float>(value)))) : value;
}

std::vector<double> logits_of(const WeightView& head, const std::vector<double>& x, Arithmetic arithmetic) {
  std::vector<double> logits(static_cast<std::size_t>(head.out));
  for (std::int64_t v = 0; v < head.out; ++v) {
    double sum = 0;
    for (std::int64_t i = 0; i < head.in; ++i) {
      sum += rounded(static_cast<double>(decoded_value(head, v, i)), arithmetic) * rounded(x[static_cast<std::size_t>(i)], arithmetic);
    }
    logits[static_cast<std::size_t>(v)] = sum;
  }
  return logits;
}

// d_hidden of one row from d_logits.
void backward_row(const HeadLoss& args, const float* hidden, double inverse_rms, const std::vector<double>& d_logits, float* d_hidden) {
  const auto d = static_cast<std::size_t>(args.d);
  std::vector<double> scaled(d);  // norm weight * d(norm output)
  for (std::int64_t v = 0; v < args.head.out; ++v) {
    const double d_logit = rounded(d_logits[static_cast<std::size_t>(v)], args.backward);
    for (std::size_t i = 0; i < d; ++i) {
      scaled[i] += d_logit * rounded(static_cast<double>(decoded_value(args.head, v, static_cast<std::int64_t>(i))), args.backward);
    }
  }
  double dot = 0;
  for (std::size_t i = 0; i < d; ++i) {
    scaled[i] *= args.norm_weight[i];
    dot += scaled[i] * hidden[i];
  }
  const double pull = dot / static_cast<double>(d) * inverse_rms * inverse_rms;
  for (std::size_t i = 0; i < d; ++i) d_hidden[i] = static_cast<float>(inverse_rms * (scaled[i] - hidden[i] * pull));
}

}  // namespace

void head_loss(const HeadLoss& args, KernelContext&) {
  if (args.d_hidden != nullptr) std::fill_n(args.d_hidden, args.n * args.d, 0.0f);
  double loss_sum = 0;
  for (std::int64_t m = 0; m < args.m; ++m) {
    const float* hidden = args.hidden + args.rows[m] * args.d;
    const NormedRow row = normed(hidden, args.norm_weight, args.d, args.eps);
    std::vector<double> logits = logits_of(args.head, row.x, args.forward);
    const double largest = *std::max_element(logits.begin(), logits.end());
    double total = 0;
    for (const double logit : logits) total += std::exp(logit - largest);
    const double lse = largest + std::log(total);
    const auto target = static_cast<std::size_t>(args.targets[m]);
    const double loss = lse - logits[target];
    loss_sum += loss;
    if (args.row_losses != nullptr) args.row_losses[m] = static_cast<float>(loss);
    if (args.d_hidden == nullptr) continue;
    for (double& logit : logits) logit = static_cast<double>(args.loss_scale) * std::exp(logit - lse);
    logits[target] -= static_cast<double>(args.loss_scale);
    backward_row(args, hidden, row.inverse_rms, logits, args.d_hidden + args.rows[m] * args.d);
  }
  *args.loss_sum = loss_sum;
}

void head_logits(const HeadLogits& args, KernelContext&) {
  for (std::int64_t m = 0; m < args.m; ++m) {
    const NormedRow row = normed(args.hidden + args.rows[m] * args.d, args.norm_weight, args.d, args.eps);
    const std::vector<double> logits = logits_of(args.head, row.x, Arithmetic::kFp32);
    for (std::int64_t v = 0; v < args.head.out; ++v) args.logits[m * args.head.out + v] = static_cast<float>(logits[static_cast<std::size_t>(v)]);
  }
}

std::size_t head_loss_workspace_bytes(const HeadLoss&, int) { return 0; }
std::size_t head_logits_workspace_bytes(const HeadLogits&, int) { return 0; }

}  // namespace evolora::reference
