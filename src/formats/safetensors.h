// safetensors (https://github.com/huggingface/safetensors): strict memory-mapped reader and atomic writer.
// The reader is a trust boundary: it accepts nothing that the reference library refuses, and checks every size before use.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_system.h"
#include "formats/tensor_view.h"

namespace evolora {

// An open file. Tensor views stay valid while any copy of the object lives. Thread-safe after open.
class SafetensorsFile {
 public:
  // Errors: kNotFound, kIo, kCorrupt (message: path, rule broken, expected and got), kUnsupported (dtype we have no name for).
  static Result<SafetensorsFile> open(FileSystem& files, const fs::path& path);

  const std::vector<TensorView>& tensors() const { return tensors_; }  // in file offset order
  const TensorView* find(std::string_view name) const;                 // nullptr if absent
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  MappedFile file_;
  std::vector<TensorView> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;
  std::map<std::string, std::string> metadata_;
};

// Writes tensors in the order given (caller sorts if a fixed order is wanted); views are read, not kept. Atomic (write_file_atomically).
// metadata: nullopt writes no "__metadata__" entry.
Status write_safetensors(FileSystem& files, const fs::path& path, const std::vector<TensorView>& tensors,
                         const std::optional<std::map<std::string, std::string>>& metadata);

}  // namespace evolora
