// The table of keys: one row says name, type, help and how its value gets into the request.
#include "train/request_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/byte_size.h"
#include "base/suggest.h"
#include "formats/utf8.h"
#include "train/learning_rate.h"
#include "train/optimizer.h"
#include "train/setting.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kMaxSeed = 0xFFFFFFFF;  // what numpy's legacy generator accepts

Status set_lora_parameters(TrainRequest& request, const Setting& s) {
  if (!s.value.is_object()) return expected_in_setting(s, "a block with rank, scale and dropout");
  const std::vector<std::string> known = {"rank", "scale", "dropout", "keys"};
  for (const auto& [key, value] : s.value.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const auto place = s.nested_places.find(key);
    const std::string at = place != s.nested_places.end() ? place->second : s.place;
    const std::string hint = key == "alpha" ? "; mlx-lm multiplies by 'scale' itself: give scale = alpha / rank" : did_you_mean(key, known);
    return Error{ErrorCode::kUsage, fmt::format("{}unknown key '{}' in {}{}", at, key, s.label, hint)};
  }
  for (const char* needed : {"rank", "scale", "dropout"}) {
    if (s.value.contains(needed)) continue;
    return setting_error(s, ErrorCode::kUsage,
                         fmt::format("'{}' is missing: the block replaces the defaults (rank 8, scale 20.0, dropout 0.0) as a whole", needed));
  }
  const auto part = [&](const char* key) {
    const auto place = s.nested_places.find(key);
    return Setting{key, s.value[key], s.label + "." + key, place != s.nested_places.end() ? place->second : s.place, {}};
  };
  TRY(set_integer(part("rank"), 1, 65536, request.rank));
  TRY(set_number(part("scale"), -1e30, 1e30, "a number", request.scale));
  TRY(set_number(part("dropout"), 0, 1, "a number in [0, 1)", request.dropout));
  request.keys.reset();
  if (s.value.contains("keys") && !s.value["keys"].is_null()) {
    const Setting keys = part("keys");
    if (!keys.value.is_array()) return expected_in_setting(keys, "a list of module paths such as self_attn.q_proj");
    request.keys.emplace();
    for (const Json& key : keys.value) {
      if (!key.is_string()) return expected_in_setting(keys, "a list of module paths such as self_attn.q_proj");
      request.keys->push_back(key.get<std::string>());
    }
  }
  request.lora_parameters = s.value;
  return {};
}

Status set_optimizer(TrainRequest& request, const Setting& s) {
  TRY(set_string(s, request.optimizer));
  std::transform(request.optimizer.begin(), request.optimizer.end(), request.optimizer.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const auto parsed = parse_optimizer(request.optimizer, Json::object());
  if (!parsed.ok()) return Error{parsed.error().code, s.place + parsed.error().message};
  return {};
}

Status set_schedule(TrainRequest& request, const Setting& s) {
  const auto schedule = LearningRate::from_schedule(s.value);
  if (!schedule.ok()) return Error{schedule.error().code, s.place + schedule.error().message};
  request.lr_schedule = s.value;
  return {};
}

Status set_fine_tune_type(TrainRequest& request, const Setting& s) {
  TRY(set_one_of(s, {"lora", "dora", "full"}, request.fine_tune_type));
  if (request.fine_tune_type == "full") return unsupported_setting(s, "use lora, or dora with --engine mlx");
  return {};
}

Status set_iters(TrainRequest& request, const Setting& s) {
  std::int64_t iters = 0;
  TRY(set_integer(s, 1, kMaxInteger, iters));
  request.iters = iters;
  request.epochs.reset();
  return {};
}

Status set_epochs(TrainRequest& request, const Setting& s) {
  double epochs = 0;
  TRY(set_number(s, std::numeric_limits<double>::min(), 1e9, "a number above 0", epochs));
  request.epochs = epochs;
  request.iters.reset();
  return {};
}

Status set_seed(TrainRequest& request, const Setting& s) {
  std::int64_t seed = 0;
  TRY(set_integer(s, 0, kMaxSeed, seed));
  request.seed = static_cast<std::uint64_t>(seed);
  return {};
}

Status set_compat(TrainRequest& request, const Setting& s) {
  std::string name;
  TRY(set_one_of(s, {"mlx-lm"}, name));
  request.semantics = Semantics::kCompatMlxLm;
  return {};
}

// cpu and reference fill the fused engine's slots, standard and optimized the MLX engine's.
Status set_kernels(TrainRequest& request, const Setting& s) {
  std::string name;
  TRY(set_one_of(s, {"cpu", "reference", "standard", "optimized"}, name));
  if (name == "standard" || name == "optimized") {
    request.recipe.mlx = name == "optimized" ? optimized_mlx_recipe() : standard_mlx_recipe();
    return {};
  }
  request.recipe.kernels = SlotKernels(name == "reference" ? KernelSet::kReference : KernelSet::kCpu);
  return {};
}

Status set_threads(TrainRequest& request, const Setting& s) {
  std::int64_t threads = 0;
  TRY(set_integer(s, 0, 1024, threads));
  request.recipe.threads = static_cast<int>(threads);
  return {};
}

Status set_grad_checkpoint(TrainRequest& request, const Setting& s) {
  TRY(set_bool(s, request.grad_checkpoint));
  request.recipe.recompute.reset();
  if (request.grad_checkpoint) request.recipe.recompute = Recompute::kBlock;
  return {};
}

Status set_micro_batch_tokens(TrainRequest& request, const Setting& s) {
  std::int64_t tokens = 0;
  TRY(set_integer(s, 0, kMaxInteger, tokens));
  request.recipe.micro_batch_tokens = tokens;
  return {};
}

Status set_memory_limit(TrainRequest& request, const Setting& s) {
  std::string text;
  TRY(set_string(s, text));
  const auto size = parse_byte_size(text);
  if (!size.ok() || *size == 0) return expected_in_setting(s, "a size such as 600MB or 1.5GB");
  request.memory_limit_bytes = *size;
  return {};
}

// Names of the record keys are not flags of mlx-lm; they travel into adapter_config.json as unknown keys do there.
Status set_feature(TrainRequest& request, const Setting& s, std::string& out) {
  TRY(set_string(s, out));
  request.extra[s.key] = s.value;
  return {};
}

Status only_in_config(TrainRequest& request, const Setting& s) {
  if (!s.value.is_string() && !s.value.is_number()) return expected_in_setting(s, "a text or number");
  request.extra[s.key] = s.value;
  return {};
}

struct Row {
  RequestKey info;
  Status (*apply)(TrainRequest&, const Setting&);
};

using R = TrainRequest;
using S = Setting;

const std::vector<Row>& rows() {
  using enum ValueKind;
  static const std::vector<Row> table = {
      {{"model", kString, true, "Folder of the MLX model"}, [](R& r, const S& s) -> Status { return set_string(s, r.model); }},
      {{"train", kBool, true, "Do training"}, [](R& r, const S& s) -> Status { return set_bool(s, r.train); }},
      {{"data", kString, true, "Folder with train.jsonl, valid.jsonl and test.jsonl"},
       [](R& r, const S& s) -> Status { return set_string(s, r.data); }},
      {{"fine_tune_type", kString, true, "Kind of fine-tuning: lora; dora with --engine mlx"}, set_fine_tune_type},
      {{"optimizer", kString, true, "adam or adamw [adam]"}, set_optimizer},
      {{"mask_prompt", kBool, true, "Leave the prompt out of the loss"}, [](R& r, const S& s) -> Status { return set_bool(s, r.mask_prompt); }},
      {{"num_layers", kInteger, true, "Adapt the last N layers; -1: all [16]"},
       [](R& r, const S& s) -> Status { return set_integer(s, -1000000, 1000000, r.num_layers); }},
      {{"batch_size", kInteger, true, "Samples per step [4]"}, [](R& r, const S& s) -> Status { return set_integer(s, 1, 1 << 20, r.batch_size); }},
      {{"iters", kInteger, true, "Steps to train [1000]"}, set_iters},
      {{"epochs", kNumber, true, "Passes over the training data, instead of --iters (may be fractional)"}, set_epochs},
      {{"val_batches", kInteger, true, "Batches per validation; -1: all [25]"},
       [](R& r, const S& s) -> Status { return set_integer(s, -1, kMaxInteger, r.val_batches); }},
      {{"learning_rate", kNumber, true, "Learning rate [1e-5]"},
       [](R& r, const S& s) -> Status { return set_number(s, 0, 1e30, "a number in [0, 1e30)", r.learning_rate); }},
      {{"steps_per_report", kInteger, true, "Steps between loss reports [10]"},
       [](R& r, const S& s) -> Status { return set_integer(s, 1, kMaxInteger, r.steps_per_report); }},
      {{"steps_per_eval", kInteger, true, "Steps between validations [200]"},
       [](R& r, const S& s) -> Status { return set_integer(s, 1, kMaxInteger, r.steps_per_eval); }},
      {{"grad_accumulation_steps", kInteger, true, "Steps whose gradients make one update [1]"},
       [](R& r, const S& s) -> Status { return set_integer(s, 1, 1 << 20, r.grad_accumulation_steps); }},
      {{"resume_adapter_file", kString, true, "Start from the weights of this adapter file"},
       [](R& r, const S& s) -> Status { return set_string(s, r.resume_adapter_file); }},
      {{"adapter_path", kString, true, "Folder the adapter is written to [adapters]"},
       [](R& r, const S& s) -> Status { return set_string(s, r.adapter_path); }},
      {{"save_every", kInteger, true, "Steps between saved adapters [100]"},
       [](R& r, const S& s) -> Status { return set_integer(s, 1, kMaxInteger, r.save_every); }},
      {{"test", kBool, true, "Evaluate on test.jsonl (after training)"}, [](R& r, const S& s) -> Status { return set_bool(s, r.test); }},
      {{"test_batches", kInteger, true, "Batches of the test; -1: all [500]"},
       [](R& r, const S& s) -> Status { return set_integer(s, -1, kMaxInteger, r.test_batches); }},
      {{"max_seq_length", kInteger, true, "Longer samples are cut [2048]"},
       [](R& r, const S& s) -> Status { return set_integer(s, 2, 1 << 24, r.max_seq_length); }},
      {{"packing", kBool, true, "Fill --batch-size rows of --max-seq-length tokens with whole samples that do not see each other"},
       [](R& r, const S& s) -> Status { return set_bool(s, r.packing); }},
      {{"resume", kBool, true, "Go on from the last saved step of the run in --adapter-path, bit by bit as if it had not stopped"},
       [](R& r, const S& s) -> Status { return set_bool(s, r.resume); }},
      {{"grad_checkpoint", kBool, true, "Recompute activations instead of keeping them: less memory"}, set_grad_checkpoint},
      {{"seed", kInteger, true, "Seed of data order, adapter and dropout [0]"}, set_seed},
      {{"compat", kString, true, "mlx-lm: reproduce its batches, masks and loss exactly"}, set_compat},
      {{"engine", kString, true, "fused, or mlx: the same training as a graph of MLX operations [fused]"},
       [](R& r, const S& s) -> Status {
         return set_one_of(s, {"fused", "mlx"}, r.engine);
       }},
      {{"device", kString, true, "cpu; gpu with --engine mlx and an MLX library that has one [cpu]"},
       [](R& r, const S& s) -> Status {
         return set_one_of(s, {"cpu", "gpu"}, r.device);
       }},
      {{"threads", kInteger, true, "CPU threads; 0: all [0]"}, set_threads},
      {{"micro_batch_tokens", kInteger, true, "Split a batch into passes of at most this many tokens; 0: no split [chosen by the plan]"},
       set_micro_batch_tokens},
      {{"memory_limit", kString, true, "Resident memory that the process may use, such as 600MB: the plan is made to fit"}, set_memory_limit},
      {{"recipe", kString, true, "JSON file with decisions about speed and memory (evolora plan --write-recipe); flags win over it"},
       [](R& r, const S& s) -> Status { return set_string(s, r.recipe_file); }},
      {{"kernels", kString, true,
        "cpu, or reference (slow, plain loops) [cpu]; with --engine mlx: standard (mlx-lm's operations) or optimized [standard]"},
       set_kernels},
      {{"project_name", kString, true, "Kept in adapter_config.json"}, only_in_config},
      {{"clear_cache_threshold", kString, true, "Accepted and without effect: there is no cache"}, only_in_config},
      {{"report_to", kString, true, "Not supported yet; metrics.jsonl has every figure"},
       [](R&, const S& s) -> Status { return unsupported_setting(s, "metrics.jsonl in the adapter folder has every figure"); }},
      {{"trust_remote_code", kBool, true, "Not supported: no code of a model folder is ever run"},
       [](R&, const S& s) -> Status {
         bool trust = false;
         TRY(set_bool(s, trust));
         if (trust) return unsupported_setting(s, "this program never runs code from a model folder");
         return {};
       }},
      {{"lora_parameters", kBlock, false, "rank, scale, dropout, keys"}, set_lora_parameters},
      {{"optimizer_config", kBlock, false, "options per optimizer"},
       [](R& r, const S& s) -> Status {
         if (!s.value.is_object()) return expected_in_setting(s, "a block with one entry per optimizer");
         r.optimizer_config = s.value;
         return {};
       }},
      {{"lr_schedule", kBlock, false, "learning rate over time"}, set_schedule},
      {{"hf_dataset", kBlock, false, "not supported"},
       [](R&, const S& s) -> Status {
         return setting_error(
             s, ErrorCode::kUnsupported,
             "data sets of the Hugging Face hub are not loaded; export them to train.jsonl and valid.jsonl and give that folder as data");
       }},
      {{"prompt_feature", kString, false, "key of the prompt"}, [](R& r, const S& s) -> Status { return set_feature(r, s, r.features.prompt); }},
      {{"completion_feature", kString, false, "key of the completion"},
       [](R& r, const S& s) -> Status { return set_feature(r, s, r.features.completion); }},
      {{"text_feature", kString, false, "key of the text"}, [](R& r, const S& s) -> Status { return set_feature(r, s, r.features.text); }},
      {{"chat_feature", kString, false, "key of the messages"}, [](R& r, const S& s) -> Status { return set_feature(r, s, r.features.chat); }},
      {{"config", kString, false, "only as a flag"},
       [](R&, const S& s) -> Status { return setting_error(s, ErrorCode::kUsage, "a configuration file cannot name another one"); }},
  };
  return table;
}

// What cannot be had together with mlx-lm's exact behaviour.
Status check_compat(const TrainRequest& request) {
  if (request.semantics != Semantics::kCompatMlxLm) return {};
  const char* key = request.packing ? "packing" : request.resume ? "resume" : nullptr;
  if (key == nullptr) return {};
  const char* why = request.packing ? "mlx-lm does not pack its batches" : "mlx-lm cannot go on where it stopped";
  return Error{ErrorCode::kUsage, fmt::format("{}: not possible with --compat mlx-lm, because {}; leave one of them out", flag_of_key(key), why)};
}

Status apply_all(TrainRequest& request, const std::vector<Setting>& settings) {
  const Setting* iters = nullptr;
  const Setting* epochs = nullptr;
  for (const Setting& setting : settings) {
    const auto row = std::find_if(rows().begin(), rows().end(), [&](const Row& r) { return r.info.key == setting.key; });
    if (row == rows().end()) {
      std::vector<std::string> known;
      for (const Row& r : rows()) known.emplace_back(r.info.key);
      return Error{ErrorCode::kUsage, fmt::format("{}unknown key '{}'{}", setting.place, setting.key, did_you_mean(setting.key, known))};
    }
    if (setting.value.is_null()) continue;
    TRY(row->apply(request, setting));
    if (setting.key == "iters") iters = &setting;
    if (setting.key == "epochs") epochs = &setting;
  }
  if (iters != nullptr && epochs != nullptr)
    return setting_error(*epochs, ErrorCode::kUsage, fmt::format("give either this or {}, not both", iters->label));
  return {};
}

}  // namespace

const std::vector<RequestKey>& request_keys() {
  static const std::vector<RequestKey> keys = [] {
    std::vector<RequestKey> out;
    for (const Row& row : rows()) out.push_back(row.info);
    return out;
  }();
  return keys;
}

std::string flag_of_key(std::string_view key) {
  std::string flag = "--" + std::string(key);
  std::replace(flag.begin() + 2, flag.end(), '_', '-');
  return flag;
}

Result<Setting> setting_from_flag(const RequestKey& key, const std::string& text) {
  Setting setting{std::string(key.key), text, flag_of_key(key.key), "", {}};
  if (!is_utf8(text)) return expected_in_setting(setting, "UTF-8 text");
  const char* end = text.data() + text.size();
  if (key.kind == ValueKind::kInteger) {
    std::int64_t value = 0;
    const auto parsed = std::from_chars(text.data(), end, value);
    if (parsed.ec != std::errc() || parsed.ptr != end) return expected_in_setting(setting, "a whole number");
    setting.value = value;
  } else if (key.kind == ValueKind::kNumber) {
    double value = 0;
    const auto parsed = std::from_chars(text.data(), end, value);
    if (parsed.ec != std::errc() || parsed.ptr != end || !std::isfinite(value)) return expected_in_setting(setting, "a number");
    setting.value = value;
  } else if (key.kind == ValueKind::kBool) {
    if (text != "true" && text != "false") return expected_in_setting(setting, "true or false");
    setting.value = text == "true";
  }
  return setting;
}

Result<TrainRequest> build_train_request(const std::vector<Setting>& yaml, const std::vector<Setting>& flags) {
  TrainRequest request;
  TRY(apply_all(request, yaml));
  TRY(apply_all(request, flags));
  const auto parsed = parse_optimizer(request.optimizer, request.optimizer_config);
  if (!parsed.ok()) {
    const auto block = std::find_if(yaml.begin(), yaml.end(), [](const Setting& s) { return s.key == "optimizer_config"; });
    return Error{parsed.error().code, (block != yaml.end() ? block->place : "") + parsed.error().message};
  }
  TRY(check_compat(request));
  return request;
}

}  // namespace evolora
