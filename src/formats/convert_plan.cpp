// Encoding of fp32 rows into dense or quantized tensors, row by row.
#include "formats/convert_plan.h"

#include <cmath>
#include <cstring>

#include "base/check.h"

namespace evolora {
namespace {

std::string place(const RowSource& source, std::int64_t row, std::size_t column) {
  return "tensor '" + source.name + "', row " + std::to_string(row) + ", column " + std::to_string(column);
}

Error does_not_fit(const RowSource& source, std::int64_t row, std::span<const float> values, DType dtype) {
  std::size_t column = 0;
  while (column + 1 < values.size() && !(std::isfinite(values[column]) && !encode_floats(values.subspan(column, 1), dtype, nullptr))) ++column;
  return Error{ErrorCode::kBadData, place(source, row, column) + ": " + std::to_string(values[column]) + " does not fit " +
                                        std::string(dtype_name(dtype)) + "; convert to bfloat16 or float32"};
}

Status check_finite(const RowSource& source, std::int64_t row, std::span<const float> values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) return Error{ErrorCode::kBadData, place(source, row, i) + ": not a finite number, cannot be quantized"};
  }
  return {};
}

}  // namespace

std::optional<std::vector<std::byte>> encode_floats(std::span<const float> values, DType dtype, bool* exact) {
  std::vector<std::byte> bytes(values.size() * dtype_size_bytes(dtype));
  for (std::size_t i = 0; i < values.size(); ++i) {
    store_float(dtype, bytes.data(), i, values[i]);
    const float stored = load_float(dtype, bytes.data(), i);
    if (std::isinf(stored) && !std::isinf(values[i])) return std::nullopt;
    if (exact != nullptr && stored != values[i] && !std::isnan(values[i])) *exact = false;
  }
  return bytes;
}

ModulePlan plan_dense(const std::string& tensor_name, RowSource source, DType dtype) {
  ModulePlan plan;
  plan.tensors = {{tensor_name, dtype, source.shape}};
  plan.produce = [source = std::move(source), dtype]() -> Result<ProducedTensors> {
    ProducedTensors out;
    out.lossless = true;
    std::vector<std::byte>& bytes = out.bytes.emplace_back();
    std::vector<float> row(static_cast<std::size_t>(source.row_size()));
    bytes.reserve(row.size() * static_cast<std::size_t>(source.row_count()) * dtype_size_bytes(dtype));
    for (std::int64_t r = 0; r < source.row_count(); ++r) {
      source.read_row(r, row.data());
      const std::optional<std::vector<std::byte>> encoded = encode_floats(row, dtype, &out.lossless);
      if (!encoded) return does_not_fit(source, r, row, dtype);
      bytes.insert(bytes.end(), encoded->begin(), encoded->end());
    }
    return out;
  };
  return plan;
}

std::vector<TensorPlan> packed_tensors(const std::string& module, const AffineQuantization& q, DType dtype, std::int64_t rows,
                                       std::int64_t in_features) {
  const auto words = checked_cast<std::int64_t>(packed_words_per_row(q, in_features));
  return {{module + ".weight", DType::kU32, {rows, words}},
          {module + ".scales", dtype, {rows, in_features / q.group_size}},
          {module + ".biases", dtype, {rows, in_features / q.group_size}}};
}

ModulePlan plan_quantized(const std::string& module, RowSource source, const AffineQuantization& q, DType dtype) {
  CHECK(source.shape.size() == 2 && source.row_size() % q.group_size == 0);
  ModulePlan plan;
  plan.tensors = packed_tensors(module, q, dtype, source.row_count(), source.row_size());
  plan.produce = [source = std::move(source), q, dtype]() -> Result<ProducedTensors> {
    const auto rows = static_cast<std::size_t>(source.row_count());
    const auto columns = static_cast<std::size_t>(source.row_size());
    const std::size_t words = packed_words_per_row(q, source.row_size());
    const std::size_t group_bytes = columns / static_cast<std::size_t>(q.group_size) * dtype_size_bytes(dtype);
    ProducedTensors out;
    out.bytes = {std::vector<std::byte>(rows * words * 4), std::vector<std::byte>(rows * group_bytes), std::vector<std::byte>(rows * group_bytes)};
    std::vector<float> row(columns);
    std::vector<std::uint32_t> packed(words);
    for (std::size_t r = 0; r < rows; ++r) {
      const auto index = static_cast<std::int64_t>(r);
      source.read_row(index, row.data());
      TRY(check_finite(source, index, row));
      const std::optional<std::vector<std::byte>> rounded = encode_floats(row, dtype, nullptr);
      if (!rounded) return does_not_fit(source, index, row, dtype);
      affine_quantize(q, dtype, rounded->data(), 1, source.row_size(), packed.data(), out.bytes[1].data() + r * group_bytes,
                      out.bytes[2].data() + r * group_bytes);
      std::memcpy(out.bytes[0].data() + r * words * 4, packed.data(), words * 4);
    }
    return out;
  };
  return plan;
}

void choose_default_quantization(QuantizationConfig& quantization) {
  std::size_t most = 0;
  for (const auto& [path, candidate] : quantization.modules) {
    std::size_t count = 0;
    for (const auto& [other, q] : quantization.modules) count += q == candidate ? 1 : 0;
    if (candidate && count > most) {
      most = count;
      quantization.default_quantization = candidate;
    }
  }
}

}  // namespace evolora
