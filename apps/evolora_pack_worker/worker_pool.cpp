// Work is announced by a counter that waiting threads watch; indices are handed out one by one.
#include "worker_pool.h"

#include <cstdlib>

namespace evolora {
namespace {

// Some tens of microseconds: longer than the gap between two loops of a kernel, much shorter than a kernel.
constexpr int kSpins = 20'000;

void wait_while(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

}  // namespace

WorkerPool::WorkerPool(int threads) {
  for (int worker = 1; worker < threads; ++worker) threads_.emplace_back([this, worker] { serve(worker); });
  while (started_.load(std::memory_order_acquire) != threads_.size()) std::this_thread::yield();
}

void WorkerPool::use(int threads) {
  const int most = static_cast<int>(threads_.size()) + 1;
  used_ = threads < 1 ? 1 : threads > most ? most : threads;
}

void WorkerPool::take(int worker) {
  for (std::size_t i = next_.fetch_add(1, std::memory_order_relaxed); i < n_; i = next_.fetch_add(1, std::memory_order_relaxed)) {
    body_(arg_, i, worker);
  }
}

void WorkerPool::serve(int worker) {
  std::uint32_t seen = 0;
  started_.fetch_add(1, std::memory_order_release);
  for (;;) {
    wait_while(round_, seen);
    seen = round_.load(std::memory_order_acquire);
    if (worker < used_) take(worker);
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
  }
}

void WorkerPool::for_each(void* pool, std::size_t n, void (*body)(void* arg, std::size_t index, int worker), void* arg) {
  auto& self = *static_cast<WorkerPool*>(pool);
  if (self.busy_.exchange(true, std::memory_order_acquire)) std::abort();  // loops do not nest
  self.n_ = n;
  self.body_ = body;
  self.arg_ = arg;
  self.next_.store(0, std::memory_order_relaxed);
  if (self.used_ > 1 && n > 1) {
    self.unfinished_.store(static_cast<std::uint32_t>(self.threads_.size()), std::memory_order_relaxed);
    self.round_.fetch_add(1, std::memory_order_release);
    self.round_.notify_all();
    self.take(0);
    // Only a wait for zero: the counter goes down through other values.
    for (std::uint32_t left = self.unfinished_.load(std::memory_order_acquire); left != 0; left = self.unfinished_.load(std::memory_order_acquire)) {
      wait_while(self.unfinished_, left);
    }
  } else {
    self.take(0);
  }
  self.busy_.store(false, std::memory_order_release);
}

}  // namespace evolora
