// A file descriptor that is closed with its owner, and pipes and memory files made of them. All are closed in programs that are started (CLOEXEC)
// unless somebody hands them on.
#pragma once

#include <string_view>
#include <utility>

#include "base/result.h"

namespace evolora {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor() { close(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  void close();

 private:
  int fd_ = -1;
};

struct DescriptorPair {
  Descriptor read_end;
  Descriptor write_end;
};
Result<DescriptorPair> make_pipe();

// A nameless file in memory. name is seen in /proc only.
Result<Descriptor> make_memory_file(const char* name);
// One that holds text, at its beginning.
Result<Descriptor> make_memory_file(const char* name, std::string_view text);

}  // namespace evolora
