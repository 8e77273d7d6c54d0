// Reader: the checked header laid over the mapped file.
#include "formats/safetensors.h"

#include "formats/safetensors_header.h"

namespace evolora {

Result<SafetensorsFile> SafetensorsFile::open(FileSystem& files, const fs::path& path) {
  SafetensorsFile result;
  result.file_ = TRY(files.map(path));
  const std::span<const std::byte> bytes = result.file_.bytes();
  SafetensorsHeader header = TRY(parse_safetensors_header({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.string()));
  result.metadata_ = std::move(header.metadata);
  result.tensors_.reserve(header.entries.size());
  for (SafetensorsEntry& entry : header.entries) {
    const std::span<const std::byte> data = bytes.subspan(header.data_start + entry.begin, entry.end - entry.begin);
    result.index_.emplace(entry.name, result.tensors_.size());
    result.tensors_.push_back({std::move(entry.name), entry.dtype, std::move(entry.shape), data});
  }
  return result;
}

const TensorView* SafetensorsFile::find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

}  // namespace evolora
