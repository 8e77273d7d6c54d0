// pipe2 and memfd_create.
#include "evolve/sandbox/descriptor.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/os_error.h"

namespace evolora {

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void Descriptor::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Result<DescriptorPair> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return os_error("pipe", "create", errno);
  DescriptorPair pair;
  pair.read_end = Descriptor(ends[0]);
  pair.write_end = Descriptor(ends[1]);
  return pair;
}

Result<Descriptor> make_memory_file(const char* name) {
  Descriptor file(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file.valid()) return os_error(name, "create a file in memory", errno);
  return file;
}

Result<Descriptor> make_memory_file(const char* name, std::string_view text) {
  Descriptor file = TRY(make_memory_file(name));
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = ::pwrite(file.get(), text.data() + done, text.size() - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return os_error(name, "write a file in memory", errno);
    done += static_cast<std::size_t>(n);
  }
  return file;
}

}  // namespace evolora
