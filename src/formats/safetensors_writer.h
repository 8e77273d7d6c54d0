// Writing a safetensors file whose tensors do not exist all at once: the header is known first, the data is produced piece by piece.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/file_system.h"

namespace evolora {

struct TensorPlan {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
};

// The first bytes of the file: length, JSON padded with spaces to a multiple of 8 (as the reference library does). Tensors lie in the order given.
// kUnsupported: a name that our reader would refuse; kTooLarge: sizes that do not fit. Names must be distinct (checked).
Result<std::string> compose_safetensors_header(const std::vector<TensorPlan>& tensors,
                                               const std::optional<std::map<std::string, std::string>>& metadata);

// Header, then whatever write_data writes, which must be exactly the planned bytes in order (checked). Atomic (write_file_atomically).
Status write_planned_safetensors(FileSystem& files, const fs::path& path, const std::vector<TensorPlan>& tensors,
                                 const std::optional<std::map<std::string, std::string>>& metadata,
                                 const std::function<Status(WritableFile&)>& write_data);

}  // namespace evolora
