// Text that a candidate, a compiler or an endpoint wrote, made fit to be shown to people and put into prompts: nothing invisible, nothing that moves
// the cursor or turns the reading direction, a bounded size.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "evolve/random.h"

namespace evolora {

// Visible text (visible_text.h). At most max_bytes are kept, from the beginning, whole characters; what follows is counted in a last line.
std::string harmless_text(std::string_view text, std::size_t max_bytes);

// The same as one line: newlines and tabs are spaces.
std::string one_line(std::string_view text, std::size_t max_bytes);

// 16 hexadecimal digits that occur in none of the texts: what stands between lines with them cannot end early, whatever it says.
std::string fence_for(const std::vector<std::string_view>& texts, Random& random);

}  // namespace evolora
