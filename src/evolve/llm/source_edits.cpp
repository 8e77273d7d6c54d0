// Finding blocks and matches by lines.
#include "evolve/llm/source_edits.h"

#include <fmt/format.h>

#include <algorithm>

#include "evolve/pack/marked_blocks.h"

namespace evolora {
namespace {

Error rejected(std::string_view reason, const std::string& what) { return {ErrorCode::kBadData, fmt::format("{}: {}", reason, what)}; }

bool has_marker(std::string_view text) { return text.find(kBlockStart) != std::string_view::npos || text.find(kBlockEnd) != std::string_view::npos; }

// The line that begins at `at`, without its newline; moves `at` behind it.
std::string_view next_line(std::string_view text, std::size_t& at) {
  const std::size_t newline = text.find('\n', at);
  const std::string_view line = text.substr(at, newline == std::string_view::npos ? newline : newline - at);
  at = newline == std::string_view::npos ? text.size() : newline + 1;
  return line;
}

std::string whole_lines(std::string_view text) { return std::string(text) + (text.empty() || text.back() == '\n' ? "" : "\n"); }

struct Match {
  const std::string* file = nullptr;
  std::size_t begin = 0, end = 0;
  const std::string* replace = nullptr;
};

// Every place where the lines of search stand in text.
void find_matches(const std::string& file, const std::string& text, const std::string& search, std::vector<Match>& matches) {
  // A file whose last line has no newline matches as if it had.
  const std::string padded = whole_lines(text);
  for (std::size_t at = padded.find(search); at != std::string::npos; at = padded.find(search, at + 1)) {
    if (at == 0 || padded[at - 1] == '\n') matches.push_back({.file = &file, .begin = at, .end = std::min(text.size(), at + search.size())});
  }
}

std::string first_line(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    std::string line(next_line(text, at));
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    constexpr std::size_t kLongest = 60;
    return line.size() > kLongest ? line.substr(0, kLongest) + "..." : line;
  }
  return "";
}

bool inside_a_block(const Match& match, const std::vector<SourceBlock>& blocks) {
  return std::any_of(blocks.begin(), blocks.end(),
                     [&](const SourceBlock& block) { return block.file == *match.file && block.begin <= match.begin && match.end <= block.end; });
}

Result<Match> place_of(const Sources& sources, const std::string& search, const std::vector<SourceBlock>& blocks) {
  if (search.find_first_not_of(" \t\n") == std::string::npos) return rejected("no_match", "the search text is empty");
  std::vector<Match> matches;
  for (const auto& [file, text] : sources) find_matches(file, text, search, matches);
  if (matches.empty())
    return rejected("no_match", fmt::format("the search text that begins with '{}' does not occur, line by line", first_line(search)));
  if (matches.size() > 1) {
    return rejected("two_matches", fmt::format("the search text that begins with '{}' occurs {} times", first_line(search), matches.size()));
  }
  if (!inside_a_block(matches[0], blocks)) {
    return rejected("outside_block", fmt::format("the search text that begins with '{}' stands outside the EVOLVE blocks", first_line(search)));
  }
  return matches[0];
}

}  // namespace

Result<std::vector<SourceBlock>> find_blocks(const Sources& sources) {
  std::vector<SourceBlock> blocks;
  for (const auto& [file, text] : sources) {
    const std::vector<MarkedBlock> in_file = TRY(marked_blocks(text, file));
    for (const MarkedBlock& block : in_file) blocks.push_back({.file = file, .begin = block.begin, .end = block.end});
  }
  if (blocks.empty())
    return Error{ErrorCode::kBadData, fmt::format("no file has a block between {} and {}: nothing may change", kBlockStart, kBlockEnd)};
  return blocks;
}

Result<Sources> apply_edits(const Sources& sources, const std::vector<SourceEdit>& edits) {
  const std::vector<SourceBlock> blocks = TRY(find_blocks(sources));
  std::vector<Match> matches;
  std::vector<std::string> replacements;
  replacements.reserve(edits.size());  // matches point at them
  for (const SourceEdit& edit : edits) {
    Match match = TRY(place_of(sources, whole_lines(edit.search), blocks));
    if (has_marker(edit.replace)) return rejected("outside_block", "the replacement has an EVOLVE-BLOCK marker");
    match.replace = &replacements.emplace_back(whole_lines(edit.replace));
    matches.push_back(match);
  }
  const auto order = [](const Match& a, const Match& b) { return a.file == b.file ? a.begin > b.begin : a.file < b.file; };
  std::sort(matches.begin(), matches.end(), order);
  Sources out = sources;
  for (std::size_t i = 0; i < matches.size(); ++i) {  // from the end of each file, so that places stay
    const Match& match = matches[i];
    if (i > 0 && matches[i - 1].file == match.file && match.end > matches[i - 1].begin) {
      return rejected("overlap", fmt::format("two edits touch the same lines of {}", *match.file));
    }
    out[*match.file].replace(match.begin, match.end - match.begin, *match.replace);
  }
  if (out == sources) return rejected("unchanged", "the edits change nothing");
  return out;
}

Result<Sources> replace_block(const Sources& sources, const SourceBlock& block, std::string_view code) {
  std::string text = whole_lines(code);
  // Only a pair of markers around the code, or none.
  const std::size_t start = text.find(kBlockStart), end = text.rfind(kBlockEnd);
  if (start != std::string::npos && end != std::string::npos && text.find('\n', start) < end) {
    text.resize(text.rfind('\n', end) + 1);
    text.erase(0, text.find('\n', start) + 1);
  }
  if (has_marker(text)) return rejected("outside_block", "the code has EVOLVE-BLOCK markers in its middle");
  Sources out = sources;
  std::string& file = out.at(block.file);
  file.replace(block.begin, block.end - block.begin, text);
  if (out == sources) return rejected("unchanged", "the code is the parent's");
  return out;
}

}  // namespace evolora
