// What of a recipe the MLX engine cannot heed is said, and never dropped in silence.
#include "train/mlx_run.h"

#include "train/trainer_test_support.h"

namespace evolora {
namespace {

TEST(MlxRun, EveryChoiceOfTheFusedEngineIsNamedInTheWarning) {
  RecipeChoices choices;
  choices.threads = 2;
  choices.kernels = SlotKernels(KernelSet::kCpu);
  choices.saved_activations = StorageType::kBf16;
  choices.micro_batch_tokens = 64;
  choices.forward_arithmetic = Arithmetic::kInt8;
  choices.backward_arithmetic = Arithmetic::kBf16;
  choices.prefix_cache = PrefixCache::kFile;
  choices.share_prefixes = true;
  choices.release_weights = true;
  Recorder recorder;
  ASSERT_TRUE(mlx_run_recipe(choices, TrainRequest(), recorder).ok());
  ASSERT_EQ(recorder.warnings.size(), 1U);
  for (const char* name : {"threads", "kernels", "saved_activations", "micro_batch_tokens", "forward_arithmetic", "backward_arithmetic",
                           "prefix_cache", "share_prefixes", "weights"}) {
    EXPECT_NE(recorder.warnings[0].find(name), std::string::npos) << name;
  }
}

TEST(MlxRun, ValuesThatChangeNothingAreNoWarning) {
  RecipeChoices choices;
  choices.forward_arithmetic = Arithmetic::kFp32;
  choices.backward_arithmetic = Arithmetic::kFp32;
  choices.micro_batch_tokens = 0;
  choices.prefix_cache = PrefixCache::kOff;
  choices.share_prefixes = false;
  Recorder recorder;
  ASSERT_TRUE(mlx_run_recipe(choices, TrainRequest(), recorder).ok());
  EXPECT_TRUE(recorder.warnings.empty());
}

}  // namespace
}  // namespace evolora
