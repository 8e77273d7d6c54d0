// Words and files to arms, arms to requests and command lines.
#include "measure/arm.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/json.h"
#include "base/suggest.h"
#include "engine/recipe_json.h"
#include "train/request_keys.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

Error usage(const std::string& label, const std::string& what) { return Error{ErrorCode::kUsage, fmt::format("{}: {}", label, what)}; }

const RequestKey* find_key(const std::string& key) {
  const auto& keys = request_keys();
  const auto found = std::find_if(keys.begin(), keys.end(), [&](const RequestKey& k) { return k.key == key; });
  return found == keys.end() ? nullptr : &*found;
}

Status set_requirement(Arm& arm, const std::string& label, const std::string& value) {
  if (value != "quantized_layers") return usage(label, fmt::format("requires: expected quantized_layers, got {}", value));
  arm.requires_quantized_layers = true;
  return {};
}

// fused is the engine of this program; any other is named to `train`.
void set_engine(Arm& arm, const std::string& engine) {
  arm.settings.erase("engine");
  if (engine != "fused") arm.settings["engine"] = engine;
}

Status set_key(Arm& arm, const std::string& label, const std::string& key, const std::string& value) {
  if (key == "program") {
    arm.program = value;
  } else if (key == "name") {
    arm.name = value;
  } else if (key == "requires") {
    return set_requirement(arm, label, value);
  } else if (key == "engine") {
    set_engine(arm, value);
  } else {
    const RequestKey* known = find_key(key);
    if (known == nullptr) {
      std::vector<std::string> names = {"program", "name", "requires", "engine"};
      for (const RequestKey& k : request_keys()) names.emplace_back(k.key);
      return usage(label, fmt::format("unknown key '{}'{}", key, did_you_mean(key, names)));
    }
    const auto setting = setting_from_flag(*known, value);
    if (!setting.ok()) return usage(label, setting.error().message);
    arm.settings[key] = setting->value;
  }
  return {};
}

Result<std::string> text_field(const Json& json, const char* field, const std::string& source) {
  if (!json[field].is_string()) return Error{ErrorCode::kUsage, fmt::format("{}: {}: expected a text, got {}", source, field, json[field].dump())};
  return json[field].get<std::string>();
}

Status read_environment(Arm& arm, const Json& json, const std::string& source) {
  if (!json.contains("environment")) return {};
  if (!json["environment"].is_object()) return Error{ErrorCode::kUsage, fmt::format("{}: environment: expected an object of texts", source)};
  for (const auto& [name, value] : json["environment"].items()) {
    if (!value.is_string()) return Error{ErrorCode::kUsage, fmt::format("{}: environment.{}: expected a text", source, name)};
    arm.environment[name] = value.get<std::string>();
  }
  return {};
}

Status read_external(Arm& arm, const Json& json, const std::string& source) {
  if (!json["command"].is_array() || json["command"].empty())
    return Error{ErrorCode::kUsage, fmt::format("{}: command: expected a list of words", source)};
  for (const Json& word : json["command"]) {
    if (!word.is_string()) return Error{ErrorCode::kUsage, fmt::format("{}: command: expected a list of words, got {}", source, word.dump())};
    arm.command.push_back(word.get<std::string>());
  }
  arm.reader = TRY(OutputReader::from_json(json.value("read", Json::object()), source));
  arm.program.clear();
  return {};
}

Status read_file(FileSystem& files, Arm& arm, const std::string& path) {
  const Json json = TRY(read_settings_object(files, path));
  if (!json.contains("command") && !json.contains("train") && !json.contains("program")) {
    TRY(recipe_from_json(json, path));
    arm.settings["recipe"] = fs::absolute(path).string();
    return {};
  }
  const std::string program = arm.program;
  const Json kept = arm.settings;
  arm = TRY(arm_from_json(json, path));
  if (!arm.external() && arm.program.empty()) arm.program = program;
  for (const auto& [key, value] : kept.items()) {
    if (!arm.settings.contains(key)) arm.settings[key] = value;
  }
  return {};
}

Status add_word(FileSystem& files, Arm& arm, const std::string& word, const std::string& label) {
  static const std::vector<std::string> engines = {"fused", "mlx"};
  static const std::vector<std::string> kernel_sets = {"cpu", "reference"};
  static const std::vector<std::string> types = {"lora", "dora", "full"};
  const auto among = [&](const std::vector<std::string>& words) { return std::find(words.begin(), words.end(), word) != words.end(); };
  const std::size_t equals = word.find('=');
  if (equals != std::string::npos) {
    std::string key = word.substr(0, equals);
    if (key.starts_with("--")) key.erase(0, 2);
    std::replace(key.begin(), key.end(), '-', '_');
    return set_key(arm, label, key, word.substr(equals + 1));
  }
  if (word.ends_with(".json")) return read_file(files, arm, word);
  if (among(engines)) {
    set_engine(arm, word);
  } else if (among(kernel_sets)) {
    arm.settings["kernels"] = word;
  } else if (among(types)) {
    arm.settings["fine_tune_type"] = word;
  } else {
    return usage(label, fmt::format("expected KEY=VALUE, a .json file, or one of {}, {}, {}; got '{}'", "fused, mlx", "cpu, reference",
                                    "lora, dora, full", word));
  }
  return {};
}

// The name in "{name}" at this place; empty if it is not one (other braces stand for themselves).
std::string placeholder_at(const std::string& word, std::size_t at) {
  const std::size_t close = word.find_first_not_of("abcdefghijklmnopqrstuvwxyz_", at + 1);
  return close != std::string::npos && word[close] == '}' ? word.substr(at + 1, close - at - 1) : "";
}

}  // namespace

Result<Arm> parse_arm(FileSystem& files, const std::vector<std::string>& words, const std::string& program, const std::string& label) {
  Arm arm;
  arm.program = program;
  std::string all;
  for (const std::string& word : words) {
    TRY(add_word(files, arm, word, label));
    all += (all.empty() ? "" : " ") + word;
  }
  if (arm.name.empty()) arm.name = all.empty() ? "default" : all;
  return arm;
}

Json arm_to_json(const Arm& arm) {
  Json json = {{"name", arm.name}};
  if (arm.external()) {
    json["command"] = arm.command;
    json["environment"] = arm.environment;
    json["read"] = arm.reader.to_json();
    return json;
  }
  json["program"] = arm.program;
  json["train"] = arm.settings;
  if (!arm.environment.empty()) json["environment"] = arm.environment;
  if (arm.requires_quantized_layers) json["requires"] = "quantized_layers";
  return json;
}

Result<Arm> arm_from_json(const Json& json, const std::string& source) {
  static const std::vector<std::string> known = {"name", "program", "train", "requires", "command", "environment", "read"};
  if (!json.is_object()) return Error{ErrorCode::kUsage, fmt::format("{}: expected an object that describes an arm", source)};
  for (const auto& [key, value] : json.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end())
      return Error{ErrorCode::kUsage, fmt::format("{}: unknown key '{}'{}", source, key, did_you_mean(key, known))};
  }
  Arm arm;
  if (json.contains("name")) arm.name = TRY(text_field(json, "name", source));
  TRY(read_environment(arm, json, source));
  if (json.contains("command")) {
    TRY(read_external(arm, json, source));
    return arm;
  }
  if (json.contains("program")) arm.program = TRY(text_field(json, "program", source));
  if (json.contains("requires")) {
    const std::string requirement = TRY(text_field(json, "requires", source));
    TRY(set_requirement(arm, source, requirement));
  }
  if (json.contains("train")) {
    if (!json["train"].is_object()) return Error{ErrorCode::kUsage, fmt::format("{}: train: expected an object of training settings", source)};
    arm.settings = json["train"];
    if (arm.settings.value("engine", Json()) == "fused") arm.settings.erase("engine");
  }
  return arm;
}

Result<Json> request_of_arm(const Arm& arm, const Json& common) {
  // What the bench itself decides for both arms; an arm's own value would be overwritten, or make its trials no comparison.
  static const std::vector<std::string> reserved = {"data", "seed", "adapter_path", "train", "resume", "config"};
  for (const std::string& key : reserved) {
    if (!arm.settings.contains(key)) continue;
    return Error{ErrorCode::kUsage, fmt::format("arm '{}': {}: the bench sets it, the same for both arms; leave it out of the arm", arm.name, key)};
  }
  Json request = common;
  for (const auto& [key, value] : arm.settings.items()) {
    request[key] = value;
    if (key == "iters") request.erase("epochs");
    if (key == "epochs") request.erase("iters");
  }
  std::vector<Setting> settings;
  for (const auto& [key, value] : request.items()) settings.push_back({key, value, key, fmt::format("arm '{}': ", arm.name), {}});
  TRY(build_train_request(settings, {}));
  return request;
}

Result<std::vector<std::string>> expand_command(const Arm& arm, const Json& values) {
  std::vector<std::string> out;
  for (const std::string& word : arm.command) {
    std::string expanded;
    for (std::size_t at = 0; at < word.size();) {
      const std::string key = word[at] == '{' ? placeholder_at(word, at) : "";
      if (key.empty()) {
        expanded += word[at++];
        continue;
      }
      if (!values.contains(key)) {
        return Error{ErrorCode::kUsage,
                     fmt::format("arm '{}': command: nothing to put for '{{{}}}' in '{}'; give that setting to the bench", arm.name, key, word)};
      }
      expanded += values[key].is_string() ? values[key].get<std::string>() : values[key].dump();
      at += key.size() + 2;
    }
    out.push_back(expanded);
  }
  return out;
}

}  // namespace evolora
