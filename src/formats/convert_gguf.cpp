// Chooses for every tensor of a GGUF file how it is stored: its own codes unchanged where the formats allow, else dense or quantized anew.
#include "formats/convert_gguf.h"

#include <cstring>
#include <memory>

#include "base/check.h"
#include "formats/gguf_blocks.h"
#include "formats/gguf_model.h"
#include "formats/gguf_tokenizer.h"

namespace evolora {
namespace {

// Row reads of a permuted tensor. A permuted vector (bias) is one row whose elements move.
RowSource row_source(const std::shared_ptr<const GgufFile>& file, const GgufModelTensor& t) {
  const bool is_vector = t.tensor->shape.size() == 1;
  const auto read_row = [file, t, is_vector](std::int64_t row, float* out) {  // file keeps t.tensor alive
    if (!is_vector || t.rotated_heads == 0) {
      gguf_expand_row(*t.tensor, is_vector ? 0 : gguf_row(t, row), out);
      return;
    }
    std::vector<float> stored(static_cast<std::size_t>(t.tensor->shape[0]));
    gguf_expand_row(*t.tensor, 0, stored.data());
    for (std::size_t i = 0; i < stored.size(); ++i) out[i] = stored[static_cast<std::size_t>(gguf_row(t, static_cast<std::int64_t>(i)))];
  };
  return {t.tensor->name, t.tensor->shape, read_row};
}

// The codes as they are; scales and biases in dtype.
ModulePlan plan_repacked(const std::shared_ptr<const GgufFile>& file, const GgufModelTensor& t, const std::string& module,
                         const AffineQuantization& q, DType dtype) {
  const std::int64_t rows = t.tensor->shape[0];
  const std::int64_t columns = t.tensor->shape[1];
  ModulePlan plan;
  plan.tensors = packed_tensors(module, q, dtype, rows, columns);
  plan.produce = [file, t, q, dtype, rows, columns]() -> Result<ProducedTensors> {
    const std::size_t words = packed_words_per_row(q, columns);
    const auto groups = static_cast<std::size_t>(columns / q.group_size);
    const auto row_count = static_cast<std::size_t>(rows);
    std::vector<std::uint32_t> packed(words);
    std::vector<float> scales(groups * row_count);
    std::vector<float> biases(groups * row_count);
    ProducedTensors out;
    out.lossless = true;
    std::vector<std::byte> codes(row_count * words * 4);
    for (std::size_t r = 0; r < row_count; ++r) {
      gguf_repack_row(*t.tensor, gguf_row(t, static_cast<std::int64_t>(r)), packed.data(), scales.data() + r * groups, biases.data() + r * groups);
      std::memcpy(codes.data() + r * words * 4, packed.data(), words * 4);
    }
    std::optional<std::vector<std::byte>> scale_bytes = encode_floats(scales, dtype, &out.lossless);
    std::optional<std::vector<std::byte>> bias_bytes = encode_floats(biases, dtype, &out.lossless);
    CHECK(scale_bytes && bias_bytes);  // the plan chose a dtype that holds them
    out.bytes = {std::move(codes), std::move(*scale_bytes), std::move(*bias_bytes)};
    return out;
  };
  return plan;
}

struct Choice {
  std::optional<AffineQuantization> quantization;  // nullopt: dense
  bool repack = false;                             // keep the codes
  DType dtype = DType::kF16;
};

Choice choose(const GgufModelTensor& t, const ConvertRequest& request) {
  Choice choice;
  choice.dtype = request.dtype.value_or(DType::kF16);
  if (t.tensor->shape.size() != 2 || request.dequantize) return choice;
  const std::optional<AffineQuantization> own = gguf_affine_equivalent(t.tensor->type);
  choice.quantization = request.quantization ? request.quantization : own;
  if (!choice.quantization) return choice;
  if (t.tensor->shape[1] % choice.quantization->group_size != 0) {
    choice.quantization.reset();  // as mlx-lm: rows that groups do not divide stay dense
    return choice;
  }
  choice.repack = own == choice.quantization;
  // Biases -8 d and -128 d of large scales overflow F16; only then this tensor keeps scales and biases in F32.
  if (choice.repack && choice.dtype == DType::kF16 && !gguf_biases_fit_f16(*t.tensor)) choice.dtype = DType::kF32;
  return choice;
}

void set_token_ids(const GgufFile& file, nlohmann::ordered_json& config) {
  const std::pair<const char*, const char*> names[] = {{"bos_token_id", "tokenizer.ggml.bos_token_id"},
                                                       {"eos_token_id", "tokenizer.ggml.eos_token_id"},
                                                       {"pad_token_id", "tokenizer.ggml.padding_token_id"}};
  for (const auto& [name, key] : names) {
    if (const Result<std::int64_t> id = file.integer(key); id.ok()) config[name] = *id;
  }
}

const char* torch_name(DType dtype) { return dtype == DType::kF32 ? "float32" : dtype == DType::kBF16 ? "bfloat16" : "float16"; }

}  // namespace

Result<ConversionPlan> plan_gguf_conversion(FileSystem& files, const ConvertRequest& request) {
  const auto file = std::make_shared<const GgufFile>(TRY(GgufFile::open(files, request.source)));
  GgufModel model = TRY(read_gguf_model(*file));
  ConversionPlan plan;
  plan.files = TRY(gguf_tokenizer_files(*file));
  plan.config = std::move(model.config);
  plan.config["torch_dtype"] = torch_name(request.dtype.value_or(DType::kF16));
  set_token_ids(*file, plan.config);

  for (const GgufModelTensor& t : model.tensors) {
    if (const Status finite = check_gguf_finite(*t.tensor); !finite.ok()) {
      return Error{finite.error().code, request.source.string() + ": " + finite.error().message};
    }
    const Choice choice = choose(t, request);
    if (!choice.quantization) {
      plan.modules.push_back(plan_dense(t.name, row_source(file, t), choice.dtype));
      continue;
    }
    const std::string module = t.name.substr(0, t.name.rfind('.'));
    plan.quantization.modules[module] = choice.quantization;
    plan.modules.push_back(choice.repack ? plan_repacked(file, t, module, *choice.quantization, choice.dtype)
                                         : plan_quantized(module, row_source(file, t), *choice.quantization, choice.dtype));
  }
  return plan;
}

}  // namespace evolora
