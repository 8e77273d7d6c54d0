// The terminal: whether there is one, its width, colours. Figures for people are in report/text.h.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "report/text.h"

namespace evolora {

// Is standard output a terminal (progress may be rewritten in place)?
bool stdout_is_terminal();
// Columns of the terminal; 100 where there is none.
std::size_t terminal_width();

enum class Style { kBold, kDim, kGreen, kYellow, kRed, kCyan };
// text in that style if standard output is a terminal and NO_COLOR (https://no-color.org) is not set; else text.
std::string styled(Style style, std::string_view text);

// "evolora: warning: message" on standard error.
void print_warning(std::string_view message);

}  // namespace evolora
