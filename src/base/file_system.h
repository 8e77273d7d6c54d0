// The one seam to the file system. Nothing else in the project opens, writes, renames or removes files.
// Errors name the path and the operating system's reason. All paths are ordinary; symbolic links are followed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace evolora {

namespace fs = std::filesystem;

// A file's bytes mapped read-only; valid while a copy of the object lives. Cheap to copy. Thread-safe.
class MappedFile {
 public:
  MappedFile() = default;
  MappedFile(std::shared_ptr<const void> keep_alive, std::span<const std::byte> bytes) : keep_alive_(std::move(keep_alive)), bytes_(bytes) {}
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::shared_ptr<const void> keep_alive_;
  std::span<const std::byte> bytes_;
};

// Drops the whole pages inside bytes, a part of a mapped file, from the process: the next access takes them from the page cache, or reads the file
// again if the system needed the memory.
void release_mapped_pages(std::span<const std::byte> bytes);

// An open file being written from its beginning. Destroying it closes the file; nothing is promised about the data unless sync() succeeded.
class WritableFile {
 public:
  virtual ~WritableFile() = default;
  virtual Status write(std::span<const std::byte> bytes) = 0;
  virtual Status sync() = 0;   // fsync: the data is on the device
  virtual Status close() = 0;  // reports what a delayed write may only say now
};

// Thread-safe. The real one is real_file_system(); a fault-injecting twin for tests is in file_system_faults.h.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  virtual Result<std::unique_ptr<WritableFile>> create(const fs::path& path) = 0;  // truncates
  virtual Result<std::unique_ptr<WritableFile>> append(const fs::path& path) = 0;  // creates if missing
  virtual Status rename(const fs::path& from, const fs::path& to) = 0;             // replaces atomically
  virtual Status sync_directory(const fs::path& path) = 0;
  virtual Status remove(const fs::path& path) = 0;  // file or folder with all in it; missing is fine
  virtual Status create_directories(const fs::path& path) = 0;
  virtual Result<MappedFile> map(const fs::path& path) = 0;
  virtual Result<std::string> read(const fs::path& path) = 0;
  virtual Result<std::vector<std::string>> list(const fs::path& folder) = 0;  // names, sorted
  virtual bool exists(const fs::path& path) = 0;
  virtual bool is_directory(const fs::path& path) = 0;
};

FileSystem& real_file_system();

// Writes path so that at every moment, also through a crash, it holds either its old content or all of the new one:
// temporary file beside it, write, fsync, rename, fsync of the folder. On failure the temporary file is removed and the old content stays.
Status write_file_atomically(FileSystem& files, const fs::path& path, const std::function<Status(WritableFile&)>& write);
Status write_file_atomically(FileSystem& files, const fs::path& path, std::string_view content);

}  // namespace evolora
