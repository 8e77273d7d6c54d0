// JSONL lines -> checked records.
#include "data/records.h"

#include <fmt/format.h>

#include <utility>

#include "base/json.h"

namespace evolora {

namespace {

using Json = nlohmann::ordered_json;

Error at_line(const fs::path& path, std::size_t line, const std::string& what) {
  return Error{ErrorCode::kBadData, fmt::format("{}:{}: {}", path.string(), line, what)};
}

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

std::optional<RecordFormat> format_of(const Json& record, const FeatureNames& names) {
  if (record.contains(names.prompt) && record.contains(names.completion)) return RecordFormat::kCompletions;
  if (record.contains(names.chat)) return RecordFormat::kChat;
  if (record.contains(names.text)) return RecordFormat::kText;
  return std::nullopt;
}

// The problem with record[key], or empty.
std::string text_problem(const Json& record, const std::string& key) {
  if (!record.contains(key)) return fmt::format("key \"{}\" is missing", key);
  if (!record[key].is_string()) return fmt::format("\"{}\": expected text, found {}", key, record[key].type_name());
  return {};
}

std::string messages_problem(const Json& record, const std::string& key) {
  if (!record.contains(key)) return fmt::format("key \"{}\" is missing", key);
  const Json& messages = record[key];
  if (!messages.is_array()) return fmt::format("\"{}\": expected a list of messages, found {}", key, messages.type_name());
  if (messages.empty()) return fmt::format("\"{}\" is empty; a conversation needs at least one message", key);
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (!messages[i].is_object()) return fmt::format("\"{}\"[{}]: expected an object, found {}", key, i, messages[i].type_name());
    const std::string problem = text_problem(messages[i], "role");
    if (!problem.empty()) return fmt::format("\"{}\"[{}]: {}", key, i, problem);
  }
  return {};
}

std::string problem_with(const Json& record, RecordFormat format, const FeatureNames& names) {
  switch (format) {
    case RecordFormat::kChat: return messages_problem(record, names.chat);
    case RecordFormat::kText: return text_problem(record, names.text);
    case RecordFormat::kCompletions: {
      const std::string prompt = text_problem(record, names.prompt);
      return prompt.empty() ? text_problem(record, names.completion) : prompt;
    }
  }
  return {};
}

}  // namespace

std::string_view record_format_name(RecordFormat format) {
  switch (format) {
    case RecordFormat::kChat: return "chat";
    case RecordFormat::kCompletions: return "completions";
    case RecordFormat::kText: return "text";
  }
  return "";
}

Result<RecordFile> read_records(FileSystem& files, const fs::path& path, const FeatureNames& names) {
  if (!files.exists(path)) return Error{ErrorCode::kNotFound, fmt::format("{}: no such file", path.string())};
  const MappedFile file = TRY(files.map(path));
  std::string_view rest(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());

  RecordFile out;
  out.path = path;
  for (std::size_t line = 1; !rest.empty(); ++line) {
    const std::size_t end = rest.find('\n');
    const std::string_view text = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    if (is_blank(text)) {
      if (rest.find_first_not_of(" \t\r\n") == std::string_view::npos) break;
      return at_line(path, line, "blank line; every line must hold one JSON object");
    }
    Result<Json> parsed = parse_json(text);
    if (!parsed.ok()) return at_line(path, line, parsed.error().message);
    if (!parsed->is_object()) return at_line(path, line, fmt::format("expected a JSON object, found {}", parsed->type_name()));
    if (out.records.empty()) {
      const auto format = format_of(*parsed, names);
      if (!format) {
        return at_line(path, line,
                       fmt::format("no known format: expected the keys \"{}\" and \"{}\", or \"{}\", or \"{}\"", names.prompt, names.completion,
                                   names.chat, names.text));
      }
      out.format = *format;
    }
    const std::string problem = problem_with(*parsed, out.format, names);
    if (!problem.empty())
      return at_line(path, line, fmt::format("{} (the file's format, set by its first record, is {})", problem, record_format_name(out.format)));
    out.records.push_back(Record{line, std::move(*parsed)});
  }
  return out;
}

}  // namespace evolora
