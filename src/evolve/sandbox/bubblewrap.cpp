// An empty root in memory, read-only parts of the system, a /tmp of limited size, the request's own mounts, and nothing else.
#include "evolve/sandbox/bubblewrap.h"

#include <filesystem>
#include <system_error>

#include "base/check.h"

namespace evolora {
namespace {

Result<std::string> bubblewrap_program() {
  // Fixed places and not PATH: what walls a program off is not looked up where the user's other programs are.
  for (const char* path : {"/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap"}) {
    std::error_code ignored;
    if (fs::exists(path, ignored)) return std::string(path);
  }
  return Error{ErrorCode::kDependency, "bubblewrap (/usr/bin/bwrap) is not installed"};
}

class Arguments {
 public:
  template <typename... Words>
  void add(const Words&... words) {
    (list.emplace_back(words), ...);
  }
  // A part of the system as it is: a link stays a link, what does not exist is left out.
  void system_folder(const fs::path& path) {
    std::error_code ignored;
    if (fs::is_symlink(path, ignored)) {
      add("--symlink", fs::read_symlink(path, ignored).string(), path.string());
    } else if (fs::exists(path, ignored)) {
      add("--ro-bind", path.string(), path.string());
    }
  }
  std::vector<std::string> list;
};

}  // namespace

Result<std::vector<std::string>> bubblewrap_command(const SandboxRequest& request, int info, int filter) {
  Arguments arguments;
  arguments.add(TRY(bubblewrap_program()), "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts",
                "--unshare-cgroup-try");
  arguments.add("--uid", "65534", "--gid", "65534", "--hostname", "sandbox", "--cap-drop", "ALL", "--die-with-parent", "--new-session", "--as-pid-1");
  if (request.root == SandboxRoot::kSystem) {
    arguments.system_folder("/usr");
    for (const char* path : {"/bin", "/sbin"}) arguments.system_folder(path);
    arguments.system_folder("/etc/alternatives");
  } else {
    for (const char* path : {"/usr/lib", "/usr/lib64", "/usr/lib32"}) arguments.system_folder(path);
  }
  for (const char* path : {"/lib", "/lib64", "/lib32"}) arguments.system_folder(path);
  arguments.system_folder("/etc/ld.so.cache");
  for (const char* device : {"/dev/null", "/dev/zero", "/dev/urandom"}) arguments.add("--dev-bind", device, device);
  if (request.has_proc) arguments.add("--proc", "/proc");
  arguments.add("--size", std::to_string(request.limits.tmp_bytes), "--tmpfs", "/tmp");
  for (const SandboxMount& mount : request.mounts) {
    CHECK(mount.path.is_absolute());
    arguments.add(mount.access == SandboxMount::Access::kWrite ? "--bind" : "--ro-bind", mount.path.string(), mount.path.string());
  }
  arguments.add("--remount-ro", "/", "--chdir", request.folder.string());
  arguments.add("--info-fd", std::to_string(info), "--seccomp", std::to_string(filter), "--");
  for (const std::string& word : request.argv) arguments.list.push_back(word);
  return arguments.list;
}

}  // namespace evolora
