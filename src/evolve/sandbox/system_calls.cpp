// The lists. Names that this machine's kernel does not have are skipped.
#include "evolve/sandbox/system_calls.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <initializer_list>
#include <memory>

#include "evolve/sandbox/descriptor.h"
#include "evolve/sandbox/worker_protocol.h"

namespace evolora {
namespace {

// Memory, waiting, itself.
constexpr std::initializer_list<const char*> kCore = {"brk",         "munmap", "mremap",     "madvise",   "futex",  "rt_sigreturn", "rt_sigprocmask",
                                                      "sched_yield", "exit",   "exit_group", "getrandom", "gettid", "getpid",       "restart_syscall",
                                                      "membarrier"};
// Starting up, reading files.
constexpr std::initializer_list<const char*> kStart = {"read",
                                                       "readv",
                                                       "write",
                                                       "writev",
                                                       "pread64",
                                                       "close",
                                                       "fstat",
                                                       "newfstatat",
                                                       "stat",
                                                       "lstat",
                                                       "statx",
                                                       "lseek",
                                                       "mmap",
                                                       "mprotect",
                                                       "rt_sigaction",
                                                       "sigaltstack",
                                                       "sched_getaffinity",
                                                       "arch_prctl",
                                                       "set_tid_address",
                                                       "set_robust_list",
                                                       "rseq",
                                                       "prlimit64",
                                                       "getrlimit",
                                                       "access",
                                                       "faccessat",
                                                       "faccessat2",
                                                       "readlink",
                                                       "readlinkat",
                                                       "getcwd",
                                                       "uname",
                                                       "getuid",
                                                       "geteuid",
                                                       "getgid",
                                                       "getegid",
                                                       "getppid",
                                                       "sysinfo",
                                                       "clock_gettime",
                                                       "clock_getres",
                                                       "gettimeofday",
                                                       "time",
                                                       "fcntl",
                                                       "tgkill",
                                                       "getrusage",
                                                       "dup"};
constexpr std::initializer_list<const char*> kFiles = {
    "open",  "openat", "pwrite64", "unlink", "unlinkat",  "rename",    "renameat",        "renameat2", "mkdir",      "mkdirat",
    "rmdir", "chmod",  "fchmod",   "umask",  "ftruncate", "fallocate", "fsync",           "fdatasync", "getdents64", "creat",
    "chdir", "statfs", "fstatfs",  "flock",  "fadvise64", "utimensat", "fchmodat",        "dup2",      "dup3",       "pipe",
    "pipe2", "poll",   "ppoll",    "select", "pselect6",  "readahead", "copy_file_range", "sendfile"};
constexpr std::initializer_list<const char*> kPrograms = {"execve",  "wait4",   "waitid", "fork", "vfork",
                                                          "getpgrp", "setpgid", "setsid", "kill", "clock_nanosleep"};
constexpr std::initializer_list<const char*> kThreads = {"clock_nanosleep",
                                                         "nanosleep",
                                                         "sched_setaffinity",
                                                         "sched_getparam",
                                                         "sched_getscheduler",
                                                         "sched_get_priority_max",
                                                         "sched_get_priority_min",
                                                         "times",
                                                         "mincore",
                                                         "msync",
                                                         "mlock",
                                                         "eventfd2",
                                                         "timerfd_create",
                                                         "setitimer"};
constexpr std::initializer_list<const char*> kFatal = {"ptrace",
                                                       "process_vm_readv",
                                                       "process_vm_writev",
                                                       "mount",
                                                       "umount2",
                                                       "pivot_root",
                                                       "chroot",
                                                       "setns",
                                                       "unshare",
                                                       "keyctl",
                                                       "add_key",
                                                       "request_key",
                                                       "bpf",
                                                       "perf_event_open",
                                                       "io_uring_setup",
                                                       "io_uring_enter",
                                                       "io_uring_register",
                                                       "userfaultfd",
                                                       "kexec_load",
                                                       "init_module",
                                                       "finit_module",
                                                       "open_by_handle_at",
                                                       "name_to_handle_at",
                                                       "pidfd_getfd",
                                                       "fsopen",
                                                       "fsmount",
                                                       "move_mount",
                                                       "open_tree",
                                                       "mount_setattr",
                                                       "reboot",
                                                       "swapon",
                                                       "acct",
                                                       "iopl",
                                                       "ioperm",
                                                       "memfd_create",
                                                       "memfd_secret",
                                                       "personality",
                                                       "setuid",
                                                       "setgid",
                                                       "setgroups"};
// Not listed elsewhere. Programs other than the worker are only refused it: C libraries ask a name service by socket when they want a user's name.
constexpr std::initializer_list<const char*> kNetwork = {"socket",  "socketpair", "connect", "bind",     "listen", "accept",
                                                         "accept4", "sendto",     "sendmsg", "recvfrom", "recvmsg"};

constexpr std::uint64_t kNewNamespaces =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | 0x80 /* CLONE_NEWTIME */;

class Filter {
 public:
  explicit Filter(std::uint32_t unlisted) : context_(seccomp_init(unlisted)), unlisted_(unlisted) {}
  ~Filter() { seccomp_release(context_); }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  void add(std::uint32_t action, std::initializer_list<const char*> names) {
    for (const char* name : names) add(action, name, {});
  }
  void allow(std::initializer_list<const char*> names) { add(SCMP_ACT_ALLOW, names); }
  // With all of the conditions.
  void add(std::uint32_t action, const char* name, std::initializer_list<scmp_arg_cmp> conditions) {
    const int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR || action == unlisted_) return;
    const int result = seccomp_rule_add_array(context_, action, number, static_cast<unsigned>(conditions.size()), conditions.begin());
    if (result != 0 && result != -EDOM && error_ == 0) error_ = -result;
  }
  Result<std::string> bytes() const {
    if (context_ == nullptr || error_ != 0)
      return Error{ErrorCode::kDependency, fmt::format("libseccomp cannot make a system call filter for this machine (error {})", error_)};
    const Descriptor file = TRY(make_memory_file("filter"));
    const int result = seccomp_export_bpf(context_, file.get());
    const off_t size = ::lseek(file.get(), 0, SEEK_END);
    if (result != 0 || size <= 0) return Error{ErrorCode::kDependency, fmt::format("libseccomp cannot export a filter (error {})", -result)};
    std::string text(static_cast<std::size_t>(size), '\0');
    if (::pread(file.get(), text.data(), text.size(), 0) != size) return Error{ErrorCode::kIo, "system call filter: cannot read it back"};
    return text;
  }

 private:
  scmp_filter_ctx context_;
  std::uint32_t unlisted_;
  int error_ = 0;
};

scmp_arg_cmp equal(unsigned argument, std::uint64_t value) { return {argument, SCMP_CMP_EQ, value, 0}; }
scmp_arg_cmp bits(unsigned argument, std::uint64_t mask, std::uint64_t value) { return {argument, SCMP_CMP_MASKED_EQ, mask, value}; }

void allow_threads(Filter& filter) {
  filter.add(SCMP_ACT_ALLOW, "clone", {bits(0, kNewNamespaces | CLONE_THREAD, CLONE_THREAD)});
  // Its flags are in memory, where a filter cannot look; C libraries fall back to clone.
  filter.add(SCMP_ACT_ERRNO(ENOSYS), "clone3", {});
}

void fill(Filter& filter, SystemCalls allowed) {
  filter.allow(kCore);
  filter.add(SCMP_ACT_KILL_PROCESS, kFatal);
  const bool is_worker = allowed == SystemCalls::kWorkerStart || allowed == SystemCalls::kWorkerLoading || allowed == SystemCalls::kWorkerServing;
  if (is_worker) filter.add(SCMP_ACT_KILL_PROCESS, kNetwork);
  switch (allowed) {
    case SystemCalls::kCompiler:
      for (const auto& list : {kStart, kFiles, kPrograms}) filter.allow(list);
      filter.add(SCMP_ACT_ALLOW, "clone", {bits(0, kNewNamespaces, 0)});
      filter.add(SCMP_ACT_ERRNO(ENOSYS), "clone3", {});
      return;
    case SystemCalls::kTraining:
      for (const auto& list : {kStart, kFiles, kThreads}) filter.allow(list);
      filter.allow({"execve"});  // the sandbox itself starts the program; there is nothing else to start in there
      allow_threads(filter);
      return;
    case SystemCalls::kTrainingWithCompiler:
      for (const auto& list : {kStart, kFiles, kThreads, kPrograms}) filter.allow(list);
      filter.add(SCMP_ACT_ALLOW, "clone", {bits(0, kNewNamespaces, 0)});
      filter.add(SCMP_ACT_ERRNO(ENOSYS), "clone3", {});
      return;
    case SystemCalls::kWorkerStart:
      for (const auto& list : {kStart, kThreads}) filter.allow(list);
      filter.allow({"execve", "seccomp", "prctl"});
      filter.add(SCMP_ACT_ALLOW, "openat", {bits(2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY)});
      allow_threads(filter);
      return;
    case SystemCalls::kWorkerLoading:
      filter.allow(kStart);
      filter.allow({"seccomp"});
      filter.add(SCMP_ACT_ALLOW, "openat", {bits(2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY)});
      return;
    case SystemCalls::kWorkerServing:
      filter.add(SCMP_ACT_ALLOW, "read", {equal(0, kWorkerRequests)});
      filter.add(SCMP_ACT_ALLOW, "write", {equal(0, kWorkerReplies)});
      filter.add(SCMP_ACT_ALLOW, "mmap", {bits(2, PROT_EXEC, 0)});
      filter.add(SCMP_ACT_ALLOW, "mprotect", {bits(2, PROT_EXEC, 0)});
      return;
  }
}

}  // namespace

Result<std::string> system_call_filter(SystemCalls allowed) {
  Filter filter(allowed == SystemCalls::kWorkerServing ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ERRNO(EPERM));
  fill(filter, allowed);
  return filter.bytes();
}

}  // namespace evolora
