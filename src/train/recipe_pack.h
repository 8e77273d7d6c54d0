// The kernel pack that a recipe names, made ready for a run.
#pragma once

#include "base/file_system.h"
#include "engine/recipe.h"

namespace evolora {

// Compiles (once, beside its sources) and loads the pack of choices, if there is one and nobody has, and checks that the rest of the recipe goes with
// it. Its code then runs with the rights of this process. Errors: those of open_pack (kernels/pack/pack_compiler.h) and check_pack_choice.
Status open_recipe_pack(FileSystem& files, RecipeChoices& choices);

// The same for the MLX engine, whose module loads the library itself. kUsage for a pack of another target.
Status build_recipe_mlx_pack(FileSystem& files, RecipeChoices& choices);

}  // namespace evolora
