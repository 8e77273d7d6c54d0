// The real file system over POSIX calls, and atomic replacement of a file on top of any FileSystem.
#include "base/file_system.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>

#include "base/check.h"
#include "base/os_error.h"

namespace evolora {
namespace {

// Owns a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

Result<Descriptor> open_descriptor(const fs::path& path, int flags, std::string_view action) {
  int fd;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return os_error(path, action, errno);
  return Descriptor(fd);
}

int flush_to_device(int fd) {
#ifdef F_FULLFSYNC
  // On macOS fsync stops at the drive's cache.
  if (::fcntl(fd, F_FULLFSYNC) == 0) return 0;
#endif
  int rc;
  do {
    rc = ::fsync(fd);
  } while (rc != 0 && errno == EINTR);
  return rc;
}

class RealWritableFile final : public WritableFile {
 public:
  RealWritableFile(Descriptor fd, fs::path path) : fd_(std::move(fd)), path_(std::move(path)) {}

  Status write(std::span<const std::byte> bytes) override {
    CHECK(fd_.get() >= 0);
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd_.get(), bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return os_error(path_, "write", errno);
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return {};
  }

  Status sync() override {
    CHECK(fd_.get() >= 0);
    if (flush_to_device(fd_.get()) != 0) return os_error(path_, "flush to the device", errno);
    return {};
  }

  Status close() override {
    CHECK(fd_.get() >= 0);
    // After EINTR the descriptor is already gone on Linux: retrying could close a stranger's.
    if (::close(fd_.release()) != 0 && errno != EINTR) return os_error(path_, "close", errno);
    return {};
  }

 private:
  Descriptor fd_;
  fs::path path_;
};

class RealFileSystem final : public FileSystem {
 public:
  Result<std::unique_ptr<WritableFile>> create(const fs::path& path) override { return open_for_writing(path, O_TRUNC, "create"); }
  Result<std::unique_ptr<WritableFile>> append(const fs::path& path) override { return open_for_writing(path, O_APPEND, "open for appending"); }

  Status rename(const fs::path& from, const fs::path& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return os_error(from, "rename to " + to.string(), errno);
    return {};
  }

  Status sync_directory(const fs::path& path) override {
    const Descriptor fd = TRY(open_descriptor(path, O_RDONLY | O_DIRECTORY, "open folder"));
    // Some network and FUSE file systems have no fsync on folders; there is nothing more a program can do there.
    if (flush_to_device(fd.get()) != 0 && errno != EINVAL && errno != ENOTSUP) return os_error(path, "flush folder to the device", errno);
    return {};
  }

  Status remove(const fs::path& path) override {
    std::error_code error;
    fs::remove_all(path, error);
    if (error) return os_error(path, "remove", error.value());
    return {};
  }

  Status create_directories(const fs::path& path) override {
    std::error_code error;
    fs::create_directories(path, error);
    if (error) return os_error(path, "create folder", error.value());
    return {};
  }

  Result<MappedFile> map(const fs::path& path) override {
    // Opening a named pipe would wait for somebody to write into it.
    const Descriptor fd = TRY(open_descriptor(path, O_RDONLY | O_NONBLOCK, "open"));
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return os_error(path, "inspect", errno);
    if (S_ISDIR(info.st_mode)) return os_error(path, "map", EISDIR);
    if (!S_ISREG(info.st_mode)) return Error{ErrorCode::kIo, path.string() + ": cannot map: not a regular file"};
    const auto size = static_cast<std::size_t>(info.st_size);
    if (size == 0) return MappedFile();  // mmap refuses a length of 0
    void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (address == MAP_FAILED) return os_error(path, "map", errno);
    std::shared_ptr<const void> keep_alive(address, [size](const void* p) { ::munmap(const_cast<void*>(p), size); });
    return MappedFile(std::move(keep_alive), {static_cast<const std::byte*>(address), size});
  }

  Result<std::string> read(const fs::path& path) override {
    const Descriptor fd = TRY(open_descriptor(path, O_RDONLY, "open"));
    std::string content;
    std::vector<char> buffer(1 << 16);
    while (true) {
      const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return os_error(path, "read", errno);
      if (n == 0) return content;
      content.append(buffer.data(), static_cast<std::size_t>(n));
    }
  }

  Result<std::vector<std::string>> list(const fs::path& folder) override {
    std::error_code error;
    std::vector<std::string> names;
    fs::directory_iterator it(folder, error);
    for (; !error && it != fs::directory_iterator(); it.increment(error)) names.push_back(it->path().filename().string());
    if (error) return os_error(folder, "list", error.value());
    std::sort(names.begin(), names.end());
    return names;
  }

  bool exists(const fs::path& path) override {
    std::error_code error;
    return fs::exists(path, error);
  }

  bool is_directory(const fs::path& path) override {
    std::error_code error;
    return fs::is_directory(path, error);
  }

 private:
  static Result<std::unique_ptr<WritableFile>> open_for_writing(const fs::path& path, int mode, std::string_view action) {
    Descriptor fd = TRY(open_descriptor(path, O_WRONLY | O_CREAT | mode, action));
    return std::unique_ptr<WritableFile>(std::make_unique<RealWritableFile>(std::move(fd), path));
  }
};

// Unique among the threads of this process and the processes of this machine, and beside the target so that rename stays inside one file system.
fs::path temporary_beside(const fs::path& path) {
  static std::atomic<unsigned> counter{0};
  fs::path name = "." + path.filename().string() + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(counter.fetch_add(1));
  return path.parent_path() / name;
}

Status write_and_sync(FileSystem& files, const fs::path& path, const std::function<Status(WritableFile&)>& write) {
  const std::unique_ptr<WritableFile> file = TRY(files.create(path));
  TRY(write(*file));
  TRY(file->sync());
  return file->close();
}

}  // namespace

void release_mapped_pages(std::span<const std::byte> bytes) {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<std::uintptr_t>(bytes.data()) + page - 1) / page * page;
  const auto end = (reinterpret_cast<std::uintptr_t>(bytes.data()) + bytes.size()) / page * page;
  // A private mapping that nobody has written to: its pages are the file's.
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

FileSystem& real_file_system() {
  static RealFileSystem instance;
  return instance;
}

Status write_file_atomically(FileSystem& files, const fs::path& path, const std::function<Status(WritableFile&)>& write) {
  const fs::path temporary = temporary_beside(path);
  Status written = write_and_sync(files, temporary, write);
  if (written.ok()) written = files.rename(temporary, path);
  if (!written.ok()) {
    // The first error is what the user has to know; a failed clean-up adds nothing to it.
    (void)files.remove(temporary);
    return written;
  }
  return files.sync_directory(path.has_parent_path() ? path.parent_path() : fs::path("."));
}

Status write_file_atomically(FileSystem& files, const fs::path& path, std::string_view content) {
  return write_file_atomically(files, path, [&](WritableFile& file) { return file.write(std::as_bytes(std::span(content))); });
}

}  // namespace evolora
