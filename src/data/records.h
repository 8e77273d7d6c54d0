// JSONL files in mlx-lm's three local formats: chat {"messages": [...]}, completions {"prompt", "completion"}, text {"text"}.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/file_system.h"

namespace evolora {

enum class RecordFormat { kChat, kCompletions, kText };
std::string_view record_format_name(RecordFormat format);

// Names of the keys that hold the content (mlx-lm's prompt_feature and so on).
struct FeatureNames {
  std::string prompt = "prompt";
  std::string completion = "completion";
  std::string text = "text";
  std::string chat = "messages";
};

struct Record {
  std::size_t line = 0;           // 1-based line in the file, for errors
  nlohmann::ordered_json fields;  // an object that has the keys of its format with the right types
};

// One file. All records have one format, decided by the first as mlx-lm does (completions, then chat, then text).
struct RecordFile {
  fs::path path;
  RecordFormat format = RecordFormat::kText;
  std::vector<Record> records;
};

// Reads and checks every line. Errors say "path:line: what" with code kBadData (bad JSON, not an object, missing or mistyped key, no known format,
// bad UTF-8); kNotFound if the file does not exist. An empty file gives no records. Blank lines: an error, as mlx-lm has it, except at the end of the
// file.
Result<RecordFile> read_records(FileSystem& files, const fs::path& path, const FeatureNames& names);

}  // namespace evolora
