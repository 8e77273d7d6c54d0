// The vocabulary of a training run: every key of mlx_lm.lora's YAML (and its flag), plus ours, with type, range and what we do not support yet.
// Flags and YAML are both lists of settings; one function turns them into a TrainRequest.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "train/request.h"
#include "train/setting.h"

namespace evolora {

enum class ValueKind { kBool, kInteger, kNumber, kString, kBlock };

struct RequestKey {
  std::string_view key;  // YAML spelling; the flag is --key with '-' for '_'
  ValueKind kind;
  bool has_flag;
  std::string_view help;  // one line
};

// In the order in which --help shows them.
const std::vector<RequestKey>& request_keys();
// "batch_size" -> "--batch-size".
std::string flag_of_key(std::string_view key);

// The text after a flag, as the JSON value its kind asks for. kUsage if it is not one.
Result<Setting> setting_from_flag(const RequestKey& key, const std::string& text);

// Defaults, then the YAML's settings, then the flags'; null values leave what was there, as in mlx-lm.
// Errors: kUsage (type, range, missing part of lora_parameters, iters together with epochs), kUnsupported for values of mlx-lm we do not do yet.
Result<TrainRequest> build_train_request(const std::vector<Setting>& yaml, const std::vector<Setting>& flags);

}  // namespace evolora
