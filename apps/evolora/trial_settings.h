// What commands that train in child processes share: the common settings of their trials, the program to start, flags that are shares.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/file_system.h"
#include "base/result.h"
#include "train_flags.h"

namespace evolora {

// "1%" or "0.01". kUsage naming the flag.
Result<double> share_of_flag(const std::string& flag, const std::string& text);
// The same for how much a figure may grow: up to 1000 is possible, "150%" or "1.5". Empty: otherwise.
Result<double> growth_of_flag(const std::string& flag, const std::string& text, double otherwise);

// Of this program and the compiler that made it, as plans keep them.
nlohmann::ordered_json built_versions();

// Path of the program that runs now. kUnsupported where the system does not say.
Result<std::string> own_program();

// Training settings of both arms: YAML, then flags; paths made absolute, so that the plan means the same from everywhere. kUsage without model or
// data, kNotFound if there is none.
Result<nlohmann::ordered_json> common_trial_settings(const TrainFlags& flags, FileSystem& files);

}  // namespace evolora
