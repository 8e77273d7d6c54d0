// Starting the worker, the exchange of messages, and what its end means.
#include "evolve/judge/worker_runner.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>

#include "base/check.h"
#include "base/os_error.h"
#include "evolve/sandbox/worker_protocol.h"

namespace evolora {
namespace {

double now_seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

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

Result<std::unique_ptr<WorkerRunner>> WorkerRunner::start(const fs::path& library, const WorkerOptions& options) {
  const fs::path worker = TRY(judging_file("evolora_pack_worker"));
  SharedCall call = TRY(SharedCall::create(options.input_bytes, options.output_bytes));
  DescriptorPair requests = TRY(make_pipe());
  DescriptorPair replies = TRY(make_pipe());
  const Descriptor filters = TRY(filters_file());

  SandboxRequest request;
  request.argv = {worker.string(),
                  library.string(),
                  std::to_string(options.threads),
                  std::to_string(call.input_bytes()),
                  std::to_string(call.output_bytes()),
                  options.trust == PackTrust::kOwn ? "trusted" : "strict"};
  request.mounts = {{worker}, {library}};
  request.system_calls = SystemCalls::kWorkerStart;
  request.limits.cpu_seconds = 600;  // of all calls; one call is limited by call_seconds
  request.limits.file_bytes = 0;
  request.limits.tmp_bytes = 1 << 20;
  // glibc reserves 64 MiB per thread for its heaps, and a thread has 8 MiB of stack.
  request.limits.address_space_bytes =
      call.input_bytes() + call.output_bytes() + (std::size_t{1} << 30) + static_cast<std::size_t>(options.threads) * (72 << 20);
  request.descriptors = {{requests.read_end.get(), kWorkerRequests},
                         {replies.write_end.get(), kWorkerReplies},
                         {call.inputs(), kWorkerInputs},
                         {call.outputs(), kWorkerOutputs},
                         {filters.get(), kWorkerFilters}};
  SandboxedProcess process = TRY(SandboxedProcess::start(request, options.isolation));
  std::unique_ptr<WorkerRunner> runner(new WorkerRunner(std::move(call), std::move(process), options));
  runner->requests_ = std::move(requests.write_end);
  runner->replies_ = std::move(replies.read_end);
  requests.read_end.close();
  replies.write_end.close();
  WorkerReply hello;
  TRY(runner->read_reply(hello, options.call_seconds));
  if (hello.status == static_cast<std::uint32_t>(WorkerStatus::kCannotLoad)) {
    hello.text[sizeof hello.text - 1] = '\0';
    return runner->ended(fmt::format("the library cannot be loaded: {}", hello.text));
  }
  if (hello.status != static_cast<std::uint32_t>(WorkerStatus::kDone) || hello.nonce != 0) return runner->ended("it broke the protocol");
  runner->functions_ = hello.functions & 3U;
  if (runner->functions_ == 0) return runner->ended("the library defines no kernel, or one without its _workspace_bytes");
  return runner;
}

Error WorkerRunner::ended(const std::string& what) {
  ended_ = true;
  process_.end(0);
  return {ErrorCode::kBadData, what};
}

Status WorkerRunner::read_reply(WorkerReply& reply, double seconds) {
  const double deadline = now_seconds() + seconds;
  std::size_t got = 0;
  while (got < sizeof reply) {
    pollfd waiting{replies_.get(), POLLIN, 0};
    const double left = deadline - now_seconds();
    const int ready = left <= 0 ? 0 : ::poll(&waiting, 1, static_cast<int>(left * 1000) + 1);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return ended(fmt::format("it did not answer within {} s", seconds));
    const ssize_t n = ::read(replies_.get(), reinterpret_cast<char*>(&reply) + got, sizeof reply - got);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      ended_ = true;
      return Error{ErrorCode::kBadData, meaning(process_.end(1))};
    }
    got += static_cast<std::size_t>(n);
  }
  return {};
}

Result<double> WorkerRunner::exchange(std::uint32_t command, int threads) {
  if (ended_) return Error{ErrorCode::kBadData, "it has ended before"};
  pollfd early{replies_.get(), POLLIN, 0};
  if (::poll(&early, 1, 0) > 0 && (early.revents & POLLIN) != 0) return ended("it broke the protocol: an answer without a request");
  const WorkerRequest request{.command = command, .threads = static_cast<std::uint32_t>(threads), .nonce = fresh_nonce()};
  WorkerReply reply;
  const double start = now_seconds();
  if (!write_to_worker(requests_.get(), &request, sizeof request)) {
    ended_ = true;
    return Error{ErrorCode::kBadData, meaning(process_.end(1))};
  }
  TRY(read_reply(reply, options_.call_seconds));
  const double seconds = now_seconds() - start;
  if (reply.nonce != request.nonce) return ended("it broke the protocol: an answer to another request");
  switch (static_cast<WorkerStatus>(reply.status)) {
    case WorkerStatus::kDone: return seconds;
    case WorkerStatus::kNoFunction: return ended("the library does not define the kernel");
    case WorkerStatus::kWorkspaceTooBig: return ended("it asked for a larger workspace than 256 MiB");
    case WorkerStatus::kCannotLoad: break;
  }
  return ended("it broke the protocol: an answer that does not exist");
}

Result<double> WorkerRunner::timed_run(LoraDirection direction, const LoraProblem& problem, int threads, LoraOutputs& outputs) {
  CHECK(threads >= 1 && threads <= options_.threads);
  if (ended_) return Error{ErrorCode::kBadData, "it has ended before"};
  TRY(call_.place(direction, problem, outputs));
  TRY(exchange(static_cast<std::uint32_t>(WorkerCommand::kPrepare), threads));
  const double seconds = TRY(exchange(static_cast<std::uint32_t>(WorkerCommand::kRun), threads));
  process_.freeze();
  const auto touched = call_.violation(problem);
  call_.fetch(outputs);
  process_.thaw();
  if (touched.has_value()) return ended(*touched);
  return seconds;
}

Status WorkerRunner::run(LoraDirection direction, LoraProblem& problem, int threads, LoraOutputs& outputs) {
  TRY(timed_run(direction, problem, threads, outputs));
  return {};
}

}  // namespace evolora
