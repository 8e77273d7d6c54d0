// One level of links.
#include "evolve/sandbox/readable.h"

namespace evolora {

void add_readable(const fs::path& path, std::vector<SandboxMount>& mounts) {
  mounts.push_back({path, SandboxMount::Access::kRead});
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) return;
  for (const auto& entry : fs::directory_iterator(path, ignored)) {
    if (!entry.is_symlink(ignored)) continue;
    const fs::path target = fs::canonical(entry.path(), ignored);
    if (!ignored) mounts.push_back({target, SandboxMount::Access::kRead});
  }
}

}  // namespace evolora
