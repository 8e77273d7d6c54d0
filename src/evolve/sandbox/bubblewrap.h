// The command line of bubblewrap for a sandbox.
#pragma once

#include <string>
#include <vector>

#include "evolve/sandbox/sandbox.h"

namespace evolora {

// info and filter: descriptor numbers for the child's process id (JSON) and the system call filter. kDependency: bubblewrap is not installed.
Result<std::vector<std::string>> bubblewrap_command(const SandboxRequest& request, int info, int filter);

}  // namespace evolora
