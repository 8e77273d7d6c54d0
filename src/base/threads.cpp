// Threads over a oneTBB arena of exactly count slots.
#include "base/threads.h"

#include <sched.h>

#include <algorithm>

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/partitioner.h>
#include <oneapi/tbb/task_arena.h>

namespace evolora {

struct Threads::Impl {
  explicit Impl(int count) : limit(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(std::max(count, 1))), arena(count) {}
  tbb::global_control limit;  // oneTBB would otherwise cap the arena at the machine's CPU count
  tbb::task_arena arena;
};

int available_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

Threads::Threads(int count) : count_(count > 0 ? count : available_cpus()) {
  if (count_ > 1) impl_ = std::make_unique<Impl>(count_);
}

Threads::~Threads() = default;

void Threads::for_each(std::size_t n, const std::function<void(std::size_t, int)>& body) {
  if (count_ == 1 || n <= 1) {
    for (std::size_t i = 0; i < n; ++i) body(i, 0);
    return;
  }
  impl_->arena.execute([&] {
    // Chunks of one index, handed out dynamically: kernels cut their work into few, balanced blocks already.
    tbb::parallel_for(
        tbb::blocked_range<std::size_t>(0, n, 1),
        [&](const tbb::blocked_range<std::size_t>& range) {
          const int worker = std::max(0, tbb::this_task_arena::current_thread_index());
          for (std::size_t i = range.begin(); i != range.end(); ++i) body(i, worker);
        },
        tbb::simple_partitioner());
  });
}

}  // namespace evolora
