// A FileSystem for tests that counts what passes through it and makes chosen operations fail as an operating system would.
#pragma once

#include <array>
#include <optional>

#include "base/file_system.h"

namespace evolora {

enum class FileOperation { kCreate, kWrite, kSync, kRename, kSyncDirectory };
inline constexpr std::size_t kFileOperationCount = 5;

// Forwards to another FileSystem. append() counts as kCreate; reading, removing and creating folders are not counted and never fail by themselves.
// Not thread-safe.
class FaultyFileSystem final : public FileSystem {
 public:
  explicit FaultyFileSystem(FileSystem& inner) : inner_(inner) {}

  // The nth (from 0) operation of this kind, counted from construction, fails with error_number (ENOSPC, EIO, EROFS, ...).
  // A failing write still stores the first half of its bytes: disks fill up in the middle of a file.
  void fail(FileOperation operation, std::size_t nth, int error_number);
  // The nth (from 0) operation of any counted kind fails.
  void fail_any(std::size_t nth, int error_number);

  std::size_t count(FileOperation operation) const { return counts_[static_cast<std::size_t>(operation)]; }
  std::size_t total_count() const { return total_; }

  Result<std::unique_ptr<WritableFile>> create(const fs::path& path) override;
  Result<std::unique_ptr<WritableFile>> append(const fs::path& path) override;
  Status rename(const fs::path& from, const fs::path& to) override;
  Status sync_directory(const fs::path& path) override;
  Status remove(const fs::path& path) override { return inner_.remove(path); }
  Status create_directories(const fs::path& path) override { return inner_.create_directories(path); }
  Result<MappedFile> map(const fs::path& path) override { return inner_.map(path); }
  Result<std::string> read(const fs::path& path) override { return inner_.read(path); }
  Result<std::vector<std::string>> list(const fs::path& folder) override { return inner_.list(folder); }
  bool exists(const fs::path& path) override { return inner_.exists(path); }
  bool is_directory(const fs::path& path) override { return inner_.is_directory(path); }

 private:
  friend class FaultyWritableFile;
  struct Fault {
    std::optional<FileOperation> operation;  // nullopt: any
    std::size_t nth;
    int error_number;
  };

  // Counts one operation; the error number it is to fail with, or 0.
  int pass(FileOperation operation);

  FileSystem& inner_;
  std::vector<Fault> faults_;
  std::array<std::size_t, kFileOperationCount> counts_{};
  std::size_t total_ = 0;
};

}  // namespace evolora
