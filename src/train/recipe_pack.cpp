// Two calls in order.
#include "train/recipe_pack.h"

#include "kernels/pack/pack_compiler.h"

namespace evolora {

Status open_recipe_pack(FileSystem& files, RecipeChoices& choices) {
  if (!choices.pack) return {};
  if (choices.pack->library == nullptr) choices.pack->library = TRY(open_pack(files, *direct_pack_compiler(), choices.pack->folder));
  return check_pack_choice(choices);
}

}  // namespace evolora
