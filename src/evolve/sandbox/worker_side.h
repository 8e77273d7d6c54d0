// The worker's half of worker_protocol.h, for worker programs: messages, the filters it narrows itself with, the shared files. Needs the C library
// only. What fails here ends the worker: the judge sees that it is gone.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "evolve/sandbox/worker_protocol.h"

namespace evolora {

[[noreturn]] inline void give_up_worker() {
  constexpr int kBroken = 3;
  ::_exit(kBroken);
}

// False when the judge is gone.
inline bool read_request(WorkerRequest& request) {
  auto* at = reinterpret_cast<char*>(&request);
  std::size_t size = sizeof request;
  while (size > 0) {
    const ssize_t n = ::read(kWorkerRequests, at, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

// One write: a reply is shorter than PIPE_BUF, so it arrives whole.
inline void send_reply(const WorkerReply& reply) {
  if (::write(kWorkerReplies, &reply, sizeof reply) != static_cast<ssize_t>(sizeof reply)) give_up_worker();
}

// Says hello, and then answers requests until the judge is gone: serve fills a reply that says kDone and has its nonce.
template <typename Serve>
[[noreturn]] void answer_requests(const WorkerReply& hello, const Serve& serve) {
  send_reply(hello);
  WorkerRequest request;
  while (read_request(request)) {
    WorkerReply reply;
    reply.status = static_cast<std::uint32_t>(WorkerStatus::kDone);
    reply.nonce = request.nonce;
    serve(request, reply);
    send_reply(reply);
  }
  ::_exit(0);  // no destructors: the pack's would run with them
}

struct WorkerFilters {
  char* begin = nullptr;
  std::uint64_t loading_bytes = 0;
  std::uint64_t serving_bytes = 0;
};

inline WorkerFilters read_worker_filters() {
  std::uint64_t sizes[2];
  if (::pread(kWorkerFilters, sizes, sizeof sizes, 0) != static_cast<ssize_t>(sizeof sizes)) give_up_worker();
  const std::uint64_t total = sizes[0] + sizes[1];
  WorkerFilters filters{static_cast<char*>(std::malloc(total)), sizes[0], sizes[1]};
  if (filters.begin == nullptr || ::pread(kWorkerFilters, filters.begin, total, sizeof sizes) != static_cast<ssize_t>(total)) give_up_worker();
  return filters;
}

// Before threads are started: no privilege can be gained any more, and threads started from here on get SIGSEGV when they look at the time stamp
// counter.
inline void prepare_to_narrow() {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) give_up_worker();
  (void)::prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0);
}

// For all threads.
inline void narrow_worker(char* program, std::uint64_t bytes) {
  sock_fprog filter{static_cast<unsigned short>(bytes / sizeof(sock_filter)), reinterpret_cast<sock_filter*>(program)};
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) != 0) give_up_worker();
}

inline char* map_worker_file(int fd, std::size_t bytes, int protection) {
  void* mapped = ::mmap(nullptr, bytes, protection, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) give_up_worker();
  return static_cast<char*>(mapped);
}

}  // namespace evolora
