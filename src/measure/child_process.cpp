// fork, exec, pidfd and wait4. VmHWM is polled beside ru_maxrss, because the latter starts at what this process had in memory when it forked.
#include "measure/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <thread>

#include "base/check.h"
#include "base/os_error.h"
#include "base/process.h"
#include "train/clock.h"
#include "train/memory_meter.h"

extern char** environ;

namespace evolora {
namespace {

constexpr int kPollMilliseconds = 50;  // a reading of /proc takes about 20 us: less than a thousandth of one core
constexpr double kGraceSeconds = 2;

std::vector<std::string> merged_environment(const std::map<std::string, std::string>& added) {
  std::vector<std::string> out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!added.contains(text.substr(0, text.find('=')))) out.push_back(text);
  }
  for (const auto& [name, value] : added) out.push_back(name + "=" + value);
  return out;
}

// In the child, between fork and exec: only calls that are safe there. Reports errno through the pipe.
[[noreturn]] void become(char* const* argv, char* const* environment, const char* out, const char* err, int report, pid_t parent) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  int failure = ::getppid() == parent ? 0 : ESRCH;
  const int in_fd = ::open("/dev/null", O_RDONLY);
  const int out_fd = ::open(out, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  const int err_fd = ::open(err, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (in_fd < 0 || out_fd < 0 || err_fd < 0) failure = errno;
  if (failure == 0 && (::dup2(in_fd, STDIN_FILENO) < 0 || ::dup2(out_fd, STDOUT_FILENO) < 0 || ::dup2(err_fd, STDERR_FILENO) < 0)) failure = errno;
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int signal_number : {SIGINT, SIGTERM, SIGPIPE}) ::signal(signal_number, SIG_DFL);
  if (failure == 0) {
    ::execvpe(argv[0], argv, environment);
    failure = errno;
  }
  [[maybe_unused]] const ssize_t written = ::write(report, &failure, sizeof failure);
  ::_exit(127);
}

struct PolledMemory {
  std::size_t peak_bytes = 0;  // VmHWM
  std::size_t now_bytes = 0;   // VmRSS, which the kernel lists after it
};

// Of the process, or of a child of its that has more: a sandbox is a small process around the one that works. depth: generations that are looked at.
PolledMemory polled_memory(pid_t pid, int depth = 3) {
  PolledMemory memory;
  const auto kilobytes = [](const std::string& line) { return static_cast<std::size_t>(std::strtoull(line.c_str() + 6, nullptr, 10)) * 1024; };
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) memory.peak_bytes = kilobytes(line);
    if (line.rfind("VmRSS:", 0) != 0) continue;
    memory.now_bytes = kilobytes(line);
    break;
  }
  if (depth == 0) return memory;
  const std::string id = std::to_string(pid);
  std::ifstream children("/proc/" + id + "/task/" + id + "/children");
  for (pid_t child = 0; children >> child;) {
    const PolledMemory of_child = polled_memory(child, depth - 1);
    memory.peak_bytes = std::max(memory.peak_bytes, of_child.peak_bytes);
    memory.now_bytes = std::max(memory.now_bytes, of_child.now_bytes);
  }
  return memory;
}

double seconds_of(const timeval& time) { return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec); }

struct Waiter {
  pid_t pid;
  int pidfd;
  int status = 0;
  rusage usage{};

  // Waits up to a poll interval; true once the child is gone.
  Result<bool> gone() {
    if (pidfd >= 0) {
      pollfd waiting{pidfd, POLLIN, 0};
      ::poll(&waiting, 1, kPollMilliseconds);
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    const pid_t done = ::wait4(pid, &status, WNOHANG, &usage);
    if (done < 0 && errno != EINTR) return os_error("trial", "wait for", errno);
    return done == pid;
  }
};

}  // namespace

Result<ChildResult> run_measured(const ChildRequest& request) {
  CHECK(!request.argv.empty());
  std::vector<std::string> arguments = request.argv;
  std::vector<std::string> variables = merged_environment(request.environment);
  const std::vector<char*> argv = exec_pointers(arguments);
  const std::vector<char*> environment = exec_pointers(variables);
  std::array<int, 2> report{};
  if (::pipe2(report.data(), O_CLOEXEC) != 0) return os_error("pipe", "create", errno);
  const std::size_t own_peak = process_memory().peak_rss_bytes;
  const pid_t parent = ::getpid();

  ChildResult result;
  const double start = monotonic_seconds();
  const pid_t pid = ::fork();
  if (pid == 0) become(argv.data(), environment.data(), request.standard_output.c_str(), request.standard_error.c_str(), report[1], parent);
  const int fork_error = errno;
  ::close(report[1]);
  if (pid < 0) {
    ::close(report[0]);
    return os_error(request.argv[0], "start", fork_error);
  }
  ::setpgid(pid, pid);  // in both, so that it holds before either goes on
  int failure = 0;
  ssize_t got = 0;
  do {
    got = ::read(report[0], &failure, sizeof failure);  // ends empty when exec succeeded
  } while (got < 0 && errno == EINTR);
  ::close(report[0]);

  Waiter waiter{pid, static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
  MemoryTimeline timeline;
  double asked_to_end = 0;
  for (;;) {
    const auto gone = waiter.gone();
    const double now = monotonic_seconds();
    if (!gone.ok() || *gone) {
      result.wall_seconds = now - start;
      if (waiter.pidfd >= 0) ::close(waiter.pidfd);
      if (!gone.ok()) return gone.error();
      break;
    }
    const PolledMemory memory = polled_memory(pid);
    result.polled_rss_bytes = std::max(result.polled_rss_bytes, memory.peak_bytes);
    if (memory.now_bytes > 0) timeline.add(now - start, memory.now_bytes);
    result.timed_out = result.timed_out || (request.timeout_seconds > 0 && now - start > request.timeout_seconds);
    result.stopped = result.stopped || (request.stop != nullptr && request.stop->load());
    if (!result.timed_out && !result.stopped) continue;
    if (asked_to_end == 0) {
      asked_to_end = now;
      ::kill(-pid, SIGTERM);
    } else if (now - asked_to_end > kGraceSeconds) {
      ::kill(-pid, SIGKILL);
    }
  }
  ::kill(-pid, SIGKILL);  // descendants that stayed behind must not run into the next trial
  if (got == static_cast<ssize_t>(sizeof failure)) {
    Error error = os_error(request.argv[0], "start", failure);
    error.code = ErrorCode::kDependency;
    return error;
  }
  result.exit_status = WIFSIGNALED(waiter.status) ? 128 + WTERMSIG(waiter.status) : WEXITSTATUS(waiter.status);
  result.cpu_seconds = seconds_of(waiter.usage.ru_utime) + seconds_of(waiter.usage.ru_stime);
  result.memory = timeline.points();
  result.involuntary_switches = waiter.usage.ru_nivcsw;
  result.major_faults = waiter.usage.ru_majflt;
  const auto accounted = static_cast<std::size_t>(waiter.usage.ru_maxrss) * 1024;
  // exec keeps the high-water mark of the memory it replaces, which was a copy of ours. Above that the kernel's figure is the child's own; below it,
  // the last VmHWM that was seen is nearer, if the child lived long enough to be seen.
  const bool own = accounted > own_peak || result.polled_rss_bytes == 0;
  result.peak_rss_bytes = own ? accounted : result.polled_rss_bytes;
  return result;
}

}  // namespace evolora
