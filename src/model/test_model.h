// For tests: writes a small random model folder (Llama or Qwen2, dense or quantized) that exercises every branch of the spec.
#pragma once

#include <string>
#include <vector>

#include "base/file_system.h"
#include "formats/quantization.h"
#include "model/weights.h"

namespace evolora {

struct TestModel {
  std::string model_type = "llama";
  std::int64_t hidden_size = 64;
  std::int64_t num_layers = 3;
  std::int64_t intermediate_size = 96;
  std::int64_t num_heads = 4;
  std::int64_t num_kv_heads = 2;
  std::int64_t vocab_size = 83;
  bool tied = true;
  bool attention_bias = false;  // llama only; qwen2 always has q, k, v biases
  std::int64_t window = 0;      // llama only: the first layer sees so many keys; 0: all
  std::optional<AffineQuantization> quantization = AffineQuantization{.bits = 4, .group_size = 32};
  DType dtype = DType::kF32;  // of dense tensors, scales and biases
  std::uint64_t seed = 1;
};

// Writes config.json and model.safetensors. Aborts on failure: tests only.
void write_test_model(const TestModel& model, const fs::path& folder);
// write_test_model, then loads it.
ModelWeights load_test_model(const TestModel& model, const fs::path& folder);

// Deterministic values in [-1, 1).
std::vector<float> test_values(std::size_t count, std::uint64_t seed);

}  // namespace evolora
