// evolora_mlx_pack_trainer REQUEST ANSWER [LIBRARY]: one training run by the MLX engine for a judge of kernel packs, in a sandbox where nothing can
// be compiled. REQUEST is a file of training settings; LIBRARY a compiled pack for mlx that fills its slots. ANSWER gets {"first_val_loss": ...}, the
// loss before the first step, or {"error": "..."}; a judge believes it only of runs without a pack.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "train/request_yaml.h"
#include "train/trainer.h"

namespace evolora {
namespace {

class Silent final : public TrainObserver {};

Result<nlohmann::ordered_json> run(const fs::path& request_file, const char* library) {
  FileSystem& files = real_file_system();
  const std::vector<Setting> settings = TRY(read_request_yaml(files, request_file));
  TrainRequest request = TRY(build_train_request(settings, {}));
  // Products in 16 bits take MLX on CPUs many times as long, and hide differences of losses.
  request.recipe.mlx = MlxRecipe{.arithmetic = MlxArithmetic::kFp32};
  if (library != nullptr) request.recipe.pack = PackChoice{.folder = library, .library = nullptr, .mlx_library = library, .mlx_name = "pack:judged"};
  Silent silent;
  const TrainResult result = TRY(run_training(request, files, silent, {.stop = nullptr, .version = EVOLORA_VERSION}));
  nlohmann::ordered_json answer = nlohmann::ordered_json::object();
  if (!result.val_losses.empty()) answer["first_val_loss"] = result.val_losses.front().loss;
  return answer;
}

}  // namespace
}  // namespace evolora

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) {
    fmt::print(stderr, "evolora_mlx_pack_trainer: started by evolora, which judges kernel packs with it; not for use by hand\n");
    return 2;
  }
  const auto result = evolora::run(argv[1], argc == 4 ? argv[3] : nullptr);
  const nlohmann::ordered_json answer = result.ok() ? *result : nlohmann::ordered_json{{"error", result.error().message}};
  const evolora::Status written = evolora::write_file_atomically(evolora::real_file_system(), argv[2], answer.dump() + "\n");
  return result.ok() && written.ok() ? 0 : 1;
}
