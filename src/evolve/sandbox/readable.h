// What a sandbox may read of a model or data folder.
#pragma once

#include <vector>

#include "evolve/sandbox/sandbox.h"

namespace evolora {

// Adds a file or folder to read, and where links in the folder lead: models in the caches of other programs are folders of links.
void add_readable(const fs::path& path, std::vector<SandboxMount>& mounts);

}  // namespace evolora
