// A nameless file for data that need not outlive the process: written and read at offsets, gone when closed, whatever happens to the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/file_system.h"

namespace evolora {

// Not thread-safe.
class ScratchFile {
 public:
  // In the file system of folder, which must exist. kIo naming the folder and the reason.
  static Result<ScratchFile> create(const fs::path& folder);
  ScratchFile(ScratchFile&& other) noexcept;
  ScratchFile& operator=(ScratchFile&&) = delete;
  ~ScratchFile();

  Status write_at(std::uint64_t offset, std::span<const std::byte> bytes);
  Status read_at(std::uint64_t offset, std::span<std::byte> bytes);  // all of them, or kIo

 private:
  explicit ScratchFile(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace evolora
