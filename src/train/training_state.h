// What a run needs to go on after it was stopped or killed, as if it had not been: training_state.safetensors in the adapter folder. One file,
// replaced as a whole, so that there is always one complete state, the newest. Batches and dropout masks need no state: they follow from the seed and
// the step.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include <nlohmann/json.hpp>

#include "formats/safetensors.h"
#include "train/request.h"
#include "train/train_data.h"

namespace evolora {

inline constexpr const char* kTrainingStateFile = "training_state.safetensors";

// Everything that decides a run's result besides the number of its steps and the recipe: settings, digests of the tokenised data and of the model's
// configuration. A state can only be gone on with by a run of equal identity.
nlohmann::ordered_json run_identity(const TrainRequest& request, const TrainData& data, const ModelWeights& weights);

// Borrowed parts of a state to be written. All arrays have as many elements as there are parameters.
struct TrainingStateParts {
  nlohmann::ordered_json identity;
  nlohmann::ordered_json recipe;  // recipe_to_json of the one that runs
  std::string simd_target;        // simd_target() of the machine, and the kernel pack if there is one
  nlohmann::ordered_json loop;    // TrainingLoop::state()
  std::int64_t updates_done = 0;  // of the optimizer
  std::span<const float> parameters;
  std::span<const float> first_moments;
  std::span<const float> second_moments;
  std::span<const float> gradients;  // of an unfinished accumulation window; empty: there is none
};

// Atomic (write_file_atomically).
Status write_training_state(FileSystem& files, const fs::path& folder, const TrainingStateParts& parts);

// A state that was found. Keeps the file mapped.
class TrainingState {
 public:
  // nullopt if the folder has none. kBadData for a file that is no state of parameter_count parameters, kCorrupt for a broken one.
  static Result<std::optional<TrainingState>> find(FileSystem& files, const fs::path& folder, std::size_t parameter_count);

  // kUsage naming the first setting that is another one here.
  Status check_identity(const nlohmann::ordered_json& identity) const;
  // kUsage if a run of that many steps cannot go on from here: it is over already, or the state is inside an accumulation window of another end.
  Status check_steps(std::int64_t steps, std::int64_t grad_accumulation_steps) const;

  const nlohmann::ordered_json& recipe() const { return json_["recipe"]; }
  const std::string& simd_target() const { return json_["simd_target"].get_ref<const std::string&>(); }
  const nlohmann::ordered_json& loop() const { return json_["loop"]; }
  std::int64_t step() const { return json_["loop"]["step"].get<std::int64_t>(); }
  std::int64_t updates_done() const { return json_["updates_done"].get<std::int64_t>(); }
  // name: "parameters", "first_moments", "second_moments" or "gradients" -> out (parameter_count). False: not in the state (only gradients).
  bool copy(const char* name, std::span<float> out) const;
  const fs::path& path() const { return path_; }

 private:
  TrainingState(fs::path path, SafetensorsFile file, nlohmann::ordered_json json)
      : path_(std::move(path)), file_(std::move(file)), json_(std::move(json)) {}
  fs::path path_;
  SafetensorsFile file_;
  nlohmann::ordered_json json_;
};

}  // namespace evolora
