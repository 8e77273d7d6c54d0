// Writes a conversion plan into a folder that appears as a whole.
#include "formats/convert.h"

#include <unistd.h>

#include "formats/convert_folder.h"
#include "formats/convert_gguf.h"
#include "formats/convert_plan.h"
#include "formats/json_text.h"

namespace evolora {
namespace {

Result<ConversionPlan> plan_conversion(FileSystem& files, const ConvertRequest& request) {
  if (!files.exists(request.source)) {
    return Error{ErrorCode::kNotFound, request.source.string() + ": no such file or folder; expected a .gguf file or a model folder"};
  }
  return files.is_directory(request.source) ? plan_folder_conversion(files, request) : plan_gguf_conversion(files, request);
}

Status check_request(FileSystem& files, const ConvertRequest& request) {
  if (request.quantization && request.dequantize) return Error{ErrorCode::kUsage, "convert: quantizing and dequantizing exclude each other"};
  if (request.quantization) TRY(check_affine_quantization(*request.quantization));
  if (request.dtype && !dtype_is_float(*request.dtype)) {
    return Error{ErrorCode::kUsage, "convert: dtype " + std::string(dtype_name(*request.dtype)) + " is not one of F32, F16, BF16"};
  }
  if (files.exists(request.output)) {
    return Error{ErrorCode::kUsage, request.output.string() + ": already exists; remove it or choose another output folder"};
  }
  return {};
}

Status write_weights(FileSystem& files, const fs::path& path, const ConversionPlan& plan, ConvertReport& report) {
  std::vector<TensorPlan> tensors;
  for (const ModulePlan& module : plan.modules) tensors.insert(tensors.end(), module.tensors.begin(), module.tensors.end());
  const std::map<std::string, std::string> metadata = {{"format", "mlx"}};
  report.output_bytes = TRY(compose_safetensors_header(tensors, metadata)).size();
  return write_planned_safetensors(files, path, tensors, metadata, [&](WritableFile& file) -> Status {
    for (const ModulePlan& module : plan.modules) {
      const ProducedTensors produced = TRY(module.produce());
      for (const std::vector<std::byte>& bytes : produced.bytes) {
        TRY(file.write(bytes));
        report.output_bytes += bytes.size();
      }
      ++report.tensors;
      ++(produced.lossless ? report.lossless_tensors : report.requantized_tensors);
    }
    return {};
  });
}

// mlx-lm's save_config: the quantization block twice, keys sorted.
std::string config_text(const ConversionPlan& plan) {
  nlohmann::ordered_json config = plan.config;
  if (plan.quantization.default_quantization) {
    config["quantization"] = quantization_block(plan.quantization);
    config["quantization_config"] = config["quantization"];
  }
  return python_json(with_sorted_keys(config));
}

Result<ConvertReport> write_folder(FileSystem& files, const fs::path& folder, const ConversionPlan& plan) {
  ConvertReport report;
  TRY(files.create_directories(folder));
  TRY(write_weights(files, folder / "model.safetensors", plan, report));
  TRY(write_file_atomically(files, folder / "config.json", config_text(plan)));
  for (const SmallFile& file : plan.files) {
    const fs::path path = folder / file.name;
    TRY(files.create_directories(path.parent_path()));
    TRY(write_file_atomically(files, path, file.content));
  }
  return report;
}

}  // namespace

Result<ConvertReport> convert_model(FileSystem& files, const ConvertRequest& original) {
  ConvertRequest request = original;
  request.output = fs::absolute(request.output).lexically_normal();
  if (!request.output.has_filename()) request.output = request.output.parent_path();  // "folder/"
  TRY(check_request(files, request));
  ConversionPlan plan = TRY(plan_conversion(files, request));
  if (request.quantization) {
    plan.quantization.default_quantization = request.quantization;  // as mlx-lm, also when no group divides any row
  } else {
    choose_default_quantization(plan.quantization);
  }

  const fs::path parent = request.output.parent_path();
  const fs::path staging = request.output.string() + ".tmp-" + std::to_string(::getpid());
  TRY(files.remove(staging));
  TRY(files.create_directories(parent));
  Result<ConvertReport> report = write_folder(files, staging, plan);
  if (report.ok()) {
    if (const Status renamed = files.rename(staging, request.output); !renamed.ok()) report = renamed.error();
  }
  if (!report.ok()) {
    (void)files.remove(staging);
    return report;
  }
  TRY(files.sync_directory(parent));
  return report;
}

}  // namespace evolora
