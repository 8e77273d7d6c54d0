// What a conversion will write, before anything is written: modules whose bytes are produced one at a time, the configuration, and small files.
// Both sources (convert_gguf.cpp, convert_folder.cpp) end here; convert.cpp writes it.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "formats/convert.h"
#include "formats/quantization_config.h"
#include "formats/safetensors_writer.h"

namespace evolora {

struct ProducedTensors {
  std::vector<std::vector<std::byte>> bytes;  // one per planned tensor
  bool lossless = false;                      // what is stored equals the source's values
};

// One source tensor and the one (dense) or three (weight, scales, biases) tensors that it becomes.
struct ModulePlan {
  std::vector<TensorPlan> tensors;
  std::function<Result<ProducedTensors>()> produce;
};

struct SmallFile {
  std::string name;  // inside the output folder; may have a sub-folder
  std::string content;
};

struct ConversionPlan {
  std::vector<ModulePlan> modules;
  nlohmann::ordered_json config;    // without quantization blocks
  QuantizationConfig quantization;  // modules: all quantized ones
  std::vector<SmallFile> files;
};

// A source matrix of any storage as fp32 rows; every reader of weights offers this.
struct RowSource {
  std::string name;                 // of the tensor in the source, for messages
  std::vector<std::int64_t> shape;  // (K) or (N, K)
  std::function<void(std::int64_t row, float* out)> read_row;

  std::int64_t row_count() const { return shape.size() == 1 ? 1 : shape[0]; }
  std::int64_t row_size() const { return shape.back(); }
};

// module + ".weight" (or the given name) as dtype. Producing fails with kBadData if a finite value does not fit dtype.
ModulePlan plan_dense(const std::string& tensor_name, RowSource source, DType dtype);
// module.weight, .scales and .biases: rows rounded to dtype, then affine_quantize. Producing fails with kBadData for values that are not finite.
ModulePlan plan_quantized(const std::string& module, RowSource source, const AffineQuantization& q, DType dtype);
// The names, types and shapes of a quantized module (rows, in_features).
std::vector<TensorPlan> packed_tensors(const std::string& module, const AffineQuantization& q, DType dtype, std::int64_t rows,
                                       std::int64_t in_features);

// fp32 values -> bytes of dtype; *exact is cleared when a value changes. Infinity that was none before: nullopt.
std::optional<std::vector<std::byte>> encode_floats(std::span<const float> values, DType dtype, bool* exact);

// The pair that most modules have becomes the default; does nothing for a dense model.
void choose_default_quantization(QuantizationConfig& quantization);

}  // namespace evolora
