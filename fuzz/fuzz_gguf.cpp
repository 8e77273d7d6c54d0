// Fuzz target: any bytes as a GGUF file. What the reader accepts must have tensors inside the file with the size that type and shape say.
#include "base/check.h"
#include "formats/gguf.h"
#include "one_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  evolora::OneFile files(data, size);
  const auto file = evolora::GgufFile::open(files, "fuzz.gguf");
  if (!file.ok()) {
    CHECK(!file.error().message.empty() && file.error().message.find('\n') == std::string::npos);
    return 0;
  }
  for (const evolora::GgufTensor& tensor : file->tensors()) {
    std::size_t elements = 1;
    for (const std::int64_t d : tensor.shape) elements *= static_cast<std::size_t>(d);
    CHECK(tensor.bytes.size() == elements / evolora::gguf_block_elements(tensor.type) * evolora::gguf_block_bytes(tensor.type));
    evolora::touch(tensor.bytes);
  }
  const auto names = file->strings("tokenizer.ggml.tokens");
  if (names.ok()) {
    for (const std::string_view name : **names) evolora::touch(std::as_bytes(std::span(name)));
  }
  return 0;
}
