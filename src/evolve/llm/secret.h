// An API key in memory. It cannot be printed, copied or compared by accident, is overwritten when it goes, and while one lives the process is not
// dumpable: no core file, and no other process of the same user reads its memory or /proc/PID/environ.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/file_system.h"

namespace evolora {

class Secret {
 public:
  Secret() = default;
  // Takes the text over and overwrites it.
  explicit Secret(std::string& text);
  Secret(Secret&& other) noexcept;
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret();

  bool empty() const { return size_ == 0; }
  // For the one place that writes the request header. Valid while the object lives.
  std::string_view reveal() const { return {bytes_.get(), size_}; }

 private:
  void clear();

  std::unique_ptr<char[]> bytes_;
  std::size_t size_ = 0;
};

// The key in the environment variable, which is overwritten and removed, so that no child inherits it and /proc/self/environ no longer shows it. Call
// before threads or children are started. kUsage: not set, empty, or with characters that a header cannot carry (the value is never in the message).
Result<Secret> take_secret_from_environment(const std::string& name);

// The key in a file that is the user's alone: a regular file, owned by this user, mode 0600 or stricter. One line; white space around it is dropped.
// kNotFound, kUsage (others may read it: says what to do; more than one line; empty), kIo.
Result<Secret> read_secret_file(const fs::path& path);

}  // namespace evolora
