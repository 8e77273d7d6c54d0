// Where every search of this machine finds it.
#include "evolve/timing_lease.h"

#include <system_error>

namespace evolora {

fs::path timing_lease_path() {
  std::error_code error;
  const fs::path folder = fs::temp_directory_path(error);
  return (error ? fs::path("/tmp") : folder) / "evolora-timing.lock";
}

}  // namespace evolora
