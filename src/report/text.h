// Figures as people read them, in terminals and reports alike.
#pragma once

#include <cstddef>
#include <string>

namespace evolora {

// About four significant digits: "12345", "12.34", "0.00123".
std::string figure_text(double value);

std::string human_bytes(std::size_t bytes);       // "812 kB", "34.5 MB", "1.20 GB" (decimal units)
std::string human_count(std::size_t count);       // "512", "12,345"
std::string human_duration(double seconds);       // "0:07", "12:34", "1:02:03"
std::string human_parameters(std::size_t count);  // "4.9 M", "1.24 B"

}  // namespace evolora
