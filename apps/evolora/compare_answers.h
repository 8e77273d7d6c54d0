// Answers of base and tuned model to the same prompts, one below the other with aligned labels.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/file_system.h"

namespace evolora {

// One record of a prompts file: what to ask, and what the record says the answer is.
struct PromptRecord {
  nlohmann::ordered_json messages;  // null for a text record
  std::string prompt;               // shown; for text records also what is fed
  std::optional<std::string> expected;
};

// Chat (a last assistant message is the expected answer), completions, or text. Errors of read_records; kBadData naming the line of a chat without a
// question.
Result<std::vector<PromptRecord>> read_prompts(FileSystem& files, const fs::path& path);

// "label     | text", wrapped to width with every line behind the bar.
std::string labelled_block(std::string_view label, std::string_view text, std::size_t width);

}  // namespace evolora
