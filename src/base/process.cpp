// posix_spawn with optional pipes; both pipes are drained together so that a talkative child never blocks.
#include "base/process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <limits>
#include <string>

#include "base/check.h"
#include "base/os_error.h"

extern char** environ;

namespace evolora {
namespace {

using Clock = std::chrono::steady_clock;

struct Pipe {
  int read_end = -1;
  int write_end = -1;
  ~Pipe() {
    close_end(read_end);
    close_end(write_end);
  }
  static void close_end(int& fd) {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
};

struct SpawnSetup {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  SpawnSetup() {
    CHECK(posix_spawn_file_actions_init(&actions) == 0);
    CHECK(posix_spawnattr_init(&attributes) == 0);
  }
  ~SpawnSetup() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;
};

// Points the child's descriptor at what the request wants.
Status redirect(SpawnSetup& setup, ProcessOutput output, int child_descriptor, Pipe& pipe) {
  if (output == ProcessOutput::kInherit) return {};
  if (output == ProcessOutput::kDiscard) {
    CHECK(posix_spawn_file_actions_addopen(&setup.actions, child_descriptor, "/dev/null", O_WRONLY, 0) == 0);
    return {};
  }
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return os_error("pipe", "create", errno);
  pipe.read_end = ends[0];
  pipe.write_end = ends[1];
  CHECK(posix_spawn_file_actions_adddup2(&setup.actions, pipe.write_end, child_descriptor) == 0);
  return {};
}

void keep_last(std::string& text, std::size_t limit) {
  if (text.size() > limit) text.erase(0, text.size() - limit);
}

constexpr Clock::time_point kNoDeadline = Clock::time_point::max();

// The time left as poll() counts it; -1: no limit.
int poll_milliseconds(Clock::time_point deadline) {
  if (deadline == kNoDeadline) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, std::numeric_limits<int>::max()));
}

// Reads both pipes until the child (and whoever inherited its end) has closed them. At the deadline the group is killed, which closes them.
Status drain(Pipe& out, Pipe& err, std::size_t limit, Clock::time_point deadline, pid_t group, ProcessResult& result) {
  std::vector<char> buffer(1 << 16);
  const std::array<std::pair<Pipe*, std::string*>, 2> streams = {{{&out, &result.standard_output}, {&err, &result.standard_error}}};
  while (out.read_end >= 0 || err.read_end >= 0) {
    std::array<pollfd, 2> waiting = {{{out.read_end, POLLIN, 0}, {err.read_end, POLLIN, 0}}};  // negative descriptors are skipped
    const int ready = ::poll(waiting.data(), waiting.size(), poll_milliseconds(deadline));
    if (ready < 0) {
      if (errno == EINTR) continue;
      return os_error("pipe", "wait", errno);
    }
    if (ready == 0) {
      ::kill(-group, SIGKILL);
      result.timed_out = true;
      deadline = kNoDeadline;
      continue;
    }
    for (std::size_t i = 0; i < streams.size(); ++i) {
      if (waiting[i].revents == 0) continue;
      const auto [pipe, text] = streams[i];
      const ssize_t n = ::read(pipe->read_end, buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        Pipe::close_end(pipe->read_end);
        continue;
      }
      text->append(buffer.data(), static_cast<std::size_t>(n));
      keep_last(*text, limit);
    }
  }
  return {};
}

}  // namespace

Result<ProcessResult> run_process(const ProcessRequest& request) {
  CHECK(!request.argv.empty());
  CHECK(request.timeout_seconds <= 0 || request.standard_output == ProcessOutput::kCapture || request.standard_error == ProcessOutput::kCapture);
  SpawnSetup setup;
  Pipe out;
  Pipe err;
  CHECK(posix_spawn_file_actions_addopen(&setup.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0) == 0);
  TRY(redirect(setup, request.standard_output, STDOUT_FILENO, out));
  TRY(redirect(setup, request.standard_error, STDERR_FILENO, err));

  // A signal that this program ignores or blocks would stay so in the child.
  sigset_t none;
  sigset_t defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  sigaddset(&defaults, SIGINT);
  CHECK(posix_spawnattr_setsigmask(&setup.attributes, &none) == 0);
  CHECK(posix_spawnattr_setsigdefault(&setup.attributes, &defaults) == 0);
  const bool limited = request.timeout_seconds > 0;
  CHECK(posix_spawnattr_setflags(&setup.attributes,
                                 static_cast<short>(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | (limited ? POSIX_SPAWN_SETPGROUP : 0))) == 0);

  std::vector<char*> argv;
  for (const std::string& argument : request.argv) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  pid_t pid = -1;
  const int error_number = ::posix_spawnp(&pid, argv[0], &setup.actions, &setup.attributes, argv.data(), environ);
  if (error_number != 0) {
    Error error = os_error(request.argv[0], "start", error_number);
    error.code = ErrorCode::kDependency;
    return error;
  }
  Pipe::close_end(out.write_end);
  Pipe::close_end(err.write_end);

  ProcessResult result;
  Clock::time_point deadline = kNoDeadline;
  if (limited) deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(request.timeout_seconds));
  const Status drained = drain(out, err, request.capture_limit_bytes, deadline, pid, result);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return os_error(request.argv[0], "wait for", errno);
  }
  TRY(drained);
  result.exit_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return result;
}

std::vector<char*> exec_pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace evolora
