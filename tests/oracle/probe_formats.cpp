// Probe verbs of the file formats.
//   quantize IN OUT BITS GROUP      safetensors: every tensor NAME of IN -> NAME.weight, NAME.scales, NAME.biases in OUT
//   dequantize IN OUT BITS GROUP    the way back: NAME.weight, .scales, .biases -> NAME
//   safetensors FOLDER              "accept NAME" or "reject NAME: message" for every file of the folder, sorted
//   convert SOURCE OUTPUT [quantize BITS GROUP | dequantize] [F32|F16|BF16]
//   adapter_config IN.json FOLDER   writes FOLDER/adapter_config.json with IN's content
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "formats/adapter_files.h"
#include "formats/convert.h"
#include "formats/json_text.h"
#include "formats/quantization.h"
#include "formats/safetensors.h"
#include "formats/safetensors_header.h"
#include "probe_verbs.h"

namespace evolora::probe {
namespace {

FileSystem& files = real_file_system();

int finish(const Status& status) {
  if (status.ok()) return 0;
  std::fprintf(stderr, "evolora_probe: %s: %s\n", std::string(error_code_name(status.error().code)).c_str(), status.error().message.c_str());
  return error_exit_status(status.error().code);
}

int usage(const char* text) {
  std::fprintf(stderr, "usage: evolora_probe %s\n", text);
  return 2;
}

// Tensors under construction with the bytes they own.
struct OwnedTensors {
  std::vector<TensorView> views;
  std::vector<std::vector<std::byte>> storage;

  std::byte* add(const std::string& name, DType dtype, std::vector<std::int64_t> shape) {
    TensorView view{name, dtype, std::move(shape), {}};
    std::vector<std::byte>& bytes = storage.emplace_back(static_cast<std::size_t>(view.element_count()) * dtype_size_bytes(dtype));
    view.bytes = bytes;
    views.push_back(std::move(view));
    return bytes.data();
  }
};

Status quantize_file(const fs::path& in, const fs::path& out, const AffineQuantization& q) {
  TRY(check_affine_quantization(q));
  const SafetensorsFile file = TRY(SafetensorsFile::open(files, in));
  OwnedTensors result;
  for (const TensorView& t : file.tensors()) {
    const std::int64_t rows = t.shape.at(0);
    const std::int64_t columns = t.shape.at(1);
    const std::size_t words = packed_words_per_row(q, columns);
    std::vector<std::uint32_t> packed(words * static_cast<std::size_t>(rows));
    std::byte* weight = result.add(t.name + ".weight", DType::kU32, {rows, static_cast<std::int64_t>(words)});
    std::byte* scales = result.add(t.name + ".scales", t.dtype, {rows, columns / q.group_size});
    std::byte* biases = result.add(t.name + ".biases", t.dtype, {rows, columns / q.group_size});
    affine_quantize(q, t.dtype, t.bytes.data(), rows, columns, packed.data(), scales, biases);
    std::memcpy(weight, packed.data(), packed.size() * 4);
  }
  return write_safetensors(files, out, result.views, std::nullopt);
}

Status dequantize_file(const fs::path& in, const fs::path& out, const AffineQuantization& q) {
  TRY(check_affine_quantization(q));
  const SafetensorsFile file = TRY(SafetensorsFile::open(files, in));
  OwnedTensors result;
  for (const TensorView& weight : file.tensors()) {
    if (!weight.name.ends_with(".weight")) continue;
    const std::string name = weight.name.substr(0, weight.name.size() - 7);
    const TensorView* scales = file.find(name + ".scales");
    const TensorView* biases = file.find(name + ".biases");
    if (scales == nullptr || biases == nullptr) return Error{ErrorCode::kBadData, name + ": no scales or biases"};
    const std::int64_t columns = scales->shape.at(1) * q.group_size;
    std::vector<std::uint32_t> packed(weight.bytes.size() / 4);
    std::memcpy(packed.data(), weight.bytes.data(), packed.size() * 4);
    std::byte* values = result.add(name, scales->dtype, {weight.shape.at(0), columns});
    affine_dequantize(q, scales->dtype, packed.data(), scales->bytes.data(), biases->bytes.data(), weight.shape.at(0), columns, values);
  }
  return write_safetensors(files, out, result.views, std::nullopt);
}

Status judge_folder(const fs::path& folder) {
  for (const std::string& name : TRY(files.list(folder))) {
    const auto file = SafetensorsFile::open(files, folder / name);
    if (file.ok()) {
      std::printf("accept %s\n", name.c_str());
    } else {
      std::printf("reject %s: %s\n", name.c_str(), file.error().message.c_str());
    }
  }
  return {};
}

Result<ConvertRequest> parse_convert(int argc, char** argv) {
  ConvertRequest request;
  request.source = argv[1];
  request.output = argv[2];
  for (int i = 3; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "dequantize") {
      request.dequantize = true;
    } else if (word == "quantize" && i + 2 < argc) {
      request.quantization = AffineQuantization{.bits = std::atoi(argv[i + 1]), .group_size = std::atoi(argv[i + 2])};
      i += 2;
    } else if (const std::optional<DType> dtype = dtype_from_name(word)) {
      request.dtype = dtype;
    } else {
      return Error{ErrorCode::kUsage, "convert: unknown word '" + word + "'"};
    }
  }
  return request;
}

Status convert(int argc, char** argv) {
  const ConvertRequest request = TRY(parse_convert(argc, argv));
  const ConvertReport report = TRY(convert_model(files, request));
  std::printf("{\"tensors\": %zu, \"output_bytes\": %zu, \"lossless\": %zu, \"requantized\": %zu}\n", report.tensors, report.output_bytes,
              report.lossless_tensors, report.requantized_tensors);
  return {};
}

Status copy_adapter_config(const fs::path& in, const fs::path& folder) {
  return write_adapter_config(files, folder, TRY(read_json_object(files, in)));
}

}  // namespace

int probe_quantize(int argc, char** argv) {
  if (argc != 5) return usage("quantize IN OUT BITS GROUP");
  return finish(quantize_file(argv[1], argv[2], {.bits = std::atoi(argv[3]), .group_size = std::atoi(argv[4])}));
}

int probe_dequantize(int argc, char** argv) {
  if (argc != 5) return usage("dequantize IN OUT BITS GROUP");
  return finish(dequantize_file(argv[1], argv[2], {.bits = std::atoi(argv[3]), .group_size = std::atoi(argv[4])}));
}

int probe_safetensors(int argc, char** argv) {
  if (argc != 2) return usage("safetensors FOLDER");
  return finish(judge_folder(argv[1]));
}

int probe_convert(int argc, char** argv) {
  if (argc < 3) return usage("convert SOURCE OUTPUT [quantize BITS GROUP | dequantize] [F32|F16|BF16]");
  return finish(convert(argc, argv));
}

int probe_adapter_config(int argc, char** argv) {
  if (argc != 3) return usage("adapter_config IN.json FOLDER");
  return finish(copy_adapter_config(argv[1], argv[2]));
}

}  // namespace evolora::probe
