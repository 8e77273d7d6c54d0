// mmap'd arena.
#include "engine/arena.h"

#include <sys/mman.h>

#include <new>

#include "kernels/context.h"

namespace evolora {
namespace {
constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
}  // namespace

Arena::~Arena() {
  if (base_ != nullptr) munmap(base_, capacity_bytes_);
}

void Arena::reserve(std::size_t bytes) {
  if (bytes <= capacity_bytes_) return;
  if (base_ != nullptr) munmap(base_, capacity_bytes_);
  base_ = nullptr;
  capacity_bytes_ = 0;
  const std::size_t wanted_bytes = align_up(bytes, kPageBytes);
  void* pages = mmap(nullptr, wanted_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) throw std::bad_alloc();
  base_ = static_cast<std::byte*>(pages);
  capacity_bytes_ = wanted_bytes;
  // Fewer TLB misses in the GEMMs; only a hint.
  if (capacity_bytes_ >= 4 * kHugePageBytes) madvise(base_, capacity_bytes_, MADV_HUGEPAGE);
}

}  // namespace evolora
