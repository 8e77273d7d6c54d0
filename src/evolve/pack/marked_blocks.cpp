// One pass over the lines.
#include "evolve/pack/marked_blocks.h"

#include <fmt/format.h>

#include <algorithm>

namespace evolora {
namespace {

std::size_t count_of(std::string_view line, std::string_view word) {
  std::size_t count = 0;
  for (std::size_t at = line.find(word); at != std::string_view::npos; at = line.find(word, at + word.size())) ++count;
  return count;
}

}  // namespace

Result<std::vector<MarkedBlock>> marked_blocks(std::string_view text, const std::string& name) {
  std::vector<MarkedBlock> blocks;
  int number = 0, opened = 0;  // line of the open block's marker; 0: none is open
  const auto error = [&](int line, const std::string& what) { return Error{ErrorCode::kBadData, fmt::format("{}:{}: {}", name, line, what)}; };
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size() - 1) + 1;
    const std::string_view line = text.substr(begin, end - begin);
    ++number;
    const std::size_t starts = count_of(line, kBlockStart), ends = count_of(line, kBlockEnd);
    if (starts + ends > 1) return error(number, "two markers in one line");
    if (starts == 1) {
      if (opened != 0) return error(number, fmt::format("{} inside the block that begins in line {}", kBlockStart, opened));
      opened = number;
      blocks.push_back({.begin = end, .end = end, .first_line = number + 1});
    }
    if (ends == 1) {
      if (opened == 0) return error(number, fmt::format("{} without {} before it", kBlockEnd, kBlockStart));
      opened = 0;
      blocks.back().end = begin;
    }
    begin = end;
  }
  if (opened != 0) return error(opened, fmt::format("{} without {} after it", kBlockStart, kBlockEnd));
  return blocks;
}

}  // namespace evolora
