// Exclusive advisory locks between processes (flock): one writer of a folder, one timed process of a machine. The kernel drops a lock when its owner
// ends, however it ends, so none is ever stale.
#pragma once

#include <atomic>
#include <optional>

#include "base/file_system.h"

namespace evolora {

// Holds the lock until destroyed. Movable.
class FileLock {
 public:
  // Nothing: another process holds it. The file is made if missing and never removed. Errors: kIo naming the path.
  static Result<std::optional<FileLock>> try_lock(const fs::path& path);
  // Waits for it, looking ten times a second. kInterrupted when stop (may be null) becomes true.
  static Result<FileLock> wait(const fs::path& path, const std::atomic<bool>* stop);

  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&& other) noexcept;
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_ = -1;
};

}  // namespace evolora
