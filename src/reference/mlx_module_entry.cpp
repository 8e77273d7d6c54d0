// The one symbol that evolora_mlx_engine.so is loaded for.
#include <mlx/version.h>

#include "reference/mlx_engine.h"

extern "C" const evolora::MlxModuleEntry* evolora_mlx_engine_entry() {
  static const evolora::MlxModuleEntry entry{EVOLORA_VERSION, mlx::core::version(), evolora::make_mlx_engine};
  return &entry;
}
