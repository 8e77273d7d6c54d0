// The threads that a pack's loops run on: made once, before the pack is loaded. Waiting threads spin for a moment and then sleep, as loops of a
// kernel follow each other within microseconds.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace evolora {

class WorkerPool {
 public:
  // Returns when all threads run: what the C library does at a thread's start needs system calls that are taken away soon after.
  explicit WorkerPool(int threads);
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // How many take part from now on, the caller included; at most those that there are.
  void use(int threads);

  // evolora_context::for_each. Ends the process if a loop is started inside a loop.
  static void for_each(void* pool, std::size_t n, void (*body)(void* arg, std::size_t index, int worker), void* arg);

 private:
  void serve(int worker);
  void take(int worker);

  int used_ = 1;
  std::atomic<bool> busy_{false};
  std::atomic<std::uint32_t> started_{0};
  std::atomic<std::uint32_t> round_{0};       // changes when there is work
  std::atomic<std::uint32_t> unfinished_{0};  // threads that still work on the round
  std::atomic<std::size_t> next_{0};
  std::size_t n_ = 0;
  void (*body_)(void*, std::size_t, int) = nullptr;
  void* arg_ = nullptr;
  std::vector<std::thread> threads_;
};

}  // namespace evolora
