// An arm of a bench: one of the two ways of training that are compared. Either this program (or another build of it) with certain settings, or an
// external command.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/file_system.h"
#include "measure/output_reader.h"

namespace evolora {

struct Arm {
  std::string name;                                                    // as the user wrote it, for tables
  std::string program;                                                 // path of the evolora to run; empty for an external command
  nlohmann::ordered_json settings = nlohmann::ordered_json::object();  // keys of a training request (train/request_keys.h) over the common ones
  bool requires_quantized_layers = false;                              // a trial that adapts none is invalid
  std::map<std::string, std::string> environment;                      // variables over those of the bench

  // External only.
  std::vector<std::string> command;  // {model} {data} {seed} {out} and {key} of any common setting are replaced; other braces stay
  OutputReader reader;

  bool external() const { return !command.empty(); }
};

// words, in order, each "KEY=VALUE" (a setting of the training request, or program=PATH, name=TEXT, requires=quantized_layers), or one of these short
// forms: an engine (fused, mlx), a kernel set (cpu, reference), a fine_tune_type (lora, dora, full), or a JSON file: a recipe, or an arm {"name",
// "train": {...}, "program", "requires", "environment": {...}} or {"name", "command": [...], "environment": {...}, "read": {...}}. program: the
// default one. label: "--candidate", for messages. Errors: kUsage, kNotFound, kBadData naming the word or the file's field.
Result<Arm> parse_arm(FileSystem& files, const std::vector<std::string>& words, const std::string& program, const std::string& label);

nlohmann::ordered_json arm_to_json(const Arm& arm);
Result<Arm> arm_from_json(const nlohmann::ordered_json& json, const std::string& source);

// The training request of a trial: common settings, then the arm's. The result has been accepted by build_train_request; errors carry the arm's name.
Result<nlohmann::ordered_json> request_of_arm(const Arm& arm, const nlohmann::ordered_json& common);

// The external command's arguments with every {KEY} replaced from values. kUsage naming a placeholder that has no value.
Result<std::vector<std::string>> expand_command(const Arm& arm, const nlohmann::ordered_json& values);

}  // namespace evolora
