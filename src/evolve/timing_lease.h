// One timed process at a time on a machine: searches wait for each other.
#pragma once

#include "base/file_system.h"

namespace evolora {

// The lock file (base/file_lock.h) that is held while something is timed, in the folder for temporary files.
fs::path timing_lease_path();

}  // namespace evolora
