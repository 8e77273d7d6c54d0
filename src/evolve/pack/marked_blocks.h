// What of a text may change: the lines between EVOLVE-BLOCK-START and EVOLVE-BLOCK-END, in the comment syntax of any language.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace evolora {

inline constexpr std::string_view kBlockStart = "EVOLVE-BLOCK-START";
inline constexpr std::string_view kBlockEnd = "EVOLVE-BLOCK-END";

struct MarkedBlock {
  std::size_t begin = 0;  // bytes [begin, end) of the text: whole lines, without those of the markers
  std::size_t end = 0;
  int first_line = 0;  // number of the first line in it, from 1
};

// In order; may be empty. A marker is a line that has its word anywhere. kBadData "NAME:LINE: what": a block that is not closed, closed twice, or
// begins in another; two markers in one line.
Result<std::vector<MarkedBlock>> marked_blocks(std::string_view text, const std::string& name);

}  // namespace evolora
