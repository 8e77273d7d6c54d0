// A kernel pack for tests: forward by plain loops, which do their work three times where kTile is 1, so that what is faster is known beforehand and
// compiles in a moment.
#pragma once

namespace evolora {

inline constexpr char kSmallPackManifest[] = R"({"name": "small", "target": "cpu", "slots": ["lora_linear_forward"], "files": ["kernel.cpp"]})";

inline constexpr char kSmallPack[] = R"(#include <cstdint>
#include <cstring>

#include "evolora_pack.h"

namespace {

// EVOLVE-BLOCK-START
constexpr int kTile = 1;  // evolve: int 1..4
constexpr int kTurns = kTile > 1 ? 1 : 3;

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

float weight(const evolora_weight& w, int64_t row, int64_t k) {
  if (w.bits == 0) return load_float(w.dtype, w.data, row * w.in + k);
  const int64_t bit = k * w.bits, group = row * (w.in / w.group_size) + k / w.group_size;
  const uint8_t* from = w.data + row * (w.in * w.bits / 8);
  uint32_t code = from[bit / 8] >> (bit % 8);
  if (bit % 8 + w.bits > 8) code |= static_cast<uint32_t>(from[bit / 8 + 1]) << (8 - bit % 8);
  code &= (1u << w.bits) - 1;
  return load_float(w.dtype, w.scales, group) * static_cast<float>(code) + load_float(w.dtype, w.biases, group);
}

void adapter_input(const evolora_projection& p, const float* x, int64_t row) {
  const float keep = static_cast<float>(1.0 / (1.0 - static_cast<double>(p.dropout)));
  for (int64_t j = 0; j < p.rank; ++j) {
    float sum = 0;
    for (int64_t k = 0; k < p.weight.in; ++k) {
      const int64_t at = row * p.weight.in + k;
      const bool kept = p.dropout <= 0 || evolora_dropout_keeps(p.dropout_key, static_cast<uint64_t>(at), p.dropout) != 0;
      if (kept) sum += (p.dropout > 0 ? x[at] * keep : x[at]) * p.a[k * p.rank + j];
    }
    p.xa[row * p.rank + j] = sum;
  }
}

// One column of y; row_of_weight: room for its weights.
void output(const evolora_projection& p, const float* x, int64_t n, int64_t column, float* row_of_weight) {
  const int64_t in = p.weight.in;
  for (int64_t k = 0; k < in; ++k) row_of_weight[k] = weight(p.weight, column, k);
  for (int64_t row = 0; row < n; ++row) {
    float sums[8] = {};
    int64_t k = 0;
    for (; k + 8 <= in; k += 8) {
      for (int64_t i = 0; i < 8; ++i) sums[i] += x[row * in + k + i] * row_of_weight[k + i];
    }
    for (; k < in; ++k) sums[0] += x[row * in + k] * row_of_weight[k];
    float sum = p.bias != nullptr ? p.bias[column] : 0.0f;
    for (int64_t j = 0; j < p.rank; ++j) sum += p.xa[row * p.rank + j] * (p.scale * p.b[j * p.weight.out + column]);
    for (const float each : sums) sum += each;
    p.y[row * p.weight.out + column] = sum;
  }
}

void forward(const evolora_lora_linear_forward_args* args, evolora_context* context) {
  for (int turn = 0; turn < kTurns; ++turn) {
    for (int64_t i = 0; i < args->projection_count; ++i) {
      const evolora_projection& p = args->projections[i];
      for (int64_t row = 0; row < args->n; ++row) adapter_input(p, args->x, row);
      for (int64_t column = 0; column < p.weight.out; ++column) {
        output(p, args->x, args->n, column, reinterpret_cast<float*>(context->workspace));
      }
    }
  }
}
// EVOLVE-BLOCK-END

}  // namespace

void evolora_lora_linear_forward(const evolora_lora_linear_forward_args* args, evolora_context* context) { forward(args, context); }
size_t evolora_lora_linear_forward_workspace_bytes(const evolora_lora_linear_forward_args* args, int) {
  return static_cast<size_t>(args->projections[0].weight.in) * sizeof(float);
}
)";

}  // namespace evolora
