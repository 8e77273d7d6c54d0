// Line by line, with \r\n read as \n and reasoning (<think>...</think>) left out.
#include "evolve/llm/answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/json.h"
#include "evolve/llm/untrusted_text.h"

namespace evolora {
namespace {

Error no_edit(const std::string& what) { return {ErrorCode::kBadData, "no_edit: " + what}; }

std::string_view trimmed(std::string_view line) {
  const std::size_t first = line.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return line.substr(first, line.find_last_not_of(" \t") - first + 1);
}

std::vector<std::string> lines_of(std::string_view answer) {
  if (const std::size_t end = answer.find("</think>"); end != std::string_view::npos) answer.remove_prefix(end + 8);
  std::vector<std::string> lines(1);
  for (const char c : answer) {
    if (c == '\n') {
      lines.emplace_back();
    } else if (c != '\r') {
      lines.back() += c;
    }
  }
  return lines;
}

// Length of the run of ` or ~ that opens or closes a fence, 0 if none.
std::size_t fence_length(std::string_view line) {
  const std::string_view text = trimmed(line);
  if (text.empty() || (text[0] != '`' && text[0] != '~')) return 0;
  const std::size_t length = std::min(text.find_first_not_of(text[0]), text.size());
  return length >= 3 ? length : 0;
}

struct Fenced {
  std::vector<std::string> blocks;
  bool open = false;  // the last one is not closed
};

Fenced fenced_blocks(const std::vector<std::string>& lines) {
  Fenced out;
  std::size_t opened = 0;
  char mark = 0;
  for (const std::string& line : lines) {
    const std::size_t length = fence_length(line);
    if (!out.open && length > 0) {
      out.open = true;
      opened = length;
      mark = trimmed(line)[0];
      out.blocks.emplace_back();
    } else if (out.open && length >= opened && trimmed(line) == std::string(length, mark)) {
      out.open = false;
    } else if (out.open) {
      out.blocks.back() += line + "\n";
    }
  }
  return out;
}

}  // namespace

Result<std::vector<SourceEdit>> edits_in_answer(std::string_view answer) {
  constexpr std::string_view kOpens = "<<<<<<< SEARCH", kMiddle = "=======", kCloses = ">>>>>>> REPLACE";
  enum class Part { kTalk, kSearch, kReplace } part = Part::kTalk;
  std::vector<SourceEdit> edits;
  for (const std::string& line : lines_of(answer)) {
    const std::string_view text = trimmed(line);
    if (text == kOpens) {
      if (part != Part::kTalk) return no_edit(fmt::format("edit {} is not closed by '{}'", edits.size(), kCloses));
      edits.emplace_back();
      part = Part::kSearch;
    } else if (text == kMiddle && part == Part::kSearch) {
      part = Part::kReplace;
    } else if (text == kCloses) {
      if (part != Part::kReplace) return no_edit(fmt::format("'{}' without '{}' and '{}' before it", kCloses, kOpens, kMiddle));
      part = Part::kTalk;
    } else if (part != Part::kTalk) {
      (part == Part::kSearch ? edits.back().search : edits.back().replace) += line + "\n";
    }
  }
  if (part != Part::kTalk) return no_edit(fmt::format("edit {} is cut off", edits.size()));
  if (edits.empty()) return no_edit("the answer has no SEARCH/REPLACE block");
  return edits;
}

Result<std::string> code_in_answer(std::string_view answer) {
  const Fenced fenced = fenced_blocks(lines_of(answer));
  if (fenced.blocks.empty()) return no_edit("the answer has no fenced code");
  const auto longest = std::max_element(fenced.blocks.begin(), fenced.blocks.end(), [](const auto& a, const auto& b) { return a.size() < b.size(); });
  // A model that repeats itself until it is cut off has said the whole before.
  if (fenced.open && longest == std::prev(fenced.blocks.end())) return no_edit("the fenced code is cut off");
  if (longest->find_first_not_of(" \t\n") == std::string::npos) return no_edit("the fenced code is empty");
  return *longest;
}

Result<nlohmann::ordered_json> object_in_answer(std::string_view answer) {
  const std::vector<std::string> lines = lines_of(answer);
  const Fenced fenced = fenced_blocks(lines);
  std::string text;
  if (!fenced.open && !fenced.blocks.empty()) {
    text = fenced.blocks.back();
  } else {
    for (const std::string& line : lines) text += line + "\n";
    const std::size_t first = text.find('{'), last = text.rfind('}');
    if (first == std::string::npos || last == std::string::npos || last < first) return no_edit("the answer has no JSON object");
    text = text.substr(first, last - first + 1);
  }
  Result<nlohmann::ordered_json> parsed = parse_json(text);
  if (!parsed.ok()) return no_edit(one_line(parsed.error().message, 200));
  if (!parsed->is_object()) return no_edit(fmt::format("expected a JSON object, got {}", parsed->type_name()));
  return parsed;
}

}  // namespace evolora
