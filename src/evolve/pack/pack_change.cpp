// Comparing piece by piece: fixed text, block, fixed text, ...
#include "evolve/pack/pack_change.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "base/sha256.h"
#include "evolve/pack/marked_blocks.h"
#include "kernels/pack/source_lexer.h"

namespace evolora {
namespace {

Error error_at(const std::string& name, int line, const std::string& what) {
  return Error{ErrorCode::kBadData, fmt::format("{}:{}: {}", name, line, what)};
}

std::string_view first_line(std::string_view text) {
  constexpr std::size_t kShown = 100;
  return text.substr(0, std::min(text.find('\n'), kShown));
}

// line: number of the pieces' first line in the proposal.
Status check_fixed_text(std::string_view original, std::string_view proposed, const std::string& name, int line) {
  while (!original.empty() || !proposed.empty()) {
    const std::size_t expected_size = std::min(original.find('\n'), original.size()), got_size = std::min(proposed.find('\n'), proposed.size());
    if (original.substr(0, expected_size + 1) != proposed.substr(0, got_size + 1)) {
      return error_at(name, line, fmt::format("a change outside the blocks: expected '{}', got '{}'", first_line(original), first_line(proposed)));
    }
    original.remove_prefix(std::min(expected_size + 1, original.size()));
    proposed.remove_prefix(std::min(got_size + 1, proposed.size()));
    ++line;
  }
  return {};
}

// The text after a block must mean what it meant before: no comment, literal or condition that begins in it may reach over its end.
Status check_block_is_whole(std::string_view block, const std::string& name, int line) {
  const std::string label = fmt::format("{}: block that begins in line {}", name, line);
  const std::vector<Token> tokens = TRY(lex_source(block, label));
  int open = 0;
  for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
    if (tokens[i].kind != TokenKind::kDirective) continue;
    const std::string_view word = tokens[i + 1].text;
    if (word == "if" || word == "ifdef" || word == "ifndef") ++open;
    const bool belongs = word == "else" || word == "elif" || word == "endif";
    if (belongs && open == 0) return error_at(name, line + tokens[i].line - 1, fmt::format("#{} of a condition that begins outside the block", word));
    if (word == "endif") --open;
  }
  if (open != 0) return error_at(name, line, "a block with an #if that does not end in it");
  return {};
}

Status check_file(const std::string& name, std::string_view original, std::string_view proposed) {
  const std::vector<MarkedBlock> before = TRY(marked_blocks(original, name));
  const std::vector<MarkedBlock> after = TRY(marked_blocks(proposed, name));
  std::size_t original_at = 0, proposed_at = 0;
  int line = 1;
  const auto lines_in = [](std::string_view text) { return static_cast<int>(std::count(text.begin(), text.end(), '\n')); };
  for (std::size_t i = 0; i < std::min(before.size(), after.size()); ++i) {
    TRY(check_fixed_text(original.substr(original_at, before[i].begin - original_at), proposed.substr(proposed_at, after[i].begin - proposed_at),
                         name, line));
    const std::string_view block = proposed.substr(after[i].begin, after[i].end - after[i].begin);
    TRY(check_block_is_whole(block, name, after[i].first_line));
    line = after[i].first_line + lines_in(block);
    original_at = before[i].end;
    proposed_at = after[i].end;
  }
  // With it the markers of blocks that only one of the two has.
  return check_fixed_text(original.substr(original_at), proposed.substr(proposed_at), name, line);
}

}  // namespace

Status check_change(const PackSources& original, const PackSources& proposed) {
  for (const auto& [name, text] : proposed) {
    if (!original.contains(name)) return Error{ErrorCode::kBadData, fmt::format("{}: the pack has no file of this name", name)};
  }
  for (const auto& [name, text] : original) {
    const auto found = proposed.find(name);
    if (found == proposed.end()) return Error{ErrorCode::kBadData, fmt::format("{}: the file is missing", name)};
    TRY(check_file(name, text, found->second));
  }
  return {};
}

Result<std::string> novelty_digest(const PackSources& sources) {
  std::string all;
  for (const auto& [name, text] : sources) all += fmt::format("{} {}\n", TRY(canonical_digest(text, name)), name);
  return sha256_hex(all);
}

}  // namespace evolora
