// What is left of foreign text when all that hides or moves the cursor is gone: the part that texts for prompts and for reports have in common.
#pragma once

#include <string>
#include <string_view>

namespace evolora {

// Without terminal escape sequences, control characters other than newline and tab, marks of reading direction, and characters of no width or meant
// to be invisible (among them the tag characters U+E0000 to U+E007F). Bytes that are not UTF-8 become '?'.
std::string visible_text(std::string_view text);

}  // namespace evolora
