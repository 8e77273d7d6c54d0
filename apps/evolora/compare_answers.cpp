// Reading of prompts files and layout of labelled blocks.
#include "compare_answers.h"

#include <fmt/format.h>

#include <algorithm>

#include "data/records.h"
#include "terminal.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

std::string content_of(const Json& message) {
  if (!message.is_object() || !message.contains("content")) return "";
  const Json& content = message["content"];
  return content.is_string() ? content.get<std::string>() : content.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<PromptRecord> prompt_of_chat(const Json& conversation, const std::string& place) {
  PromptRecord record;
  record.messages = conversation;
  const bool answered = !conversation.empty() && conversation.back().is_object() && conversation.back().value("role", Json()) == Json("assistant");
  if (answered) {
    record.expected = content_of(record.messages.back());
    record.messages.erase(record.messages.size() - 1);
  }
  if (record.messages.empty()) return Error{ErrorCode::kBadData, fmt::format("{}: the conversation has no question to answer", place)};
  record.prompt = content_of(record.messages.back());
  return record;
}

// Bytes of text that fill at most `columns` characters, preferring to end behind a space. Counts code points: good enough for a layout.
std::size_t fitting_bytes(std::string_view text, std::size_t columns) {
  std::size_t bytes = 0;
  std::size_t characters = 0;
  std::size_t behind_space = 0;
  while (bytes < text.size()) {
    const bool starts_character = (static_cast<unsigned char>(text[bytes]) & 0xC0U) != 0x80U;
    if (starts_character && characters == columns) return behind_space > 0 ? behind_space : bytes;
    characters += starts_character ? 1 : 0;
    ++bytes;
    if (text[bytes - 1] == ' ') behind_space = bytes;
  }
  return bytes;
}

}  // namespace

Result<std::vector<PromptRecord>> read_prompts(FileSystem& files, const fs::path& path) {
  const FeatureNames names;
  const RecordFile file = TRY(read_records(files, path, names));
  std::vector<PromptRecord> prompts;
  for (const Record& record : file.records) {
    if (file.format == RecordFormat::kChat) {
      prompts.push_back(TRY(prompt_of_chat(record.fields[names.chat], fmt::format("{}:{}", path.string(), record.line))));
      continue;
    }
    PromptRecord prompt;
    if (file.format == RecordFormat::kCompletions) {
      prompt.prompt = record.fields[names.prompt].get<std::string>();
      prompt.expected = record.fields[names.completion].get<std::string>();
      prompt.messages = Json::array({{{"role", "user"}, {"content", prompt.prompt}}});
    } else {
      prompt.prompt = record.fields[names.text].get<std::string>();
    }
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

std::string labelled_block(std::string_view label, std::string_view text, std::size_t width) {
  constexpr std::size_t kLabelColumns = 9;
  constexpr std::size_t kBarColumns = 3;
  const std::size_t columns = width > kLabelColumns + kBarColumns + 20 ? width - kLabelColumns - kBarColumns : 20;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  std::string out;
  bool first = true;
  do {
    const std::size_t line_end = std::min(text.find('\n'), text.size());
    const std::size_t bytes = fitting_bytes(text.substr(0, line_end), columns);
    const std::string shown = fmt::format("{:<{}}", first ? label : std::string_view(), kLabelColumns);
    out += fmt::format("{} {} {}\n", styled(Style::kBold, shown), styled(Style::kDim, "|"), text.substr(0, bytes));
    text.remove_prefix(bytes < text.size() && text[bytes] == '\n' ? bytes + 1 : bytes);
    first = false;
  } while (!text.empty());
  return out;
}

}  // namespace evolora
