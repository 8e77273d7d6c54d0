// lora_linear forward in few lines, for searches with small language models: y = x W^T + bias + scale (drop(x) A) B.
// Some rows of W at a time are decoded to floats; what is done with them is the block that may change.
#include <cstdint>
#include <cstring>

#include "evolora_pack.h"

namespace {

// EVOLVE-BLOCK-START
constexpr int kColumns = 8;  // evolve: choice 1,2,4,8,16,32
constexpr int kLanes = 16;   // evolve: choice 4,8,16,32
constexpr int kUnroll = 1;   // evolve: choice 1,2,4

float dot(const float* a, const float* b, int64_t count) {
  float sums[kLanes] = {};
#pragma GCC unroll kUnroll
  for (int64_t k = 0; k + kLanes <= count; k += kLanes) {
    for (int i = 0; i < kLanes; ++i) sums[i] += a[k + i] * b[k + i];
  }
  for (int64_t k = count - count % kLanes; k < count; ++k) sums[0] += a[k] * b[k];
  float sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += sums[i];
  return sum;
}

// x (n, in), w (columns, in), columns <= kColumns -> y (n, columns) = x w^T, rows of y `stride` floats apart.
void multiply(const float* x, const float* w, float* y, int64_t n, int64_t in, int64_t columns, int64_t stride) {
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      y[row * stride + column] = dot(x + row * in, w + column * in, in);
    }
  }
}
// EVOLVE-BLOCK-END

float load_float(int32_t dtype, const uint8_t* from, int64_t i) {
  float value;
  if (dtype == EVOLORA_F32) {
    std::memcpy(&value, from + i * 4, 4);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, from + i * 2, 2);
  if (dtype == EVOLORA_BF16) return __builtin_bit_cast(float, static_cast<uint32_t>(half) << 16);
  return static_cast<float>(__builtin_bit_cast(_Float16, half));
}

// Row of W -> out (in).
void decode_row(const evolora_weight& w, int64_t row, float* out) {
  if (w.bits == 0) {
    for (int64_t k = 0; k < w.in; ++k) out[k] = load_float(w.dtype, w.data, row * w.in + k);
    return;
  }
  const uint8_t* codes = w.data + row * (w.in * w.bits / 8);
  const int64_t groups = w.in / w.group_size;
  for (int64_t group = 0; group < groups; ++group) {
    const float scale = load_float(w.dtype, w.scales, row * groups + group), bias = load_float(w.dtype, w.biases, row * groups + group);
    for (int64_t k = group * w.group_size; k < (group + 1) * w.group_size; ++k) {
      const int64_t bit = k * w.bits;
      uint32_t code = codes[bit / 8] >> (bit % 8);
      if (bit % 8 + w.bits > 8) code |= static_cast<uint32_t>(codes[bit / 8 + 1]) << (8 - bit % 8);
      out[k] = scale * static_cast<float>(code & ((1u << w.bits) - 1)) + bias;
    }
  }
}

// Row of xa = drop(x) A.
void adapter_input(const evolora_projection& p, const float* x, int64_t row) {
  const int64_t in = p.weight.in;
  const float keep = static_cast<float>(1.0 / (1.0 - static_cast<double>(p.dropout)));
  float* xa = p.xa + row * p.rank;
  for (int64_t j = 0; j < p.rank; ++j) xa[j] = 0;
  for (int64_t k = 0; k < in; ++k) {
    float value = x[row * in + k];
    if (p.dropout > 0) value = evolora_dropout_keeps(p.dropout_key, static_cast<uint64_t>(row * in + k), p.dropout) != 0 ? value * keep : 0.0f;
    for (int64_t j = 0; j < p.rank; ++j) xa[j] += value * p.a[k * p.rank + j];
  }
}

void add_adapter_and_bias(const evolora_projection& p, int64_t n, int64_t begin, int64_t end) {
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t column = begin; column < end; ++column) {
      float sum = p.bias != nullptr ? p.bias[column] : 0.0f;
      for (int64_t j = 0; j < p.rank; ++j) sum += p.xa[row * p.rank + j] * (p.scale * p.b[j * p.weight.out + column]);
      p.y[row * p.weight.out + column] += sum;
    }
  }
}

template <typename Body>
void parallel(evolora_context* context, int64_t count, const Body& body) {
  context->for_each(
      context->pool, static_cast<size_t>(count),
      [](void* arg, size_t index, int worker) { (*static_cast<const Body*>(arg))(static_cast<int64_t>(index), worker); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

size_t worker_floats(const evolora_lora_linear_forward_args* args) {
  int64_t most = 0;
  for (int64_t i = 0; i < args->projection_count; ++i) {
    if (args->projections[i].weight.in > most) most = args->projections[i].weight.in;
  }
  return static_cast<size_t>((most * kColumns + 15) / 16 * 16);
}

}  // namespace

void evolora_lora_linear_forward(const evolora_lora_linear_forward_args* args, evolora_context* context) {
  const size_t floats = worker_floats(args);
  for (int64_t i = 0; i < args->projection_count; ++i) {
    const evolora_projection& p = args->projections[i];
    const int64_t in = p.weight.in, out = p.weight.out;
    if (p.rank > 0) parallel(context, args->n, [&](int64_t row, int) { adapter_input(p, args->x, row); });
    parallel(context, (out + kColumns - 1) / kColumns, [&](int64_t index, int worker) {
      const int64_t begin = index * kColumns, end = begin + kColumns < out ? begin + kColumns : out;
      float* w = reinterpret_cast<float*>(context->workspace) + static_cast<size_t>(worker) * floats;
      for (int64_t column = begin; column < end; ++column) decode_row(p.weight, column, w + (column - begin) * in);
      multiply(args->x, w, p.y + begin, args->n, in, end - begin, out);
      add_adapter_and_bias(p, args->n, begin, end);
    });
  }
}

size_t evolora_lora_linear_forward_workspace_bytes(const evolora_lora_linear_forward_args* args, int threads) {
  return worker_floats(args) * static_cast<size_t>(threads) * sizeof(float);
}
