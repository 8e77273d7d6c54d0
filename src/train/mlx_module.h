// Loads the MLX engine, which is a module of its own (reference/mlx_engine.h), when a run asks for it.
#pragma once

#include <memory>

#include "reference/mlx_engine.h"

namespace evolora {

// evolora_mlx_engine.so from the folder of the running program, or from where the dynamic linker looks. It stays loaded.
// Errors: kDependency when there is none (the build had no MLX), when its MLX library cannot be loaded, or when it belongs to another version.
Result<const MlxModuleEntry*> load_mlx_module();

}  // namespace evolora
