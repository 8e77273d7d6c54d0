// The one block of memory a step lives in: anonymous pages, zero cost until touched, grown only between steps.
#pragma once

#include <cstddef>

namespace evolora {

// Not thread-safe.
class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Makes at least `bytes` available; content is lost when it grows. std::bad_alloc if the system has no memory left:
  // how many bytes a run needs is the user's choice, so this is no broken invariant.
  void reserve(std::size_t bytes);
  std::byte* base() const { return base_; }  // page aligned
  std::size_t capacity_bytes() const { return capacity_bytes_; }

 private:
  std::byte* base_ = nullptr;
  std::size_t capacity_bytes_ = 0;
};

}  // namespace evolora
