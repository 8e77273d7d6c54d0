// Starting the worker, the exchange of messages, and what its end means.
#include "evolve/judge/worker_connection.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/check.h"
#include "base/os_error.h"
#include "train/clock.h"

namespace evolora {
namespace {

// From the kernel: what a candidate could compute from a seed would not tie an answer to its request.
std::uint64_t fresh_nonce() {
  std::uint64_t nonce = 0;
  CHECK(::getrandom(&nonce, sizeof nonce, 0) == static_cast<ssize_t>(sizeof nonce));
  return nonce;
}

std::string meaning(int exit_status) {
  switch (exit_status - 128) {
    case SIGSYS: return "it was ended for a system call that is not allowed (abort makes one, too)";
    case SIGSEGV: return "it was ended by SIGSEGV: memory outside its arrays, the clock, or its stack";
    case SIGBUS: return "it was ended by SIGBUS";
    case SIGILL: return "it was ended by SIGILL";
    case SIGFPE: return "it was ended by SIGFPE";
    case SIGABRT: return "it aborted";
    case SIGKILL: return "it was ended by a limit (SIGKILL)";
    case SIGTRAP: return "it was ended by SIGTRAP";
    case SIGXCPU: return "it was ended by the limit of processor time";
    default: return fmt::format("it ended the process (status {})", exit_status);
  }
}

// write to a pipe whose reader may be gone: false then, and no SIGPIPE, which would end this process.
bool write_to_worker(int fd, const void* bytes, std::size_t size) {
  sigset_t pipe_signal, before;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
  const bool written = ::write(fd, bytes, size) == static_cast<ssize_t>(size);
  const int reason = errno;
  constexpr timespec kNow{};
  if (!written && reason == EPIPE && sigismember(&before, SIGPIPE) == 0) {
    while (::sigtimedwait(&pipe_signal, nullptr, &kNow) < 0 && errno == EINTR) {
    }
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return written;
}

Result<Descriptor> filters_file() {
  const std::string loading = TRY(system_call_filter(SystemCalls::kWorkerLoading));
  const std::string serving = TRY(system_call_filter(SystemCalls::kWorkerServing));
  const std::uint64_t sizes[2] = {loading.size(), serving.size()};
  std::string content(reinterpret_cast<const char*>(sizes), sizeof sizes);
  return make_memory_file("filters", content + loading + serving);
}

}  // namespace

Result<fs::path> judging_file(const char* name) {
  std::error_code failure;
  const fs::path path = fs::read_symlink("/proc/self/exe", failure).parent_path() / name;
  if (!failure && fs::exists(path, failure)) return path;
  return Error{ErrorCode::kDependency, fmt::format("{}: does not exist; it is built with evolora and must lie beside it", path.string())};
}

Result<WorkerConnection> WorkerConnection::start(SandboxRequest request, Isolation isolation, const SharedMemory& memory, double answer_seconds) {
  DescriptorPair requests = TRY(make_pipe());
  DescriptorPair replies = TRY(make_pipe());
  const Descriptor filters = TRY(filters_file());
  request.descriptors = {{requests.read_end.get(), kWorkerRequests},
                         {replies.write_end.get(), kWorkerReplies},
                         {memory.worker_inputs(), kWorkerInputs},
                         {memory.worker_outputs(), kWorkerOutputs},
                         {filters.get(), kWorkerFilters}};
  WorkerConnection worker(TRY(SandboxedProcess::start(request, isolation)), answer_seconds);
  worker.requests_ = std::move(requests.write_end);
  worker.replies_ = std::move(replies.read_end);
  requests.read_end.close();
  replies.write_end.close();
  WorkerReply hello;
  TRY(worker.read_reply(hello));
  if (hello.status == static_cast<std::uint32_t>(WorkerStatus::kCannotLoad)) {
    return worker.ended(fmt::format("the library cannot be loaded: {}", hello.text));
  }
  if (hello.status != static_cast<std::uint32_t>(WorkerStatus::kDone) || hello.nonce != 0) return worker.ended("it broke the protocol");
  worker.functions_ = hello.functions & 3U;
  if (worker.functions_ == 0) return worker.ended("the library defines no kernel, or one without its _workspace_bytes");
  return worker;
}

Error WorkerConnection::ended(const std::string& what) {
  ended_ = true;
  process_.end(0);
  return {ErrorCode::kBadData, what};
}

Status WorkerConnection::read_reply(WorkerReply& reply) {
  const double deadline = monotonic_seconds() + answer_seconds_;
  std::size_t got = 0;
  while (got < sizeof reply) {
    pollfd waiting{replies_.get(), POLLIN, 0};
    const double left = deadline - monotonic_seconds();
    const int ready = left <= 0 ? 0 : ::poll(&waiting, 1, static_cast<int>(left * 1000) + 1);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return ended(fmt::format("it did not answer within {} s", answer_seconds_));
    const ssize_t n = ::read(replies_.get(), reinterpret_cast<char*>(&reply) + got, sizeof reply - got);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      ended_ = true;
      return Error{ErrorCode::kBadData, meaning(process_.end(1))};
    }
    got += static_cast<std::size_t>(n);
  }
  reply.text[sizeof reply.text - 1] = '\0';
  return {};
}

Result<WorkerConnection::Answer> WorkerConnection::exchange(std::uint32_t command, int threads) {
  if (ended_) return Error{ErrorCode::kBadData, "it has ended before"};
  pollfd early{replies_.get(), POLLIN, 0};
  if (::poll(&early, 1, 0) > 0 && (early.revents & POLLIN) != 0) return ended("it broke the protocol: an answer without a request");
  const WorkerRequest request{.command = command, .threads = static_cast<std::uint32_t>(threads), .nonce = fresh_nonce()};
  Answer answer;
  const double start = monotonic_seconds();
  if (!write_to_worker(requests_.get(), &request, sizeof request)) {
    ended_ = true;
    return Error{ErrorCode::kBadData, meaning(process_.end(1))};
  }
  TRY(read_reply(answer.reply));
  answer.seconds = monotonic_seconds() - start;
  if (answer.reply.nonce != request.nonce) return ended("it broke the protocol: an answer to another request");
  return answer;
}

}  // namespace evolora
