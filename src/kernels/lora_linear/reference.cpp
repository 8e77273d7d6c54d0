// lora_linear as its contract reads, with fp64 sums: what every other implementation is judged by.
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "base/philox.h"
#include "kernels/lora_linear/contract.h"
#include "kernels/lora_linear/weight_value.h"

namespace evolora::reference {
namespace {

// Element (row, k) of drop(x), or what drop does to any other value at that place.
double dropped(const LoraProjection& p, std::int64_t row, std::int64_t k, double value) {
  if (p.dropout == 0) return value;
  const bool kept = dropout_keeps(p.dropout_key, static_cast<std::uint64_t>(row * p.weight.in + k), p.dropout);
  return kept ? value / (1.0 - static_cast<double>(p.dropout)) : 0.0;
}

double bf16_rounded(float value) { return static_cast<double>(bf16_to_f32(f32_to_bf16(value))); }

std::vector<double> decode_row(const WeightView& weight, std::int64_t row, Arithmetic arithmetic) {
  std::vector<double> values(static_cast<std::size_t>(weight.in));
  for (std::int64_t k = 0; k < weight.in; ++k) {
    const double value = weight_value(weight, row, k);
    values[static_cast<std::size_t>(k)] = arithmetic == Arithmetic::kBf16 ? bf16_rounded(static_cast<float>(value)) : value;
  }
  return values;
}

// A group of a row as scale * (whole number + whole number / 254), the scale and the numbers rounded as fp32 does.
void quantize_group(const float* x, std::int64_t count, double squares, std::int64_t depth, double* out) {
  float largest = 0;
  for (std::int64_t k = 0; k < count; ++k) largest = std::isnan(x[k]) ? x[k] : std::max(largest, std::abs(x[k]));
  for (std::int64_t k = 0; k < count; ++k) {
    if (largest < 0x1p-100F) {
      out[k] = 0;
    } else {
      const float value = x[k] * (127.0F / largest);
      const float q = std::nearbyint(value);
      const float r = is_coarse(largest, squares, depth) ? std::nearbyint((value - q) * 254.0F) : 0.0F;
      out[k] = static_cast<double>(largest / 127.0F) * (static_cast<double>(q) + static_cast<double>(r) / 254.0);
    }
  }
}

// x (n, K) as the product with this weight sees it.
std::vector<double> rounded_input(const float* x, std::int64_t n, const WeightView& weight, Arithmetic arithmetic) {
  std::vector<double> values(x, x + n * weight.in);
  if (arithmetic == Arithmetic::kBf16) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = bf16_rounded(x[i]);
  } else if (arithmetic == Arithmetic::kInt8) {
    for (std::int64_t row = 0; row < n; ++row) {
      const float* from = x + row * weight.in;
      double squares = 0;
      for (std::int64_t k = 0; k < weight.in; ++k) squares += static_cast<double>(from[k]) * static_cast<double>(from[k]);
      for (std::int64_t k = 0; k < weight.in; k += weight.group_size) {
        quantize_group(from + k, weight.group_size, squares, weight.in, values.data() + row * weight.in + k);
      }
    }
  }
  return values;
}

// scale * dy B^T, (n, r)
std::vector<double> adapter_output_gradient(const LoraProjection& p, std::int64_t n) {
  std::vector<double> dxa(static_cast<std::size_t>(n * p.rank));
  for (std::int64_t row = 0; row < n; ++row) {
    for (std::int64_t j = 0; j < p.rank; ++j) {
      double sum = 0;
      for (std::int64_t o = 0; o < p.weight.out; ++o) {
        sum += static_cast<double>(p.dy[row * p.weight.out + o]) * static_cast<double>(p.b[j * p.weight.out + o]);
      }
      dxa[static_cast<std::size_t>(row * p.rank + j)] = static_cast<double>(p.scale) * sum;
    }
  }
  return dxa;
}

void forward_projection(const LoraLinearForward& args, const LoraProjection& p) {
  const std::int64_t in = p.weight.in;
  std::vector<double> xa(static_cast<std::size_t>(args.n * p.rank));
  for (std::int64_t row = 0; row < args.n; ++row) {
    for (std::int64_t j = 0; j < p.rank; ++j) {
      double sum = 0;
      for (std::int64_t k = 0; k < in; ++k) {
        sum += dropped(p, row, k, static_cast<double>(args.x[row * in + k])) * static_cast<double>(p.a[k * p.rank + j]);
      }
      xa[static_cast<std::size_t>(row * p.rank + j)] = sum;
      p.xa[row * p.rank + j] = static_cast<float>(sum);
    }
  }
  const Arithmetic arithmetic = arithmetic_for(p.weight, args.arithmetic);
  const std::vector<double> x = rounded_input(args.x, args.n, p.weight, arithmetic);
  for (std::int64_t o = 0; o < p.weight.out; ++o) {
    const std::vector<double> w = decode_row(p.weight, o, arithmetic);
    for (std::int64_t row = 0; row < args.n; ++row) {
      double sum = p.bias == nullptr ? 0.0 : static_cast<double>(p.bias[o]);
      for (std::int64_t k = 0; k < in; ++k) sum += x[static_cast<std::size_t>(row * in + k)] * w[static_cast<std::size_t>(k)];
      for (std::int64_t j = 0; j < p.rank; ++j) {
        sum += static_cast<double>(p.scale) * xa[static_cast<std::size_t>(row * p.rank + j)] * static_cast<double>(p.b[j * p.weight.out + o]);
      }
      p.y[row * p.weight.out + o] = static_cast<float>(sum);
    }
  }
}

void add_input_gradient(const LoraProjection& p, const std::vector<double>& dxa, std::int64_t n, Arithmetic arithmetic, std::vector<double>& dx) {
  const std::int64_t in = p.weight.in;
  for (std::int64_t o = 0; o < p.weight.out; ++o) {
    const std::vector<double> w = decode_row(p.weight, o, arithmetic);
    for (std::int64_t row = 0; row < n; ++row) {
      const float value = p.dy[row * p.weight.out + o];
      const double dy = arithmetic == Arithmetic::kBf16 ? bf16_rounded(value) : static_cast<double>(value);
      for (std::int64_t k = 0; k < in; ++k) dx[static_cast<std::size_t>(row * in + k)] += dy * w[static_cast<std::size_t>(k)];
    }
  }
  for (std::int64_t row = 0; row < n && p.rank > 0; ++row) {
    for (std::int64_t k = 0; k < in; ++k) {
      double sum = 0;
      for (std::int64_t j = 0; j < p.rank; ++j) sum += dxa[static_cast<std::size_t>(row * p.rank + j)] * static_cast<double>(p.a[k * p.rank + j]);
      dx[static_cast<std::size_t>(row * in + k)] += dropped(p, row, k, sum);
    }
  }
}

void add_adapter_gradients(const LoraLinearBackward& args, const LoraProjection& p, const std::vector<double>& dxa) {
  const std::int64_t in = p.weight.in;
  for (std::int64_t j = 0; j < p.rank; ++j) {
    for (std::int64_t k = 0; k < in; ++k) {
      double sum = 0;
      for (std::int64_t row = 0; row < args.n; ++row) {
        sum += dropped(p, row, k, static_cast<double>(args.x[row * in + k])) * dxa[static_cast<std::size_t>(row * p.rank + j)];
      }
      p.da[k * p.rank + j] += static_cast<float>(sum);
    }
    for (std::int64_t o = 0; o < p.weight.out; ++o) {
      double sum = 0;
      for (std::int64_t row = 0; row < args.n; ++row) {
        sum += static_cast<double>(p.xa[row * p.rank + j]) * static_cast<double>(p.dy[row * p.weight.out + o]);
      }
      p.db[j * p.weight.out + o] += static_cast<float>(static_cast<double>(p.scale) * sum);
    }
  }
}

}  // namespace

void lora_linear_forward(const LoraLinearForward& args, KernelContext& context) {
  for (const LoraProjection& p : args.projections) {
    forward_projection(args, p);
    if (context.applied != nullptr) context.applied->add_forward(arithmetic_for(p.weight, args.arithmetic));
  }
}

void lora_linear_backward(const LoraLinearBackward& args, KernelContext& context) {
  if (args.projections.empty()) return;
  CHECK(args.arithmetic != Arithmetic::kInt8);
  std::vector<double> dx(static_cast<std::size_t>(args.dx == nullptr ? 0 : args.n * args.projections.front().weight.in));
  for (const LoraProjection& p : args.projections) {
    const std::vector<double> dxa = adapter_output_gradient(p, args.n);
    if (args.dx != nullptr) add_input_gradient(p, dxa, args.n, args.arithmetic, dx);
    add_adapter_gradients(args, p, dxa);
    if (context.applied != nullptr && args.dx != nullptr) context.applied->add_backward(args.arithmetic);
  }
  for (std::size_t i = 0; i < dx.size(); ++i) args.dx[i] = static_cast<float>(dx[i]);
}

std::size_t lora_linear_forward_workspace_bytes(const LoraLinearForward&, int) { return 0; }
std::size_t lora_linear_backward_workspace_bytes(const LoraLinearBackward&, int) { return 0; }

}  // namespace evolora::reference
