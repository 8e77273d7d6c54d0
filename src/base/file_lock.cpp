// flock(2). A symbolic link is not followed: lock files stand in folders that others may write to.
#include "base/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>
#include <utility>

#include "base/os_error.h"

namespace evolora {

Result<std::optional<FileLock>> FileLock::try_lock(const fs::path& path) {
  int descriptor = ::open(path.c_str(), O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
  // In a sticky folder the system may refuse O_CREAT on a file that another user made.
  if (descriptor < 0 && errno == EACCES) descriptor = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (descriptor < 0) return os_error(path, "open", errno);
  FileLock lock(descriptor);
  int status = 0;
  do {
    status = ::flock(descriptor, LOCK_EX | LOCK_NB);
  } while (status != 0 && errno == EINTR);
  if (status == 0) return std::optional<FileLock>(std::move(lock));
  if (errno == EWOULDBLOCK) return std::optional<FileLock>();
  return os_error(path, "lock", errno);
}

Result<FileLock> FileLock::wait(const fs::path& path, const std::atomic<bool>* stop) {
  while (true) {
    std::optional<FileLock> lock = TRY(try_lock(path));
    if (lock) return std::move(*lock);
    if (stop != nullptr && stop->load()) return Error{ErrorCode::kInterrupted, path.string() + ": interrupted while waiting for the lock"};
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

FileLock::FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

FileLock& FileLock::operator=(FileLock&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

FileLock::~FileLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace evolora
