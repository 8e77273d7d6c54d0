// The command of a trial becomes one of bubblewrap.
#include "evolve/sandbox/sandboxed_trials.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdlib>

#include "base/json.h"
#include "base/os_error.h"
#include "engine/recipe_json.h"
#include "evolve/sandbox/bubblewrap.h"
#include "evolve/sandbox/readable.h"

namespace evolora {
namespace {

Status inherit(const Descriptor& descriptor) {
  if (::fcntl(descriptor.get(), F_SETFD, 0) == 0) return {};
  return os_error("sandbox", "pass a descriptor to", errno);
}

}  // namespace

Result<ChildRequest> SandboxedTrials::prepare(ChildRequest child, const fs::path& folder) {
  SandboxRequest sandbox;
  sandbox.argv = child.argv;
  sandbox.root = SandboxRoot::kSystem;
  sandbox.system_calls = SystemCalls::kTrainingWithCompiler;
  sandbox.has_proc = true;
  sandbox.folder = fs::absolute(folder).lexically_normal();
  add_readable(child.argv.front(), sandbox.mounts);
  const nlohmann::ordered_json request = TRY(read_json_object(files_, folder / "request.json"));
  for (const char* key : {"model", "data", "recipe"}) {
    if (request.contains(key) && request[key].is_string()) add_readable(request[key].get<std::string>(), sandbox.mounts);
  }
  if (request.contains("recipe") && request["recipe"].is_string()) {
    const RecipeChoices choices = TRY(read_recipe(files_, request["recipe"].get<std::string>()));
    if (choices.pack) add_readable(choices.pack->folder, sandbox.mounts);
  }
  sandbox.mounts.push_back({sandbox.folder, SandboxMount::Access::kWrite});
  info_ = Descriptor(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  if (!info_.valid()) return os_error("/dev/null", "open", errno);
  const std::string filter = TRY(system_call_filter(sandbox.system_calls));
  filter_ = TRY(make_memory_file("filter", filter));
  TRY(inherit(info_));
  TRY(inherit(filter_));
  // env: an empty environment, but for what decides which compiler a pack's library is from.
  std::vector<std::string> argv = {"/usr/bin/env", "-i", "PATH=/usr/bin:/bin", "LC_ALL=C", "TMPDIR=/tmp"};
  if (const char* compiler = std::getenv("CXX"); compiler != nullptr) argv.push_back(std::string("CXX=") + compiler);
#ifdef __SANITIZE_ADDRESS__
  argv.emplace_back("ASAN_OPTIONS=detect_leaks=0");  // LeakSanitizer stops its own threads with ptrace, which the filter answers with death
#endif
  const std::vector<std::string> command = TRY(bubblewrap_command(sandbox, info_.get(), filter_.get()));
  argv.insert(argv.end(), command.begin(), command.end());
  child.argv = std::move(argv);
  return child;
}

}  // namespace evolora
