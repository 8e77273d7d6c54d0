// The terminal: whether there is one, its width, colours, and human-readable figures.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace evolora {

// Is standard output a terminal (progress may be rewritten in place)?
bool stdout_is_terminal();
// Columns of the terminal; 100 where there is none.
std::size_t terminal_width();

enum class Style { kBold, kDim, kGreen, kYellow, kRed, kCyan };
// text in that style if standard output is a terminal and NO_COLOR (https://no-color.org) is not set; else text.
std::string styled(Style style, std::string_view text);

std::string human_bytes(std::size_t bytes);       // "812 kB", "34.5 MB", "1.20 GB" (decimal units)
std::string human_count(std::size_t count);       // "512", "12,345"
std::string human_duration(double seconds);       // "0:07", "12:34", "1:02:03"
std::string human_parameters(std::size_t count);  // "4.9 M", "1.24 B"

// "evolora: warning: message" on standard error.
void print_warning(std::string_view message);

}  // namespace evolora
