// `evolora convert`: GGUF file or Hugging Face folder -> MLX folder, with mlx_lm.convert's flags.
#include <fmt/format.h>

#include "base/file_system.h"
#include "base/suggest.h"
#include "command.h"
#include "formats/convert.h"
#include "terminal.h"

namespace evolora {
namespace {

struct ConvertFlags {
  std::string source;
  CLI::Option* source_option = nullptr;
  std::string output = "mlx_model";
  bool quantize = false;
  int bits = 4;
  int group_size = 64;
  CLI::Option* bits_option = nullptr;
  CLI::Option* group_size_option = nullptr;
  std::string mode = "affine";
  std::string dtype;
  bool dequantize = false;
};

Result<ConvertRequest> request_of(const ConvertFlags& flags) {
  ConvertRequest request;
  if (flags.source.empty()) return Error{ErrorCode::kUsage, "nothing to convert: name a .gguf file or a model folder with --hf-path"};
  for (const std::string& other : flags.source_option->results()) {
    if (other != flags.source) return Error{ErrorCode::kUsage, fmt::format("one thing to convert at a time: got '{}' and '{}'", other, flags.source)};
  }
  if (flags.output.empty()) return Error{ErrorCode::kUsage, "--mlx-path is empty: name the folder to write"};
  request.source = flags.source;
  request.output = flags.output;
  request.dequantize = flags.dequantize;
  if (flags.quantize && flags.dequantize) return Error{ErrorCode::kUsage, "--quantize and --dequantize exclude each other"};
  if (flags.mode != "affine") return Error{ErrorCode::kUnsupported, fmt::format("--q-mode: '{}' is not supported yet; use affine", flags.mode)};
  if (!flags.quantize && flags.bits_option->count() + flags.group_size_option->count() > 0) {
    return Error{ErrorCode::kUsage, "--q-bits and --q-group-size need --quantize"};
  }
  if (flags.quantize) {
    request.quantization = AffineQuantization{flags.bits, flags.group_size};
    TRY(check_affine_quantization(*request.quantization));
  }
  if (flags.dtype.empty()) return request;
  const std::vector<std::string> names = {"float16", "bfloat16", "float32"};
  if (flags.dtype == names[0]) {
    request.dtype = DType::kF16;
  } else if (flags.dtype == names[1]) {
    request.dtype = DType::kBF16;
  } else if (flags.dtype == names[2]) {
    request.dtype = DType::kF32;
  } else {
    return Error{ErrorCode::kUsage,
                 fmt::format("--dtype: unknown value '{}'{} (one of: {})", flags.dtype, did_you_mean(flags.dtype, names), fmt::join(names, ", "))};
  }
  return request;
}

Status run_convert(const ConvertFlags& flags) {
  const ConvertRequest request = TRY(request_of(flags));
  const ConvertReport report = TRY(convert_model(real_file_system(), request));
  fmt::print("{}  {} tensors, {}: {} exactly as stored, {} rounded\n", request.output.string(), report.tensors, human_bytes(report.output_bytes),
             report.lossless_tensors, report.requantized_tensors);
  return {};
}

}  // namespace

Command add_convert_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("convert", "GGUF file or Hugging Face folder -> MLX model folder");
  auto flags = std::make_shared<ConvertFlags>();
  flags->source_option = add_value(*app, "source,--hf-path,--model", flags->source, "A .gguf file, or a folder with config.json and safetensors");
  add_value(*app, "--mlx-path", flags->output, "Folder to write; must not exist yet [mlx_model]");
  app->add_flag("-q,--quantize", flags->quantize, "Quantize the weights");
  flags->bits_option = add_value(*app, "--q-bits", flags->bits, "Bits per weight: 2, 3, 4, 5, 6 or 8 [4]");
  flags->group_size_option = add_value(*app, "--q-group-size", flags->group_size, "Weights that share a scale: 32, 64 or 128 [64]");
  add_value(*app, "--q-mode", flags->mode, "affine");
  add_value(*app, "--dtype", flags->dtype, "Type of what is not quantized: float16, bfloat16, float32");
  app->add_flag("-d,--dequantize", flags->dequantize, "Write dense weights");
  return {app, [flags] { return run_convert(*flags); }};
}

}  // namespace evolora
