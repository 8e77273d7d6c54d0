// A FileSystem in which every path is one file with the fuzzer's bytes. It cannot be written to.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/file_system.h"

namespace evolora {

class OneFile final : public FileSystem {
 public:
  // Copies the bytes to a heap block of exactly their size, so that the address sanitizer sees every read past the end.
  OneFile(const std::uint8_t* data, std::size_t size) : bytes_(new std::byte[size]), size_(size) {
    if (size > 0) std::memcpy(bytes_.get(), data, size);
  }

  Result<MappedFile> map(const fs::path& /*path*/) override { return MappedFile(bytes_, {bytes_.get(), size_}); }
  Result<std::string> read(const fs::path& /*path*/) override { return std::string(reinterpret_cast<const char*>(bytes_.get()), size_); }
  bool exists(const fs::path& /*path*/) override { return true; }
  bool is_directory(const fs::path& /*path*/) override { return false; }
  Result<std::vector<std::string>> list(const fs::path& /*folder*/) override { return std::vector<std::string>(); }

  Result<std::unique_ptr<WritableFile>> create(const fs::path& /*path*/) override { return read_only(); }
  Result<std::unique_ptr<WritableFile>> append(const fs::path& /*path*/) override { return read_only(); }
  Status rename(const fs::path& /*from*/, const fs::path& /*to*/) override { return read_only(); }
  Status sync_directory(const fs::path& /*path*/) override { return read_only(); }
  Status remove(const fs::path& /*path*/) override { return read_only(); }
  Status create_directories(const fs::path& /*path*/) override { return read_only(); }

 private:
  static Error read_only() { return {ErrorCode::kIo, "the fuzzer's file system is read-only"}; }

  std::shared_ptr<std::byte[]> bytes_;
  std::size_t size_;
};

// Reads the first and last byte of a view: a view that leaves the file is a crash here, not later.
inline void touch(std::span<const std::byte> bytes) {
  volatile std::byte sink{};
  if (bytes.empty()) return;
  sink = bytes.front();
  sink = bytes.back();
  static_cast<void>(sink);
}

}  // namespace evolora
