// Edits of source text between EVOLVE-BLOCK-START and EVOLVE-BLOCK-END: exact, whole lines, all or nothing. What does not fit is an error whose
// message starts with one word for the reason and a colon:
//   no_match       the search text does not occur         two_matches  it occurs more than once, in whatever file
//   outside_block  it, or what replaces it, touches text outside the blocks or a marker
//   overlap        two edits touch the same lines          unchanged    the result is the original
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace evolora {

using Sources = std::map<std::string, std::string>;  // file name -> whole text

// What stands between two marker lines: whole lines, [begin, end) in the file's text.
struct SourceBlock {
  std::string file;
  std::size_t begin = 0;
  std::size_t end = 0;
};
// In order of files and places, as marked_blocks (evolve/pack/marked_blocks.h) finds them, with its errors; kBadData if there is none.
Result<std::vector<SourceBlock>> find_blocks(const Sources& sources);

struct SourceEdit {
  std::string search;   // whole lines; the newline of the last may be missing
  std::string replace;  // the same; empty: the lines go
};
// All edits are searched in the original, not in each other's results.
Result<Sources> apply_edits(const Sources& sources, const std::vector<SourceEdit>& edits);

// code instead of the block's lines. If it has both markers, what stands between them counts: models like to repeat them.
Result<Sources> replace_block(const Sources& sources, const SourceBlock& block, std::string_view code);

}  // namespace evolora
