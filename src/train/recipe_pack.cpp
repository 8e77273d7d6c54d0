// Two calls in order.
#include "train/recipe_pack.h"

#include "kernels/pack/pack_compiler.h"

namespace evolora {

Status open_recipe_pack(FileSystem& files, RecipeChoices& choices) {
  if (!choices.pack) return {};
  if (choices.pack->library == nullptr) choices.pack->library = TRY(open_pack(files, *direct_pack_compiler(), choices.pack->folder));
  return check_pack_choice(choices);
}

Status build_recipe_mlx_pack(FileSystem& files, RecipeChoices& choices) {
  if (!choices.pack || !choices.pack->mlx_library.empty()) return {};
  TRY(check_pack_target(files, choices.pack->folder, PackTarget::kMlx));
  const BuiltPack built = TRY(build_pack(files, *direct_pack_compiler(), choices.pack->folder));
  choices.pack->mlx_library = built.library.string();
  choices.pack->mlx_name = built.pack.service_name();
  return {};
}

}  // namespace evolora
