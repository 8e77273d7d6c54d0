// Text that a candidate could have a hand in (the compiler's words, names, output) made fit for prompts, terminals and reports.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace evolora {

inline constexpr std::size_t kArtifactBytes = 4096;

// Valid UTF-8 of at most limit bytes without control characters but newline and tab, without escape sequences, without characters that change the
// direction or are invisible (bidi controls, zero width, byte order mark, tags), with backquotes in threes and the markers of blocks and edits
// broken up. What is too long loses its middle: first errors say most, last lines say how it ended.
std::string artifact_text(std::string_view text, std::size_t limit = kArtifactBytes);

}  // namespace evolora
