// A fixed number of worker threads for data-parallel loops (oneTBB underneath). The one place where parallelism comes from.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace evolora {

// Thread-compatible: one caller at a time. Loops do not nest.
class Threads {
 public:
  // count <= 0: as many as the process may use (respects the affinity mask).
  explicit Threads(int count);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  int count() const { return count_; }

  // Runs body(index, worker) for index in [0, n), each exactly once, in any order, worker in [0, count()).
  // Two bodies that run at the same time have different workers. Returns when all are done.
  // Results are reproducible if each index writes its own outputs in a fixed order, whatever thread runs it.
  void for_each(std::size_t n, const std::function<void(std::size_t index, int worker)>& body);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  int count_;
};

// Number of CPUs this process may run on.
int available_cpus();

}  // namespace evolora
