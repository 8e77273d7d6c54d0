// The state as safetensors; what is not an array stands as JSON in the file's metadata, so that both are always of the same moment.
#include "train/training_state.h"

#include <fmt/format.h>

#include <cstring>

#include "base/check.h"
#include "base/json.h"
#include "base/sha256.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kMetadataKey = "evolora_training_state";
constexpr int kVersion = 1;
constexpr const char* kAlwaysThere[] = {"parameters", "first_moments", "second_moments"};

template <typename T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

Json digest_of(const std::optional<DataSplit>& split) {
  if (!split) return nullptr;
  Sha256 digest;
  for (const Sample& sample : split->samples) {
    const std::uint64_t length = sample.tokens.size();
    digest.update(std::as_bytes(std::span(&length, 1)));
    digest.update(bytes_of(sample.tokens));
    digest.update(bytes_of(sample.supervised));
  }
  return digest.hex();
}

bool is_count(const Json& json, const char* key) { return json.contains(key) && json[key].is_number_integer() && json[key].get<std::int64_t>() >= 0; }

bool has_the_parts(const Json& json) {
  return json.is_object() && json.contains("version") && json["version"] == kVersion && json.contains("identity") && json["identity"].is_object() &&
         json.contains("recipe") && json.contains("simd_target") && json["simd_target"].is_string() && is_count(json, "updates_done") &&
         json.contains("loop") && json["loop"].is_object() && is_count(json["loop"], "step") && is_count(json["loop"], "steps");
}

}  // namespace

Json run_identity(const TrainRequest& request, const TrainData& data, const ModelWeights& weights) {
  return {
      {"model_config", sha256_hex(weights.folder().config().dump())},
      {"train_data", digest_of(data.train)},
      {"valid_data", digest_of(data.valid)},
      {"batch_size", request.batch_size},
      {"max_seq_length", request.max_seq_length},
      {"packing", request.packing},
      {"grad_accumulation_steps", request.grad_accumulation_steps},
      {"seed", request.seed},
      {"num_layers", request.num_layers},
      {"lora_parameters", request.lora_parameters},
      {"resume_adapter_file", request.resume_adapter_file},
      {"optimizer", request.optimizer},
      {"optimizer_config", request.optimizer_config},
      {"learning_rate", request.learning_rate},
      {"lr_schedule", request.lr_schedule},
      {"val_batches", request.val_batches},
      {"steps_per_eval", request.steps_per_eval},
  };
}

Status write_training_state(FileSystem& files, const fs::path& folder, const TrainingStateParts& parts) {
  const Json json = {{"version", kVersion},
                     {"identity", parts.identity},
                     {"recipe", parts.recipe},
                     {"simd_target", parts.simd_target},
                     {"updates_done", parts.updates_done},
                     {"loop", parts.loop}};
  std::vector<TensorView> tensors;
  const auto add = [&](const char* name, std::span<const float> values) {
    if (values.empty()) return;
    CHECK(values.size() == parts.parameters.size());
    tensors.push_back({name, DType::kF32, {static_cast<std::int64_t>(values.size())}, std::as_bytes(values)});
  };
  add("parameters", parts.parameters);
  add("first_moments", parts.first_moments);
  add("second_moments", parts.second_moments);
  add("gradients", parts.gradients);
  const std::string text = TRY(json_to_text(json));
  return write_safetensors(files, folder / kTrainingStateFile, tensors, std::map<std::string, std::string>{{kMetadataKey, text}});
}

Result<std::optional<TrainingState>> TrainingState::find(FileSystem& files, const fs::path& folder, std::size_t parameter_count) {
  const fs::path path = folder / kTrainingStateFile;
  if (!files.exists(path)) return std::optional<TrainingState>();
  SafetensorsFile file = TRY(SafetensorsFile::open(files, path));
  const auto bad = [&](const std::string& what) {
    return Error{ErrorCode::kBadData, fmt::format("{}: {}; leave --resume out to start anew", path.string(), what)};
  };
  const auto metadata = file.metadata().find(kMetadataKey);
  if (metadata == file.metadata().end()) return bad("expected the state of a training run, got a file without one");
  auto json = parse_json(metadata->second);
  if (!json.ok()) return bad(json.error().message);
  if (!has_the_parts(*json)) return bad(fmt::format("expected a training state of version {}, got something else", kVersion));
  for (const TensorView& tensor : file.tensors()) {
    if (tensor.dtype == DType::kF32 && tensor.shape == std::vector<std::int64_t>{static_cast<std::int64_t>(parameter_count)}) continue;
    return bad(fmt::format("tensor '{}': expected {} values of F32, got {} of {}", tensor.name, parameter_count, tensor.element_count(),
                           dtype_name(tensor.dtype)));
  }
  for (const char* name : kAlwaysThere) {
    if (file.find(name) == nullptr) return bad(fmt::format("tensor '{}' is missing", name));
  }
  return std::optional<TrainingState>(TrainingState(path, std::move(file), std::move(json).value()));
}

Status TrainingState::check_identity(const Json& identity) const {
  const Json& before = json_["identity"];
  for (const auto& [key, value] : identity.items()) {
    const Json was = before.contains(key) ? before[key] : Json();
    if (was == value) continue;
    return Error{ErrorCode::kUsage,
                 fmt::format("{}: {} was {} and is {} now, but --resume goes on with the same run; to start another one from its weights use "
                             "--resume-adapter-file",
                             path_.string(), key, was.dump(), value.dump())};
  }
  return {};
}

Status TrainingState::check_steps(std::int64_t steps, std::int64_t grad_accumulation_steps) const {
  const std::int64_t done = step();
  if (done < 1 || done > steps) {
    return Error{ErrorCode::kUsage, fmt::format("{}: the run has done {} steps already and {} are asked for; --resume needs at least as many",
                                                path_.string(), done, steps)};
  }
  const std::int64_t before = json_["loop"]["steps"].get<std::int64_t>();
  if (before == steps || done % grad_accumulation_steps == 0) return {};
  return Error{ErrorCode::kUsage,
               fmt::format("{}: the run stopped inside an accumulation window, so it must be resumed with the {} steps it was started "
                           "with, not {}",
                           path_.string(), before, steps)};
}

bool TrainingState::copy(const char* name, std::span<float> out) const {
  const TensorView* tensor = file_.find(name);
  if (tensor == nullptr) return false;
  CHECK(tensor->bytes.size() == out.size_bytes());
  std::memcpy(out.data(), tensor->bytes.data(), out.size_bytes());
  return true;
}

}  // namespace evolora
