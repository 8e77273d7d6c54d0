// Reads a YAML file of training options the way mlx-lm does (PyYAML's SafeLoader with YAML 1.1 booleans, plus floats without a dot such as 1e-5).
#pragma once

#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/file_system.h"
#include "train/request_keys.h"

namespace evolora {

// One setting per top-level key, in the file's order, each with its line. Keys are not judged here (build_train_request does).
// Errors: kNotFound / kIo of the file, kUsage with "path:line: " for a syntax error, a duplicate key, or a document that is not a block of keys.
Result<std::vector<Setting>> read_request_yaml(FileSystem& files, const fs::path& path);

// A plain (unquoted) YAML scalar as PyYAML resolves it: null, boolean, integer (also 0x, 0o-style octal, 0b, with '_'), float, else text.
nlohmann::ordered_json resolve_plain_scalar(std::string_view text);

}  // namespace evolora
