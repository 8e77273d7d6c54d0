// fork, exec of bubblewrap (or the program), and the end of the whole tree: killing the first process of a process namespace makes the kernel kill
// all.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "base/check.h"
#include "base/os_error.h"
#include "base/process.h"
#include "evolve/sandbox/bubblewrap.h"
#include "evolve/sandbox/sandbox.h"

namespace evolora {
namespace {

// Above all numbers that a request names, below RLIMIT_NOFILE's usual 1024.
constexpr int kParkedDescriptors = 400;
constexpr int kInfoNumber = 390;
constexpr int kFilterNumber = 391;
constexpr rlim_t kOpenFiles = 512;
constexpr rlim_t kStackBytes = rlim_t{8} << 20;

struct Limit {
  int resource;
  rlim_t value;
};

// What the child needs, made before fork: after it only calls that are safe there.
struct Plan {
  std::vector<std::string> arguments, variables;
  std::vector<char*> argv, environment;
  std::vector<std::pair<int, int>> descriptors;
  std::array<Limit, 5> limits{};
  int report = -1;
  pid_t parent = 0;
};

[[noreturn]] void become(Plan& plan) {
  ::setsid();
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  int failure = ::getppid() == plan.parent ? 0 : ESRCH;
  // All are parked out of the way first, so that no target is a source that is still needed.
  const int report = ::fcntl(plan.report, F_DUPFD_CLOEXEC, kParkedDescriptors);
  for (auto& [from, to] : plan.descriptors) {
    from = ::fcntl(from, F_DUPFD_CLOEXEC, kParkedDescriptors);
    if (from < 0) failure = errno;
  }
  for (const auto& [from, to] : plan.descriptors) {
    if (failure == 0 && ::dup2(from, to) < 0) failure = errno;
  }
  // Whatever a library left open without CLOEXEC.
  int lowest = 3;
  for (int fd = 3; fd < kParkedDescriptors; ++fd) {
    bool wanted = false;
    for (const auto& [from, to] : plan.descriptors) wanted = wanted || to == fd;
    if (!wanted) continue;
    if (fd > lowest) ::syscall(SYS_close_range, lowest, fd - 1, 0);
    lowest = fd + 1;
  }
  ::syscall(SYS_close_range, lowest, kParkedDescriptors - 1, 0);
  ::syscall(SYS_close_range, kParkedDescriptors, ~0U, 1U << 2 /* CLOSE_RANGE_CLOEXEC */);
  for (const Limit& limit : plan.limits) {
    const rlimit value{limit.value, limit.value};
    rlimit now{};
    // A lower limit that is there already stays.
    if (::getrlimit(static_cast<__rlimit_resource>(limit.resource), &now) == 0 && now.rlim_max < limit.value) continue;
    if (::setrlimit(static_cast<__rlimit_resource>(limit.resource), &value) != 0) failure = errno;
  }
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int signal_number = 1; signal_number < 32; ++signal_number) ::signal(signal_number, SIG_DFL);
  if (failure == 0) {
    ::execve(plan.argv[0], plan.argv.data(), plan.environment.data());
    failure = errno;
  }
  [[maybe_unused]] const ssize_t written = ::write(report, &failure, sizeof failure);
  ::_exit(127);
}

// {"child-pid": N, ...}, written by bubblewrap before anything else; -1 if it ended without.
int read_inside_pid(int fd) {
  std::string text;
  std::array<char, 256> buffer{};
  while (text.find('}') == std::string::npos) {
    pollfd waiting{fd, POLLIN, 0};
    const int ready = ::poll(&waiting, 1, 10'000);
    if (ready < 0 && errno == EINTR) continue;
    const ssize_t n = ready <= 0 ? 0 : ::read(fd, buffer.data(), buffer.size());
    if (n <= 0 || text.size() > 4096) break;
    text.append(buffer.data(), static_cast<std::size_t>(n));
  }
  const std::size_t at = text.find("\"child-pid\":");
  return at == std::string::npos ? -1 : std::atoi(text.c_str() + at + 12);
}

}  // namespace

Result<SandboxedProcess> SandboxedProcess::launch(const SandboxRequest& request, Isolation isolation, int out, int err) {
  CHECK(!request.argv.empty());
  SandboxedProcess process;
  process.isolated_ = isolation == Isolation::kSandbox;
  Plan plan;
  plan.descriptors = request.descriptors;
  for (const auto& [from, to] : request.descriptors) CHECK(to >= 3 && to < kInfoNumber);
  const Descriptor null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null.valid()) return os_error("/dev/null", "open", errno);
  plan.descriptors.insert(plan.descriptors.end(), {{null.get(), 0}, {out >= 0 ? out : null.get(), 1}, {err >= 0 ? err : null.get(), 2}});
  DescriptorPair report = TRY(make_pipe());
  DescriptorPair info = TRY(make_pipe());
  Descriptor filter;
  if (process.isolated_) {
    const std::string program = TRY(system_call_filter(request.system_calls));
    filter = TRY(make_memory_file("filter", program));
    plan.descriptors.insert(plan.descriptors.end(), {{info.write_end.get(), kInfoNumber}, {filter.get(), kFilterNumber}});
    plan.arguments = TRY(bubblewrap_command(request, kInfoNumber, kFilterNumber));
  } else {
    plan.arguments = request.argv;
  }
  for (const auto& [name, value] : request.environment) plan.variables.push_back(fmt::format("{}={}", name, value));
  plan.argv = exec_pointers(plan.arguments);
  plan.environment = exec_pointers(plan.variables);
  plan.limits = {{{RLIMIT_CORE, 0},
                  {RLIMIT_CPU, static_cast<rlim_t>(request.limits.cpu_seconds)},
                  {RLIMIT_AS, request.limits.address_space_bytes},
                  {RLIMIT_FSIZE, request.limits.file_bytes},
                  {RLIMIT_STACK, kStackBytes}}};
  plan.report = report.write_end.get();
  plan.parent = ::getpid();

  const pid_t pid = ::fork();
  if (pid == 0) become(plan);
  if (pid < 0) return os_error(request.argv[0], "start", errno);
  process.pid_ = pid;
  process.pid_handle_ = Descriptor(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  report.write_end.close();
  info.write_end.close();
  int failure = 0;
  ssize_t got = 0;
  do {
    got = ::read(report.read_end.get(), &failure, sizeof failure);  // ends empty when exec succeeded
  } while (got < 0 && errno == EINTR);
  if (got == static_cast<ssize_t>(sizeof failure)) {
    Error error = os_error(plan.arguments[0], "start", failure);
    error.code = ErrorCode::kDependency;
    return error;
  }
  process.inside_pid_ = process.isolated_ ? read_inside_pid(info.read_end.get()) : pid;
  return process;
}

Result<SandboxedProcess> SandboxedProcess::start(const SandboxRequest& request, Isolation isolation) { return launch(request, isolation, -1, -1); }

SandboxedProcess::SandboxedProcess(SandboxedProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      inside_pid_(other.inside_pid_),
      pid_handle_(std::move(other.pid_handle_)),
      isolated_(other.isolated_),
      exit_status_(other.exit_status_) {}

SandboxedProcess::~SandboxedProcess() {
  if (pid_ > 0) end(0);
}

void SandboxedProcess::freeze() {
  if (pid_ > 0 && exit_status_ < 0 && inside_pid_ > 0) ::kill(inside_pid_, SIGSTOP);
}

void SandboxedProcess::thaw() {
  if (pid_ > 0 && exit_status_ < 0 && inside_pid_ > 0) ::kill(inside_pid_, SIGCONT);
}

SandboxedProcess::Memory SandboxedProcess::memory() const {
  Memory out;
  if (pid_ <= 0 || exit_status_ >= 0 || inside_pid_ <= 0) return out;
  std::ifstream status(fmt::format("/proc/{}/status", inside_pid_));
  for (std::string line; std::getline(status, line);) {
    constexpr std::size_t kKilobyte = 1024;
    if (line.starts_with("VmHWM:")) out.peak_bytes = std::strtoull(line.c_str() + 6, nullptr, 10) * kKilobyte;
    if (line.starts_with("VmRSS:")) out.resident_bytes = std::strtoull(line.c_str() + 6, nullptr, 10) * kKilobyte;
  }
  return out;
}

void SandboxedProcess::restart_peak_memory() const {
  if (pid_ > 0 && exit_status_ < 0 && inside_pid_ > 0) std::ofstream(fmt::format("/proc/{}/clear_refs", inside_pid_)) << "5";
}

void SandboxedProcess::kill_all() const {
  if (inside_pid_ > 0) ::kill(inside_pid_, SIGKILL);
  if (!isolated_) ::kill(-pid_, SIGKILL);
}

bool SandboxedProcess::reap(double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::duration<double>(seconds);
  for (;;) {
    int status = 0;
    const pid_t done = ::waitpid(pid_, &status, WNOHANG);
    if (done == pid_) {
      exit_status_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
      return true;
    }
    if (done < 0 && errno != EINTR) {
      exit_status_ = 255;  // somebody else reaped it
      return true;
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    if (pid_handle_.valid()) {
      pollfd waiting{pid_handle_.get(), POLLIN, 0};
      ::poll(&waiting, 1, static_cast<int>(left));
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
}

// Of a program without a namespace: what it left in its process group. Nobody says when they are gone, so that is asked, for a while.
void SandboxedProcess::end_group() const {
  for (int i = 0; i < 200 && ::kill(-pid_, SIGKILL) == 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

int SandboxedProcess::end(double seconds) {
  if (pid_ <= 0 || exit_status_ >= 0) return exit_status_;
  const bool ended = seconds > 0 && reap(seconds);
  if (!ended) {
    kill_all();
    // bubblewrap ends when the namespace is empty, so its end proves that nothing is left.
    if (!reap(2)) {
      ::kill(pid_, SIGKILL);
      reap(2);
    }
  }
  if (!isolated_) end_group();
  return exit_status_;
}

}  // namespace evolora
