// SHA-256 digests as 64 lower-case hexadecimal digits (OpenSSL underneath).
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "base/file_system.h"

namespace evolora {

// Digest of bytes that come in pieces.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(std::span<const std::byte> bytes);
  std::string hex();  // ends the digest: call once, last

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

std::string sha256_hex(std::span<const std::byte> bytes);
std::string sha256_hex(std::string_view text);

// Digest of a whole file. Errors as FileSystem::map.
Result<std::string> sha256_file_hex(FileSystem& files, const fs::path& path);

}  // namespace evolora
