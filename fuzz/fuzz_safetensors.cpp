// Fuzz target: any bytes as a safetensors file. What the reader accepts must have tensors inside the file with the size that their shape says.
#include "base/check.h"
#include "formats/safetensors.h"
#include "one_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  evolora::OneFile files(data, size);
  const auto file = evolora::SafetensorsFile::open(files, "fuzz.safetensors");
  if (!file.ok()) {
    CHECK(!file.error().message.empty() && file.error().message.find('\n') == std::string::npos);
    return 0;
  }
  for (const evolora::TensorView& tensor : file->tensors()) {
    CHECK(tensor.bytes.size() == static_cast<std::size_t>(tensor.element_count()) * evolora::dtype_size_bytes(tensor.dtype));
    CHECK(file->find(tensor.name) == &tensor);
    evolora::touch(tensor.bytes);
  }
  return 0;
}
