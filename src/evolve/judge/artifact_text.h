// Text that a candidate could have a hand in (the compiler's words, names, output) made fit for prompts, terminals and reports.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "evolve/judge.h"

namespace evolora {

// Visible text (visible_text.h) of at most limit bytes, with backquotes in threes and the markers of blocks and edits broken up. What is too long
// loses its middle: first errors say most, last lines say how it ended.
std::string artifact_text(std::string_view text, std::size_t limit = kArtifactBytes);

// The same as one line, for Judgement::reason.
std::string artifact_line(std::string_view text);

}  // namespace evolora
