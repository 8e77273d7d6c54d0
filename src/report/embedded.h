// Files that the build puts into the program: our own style and drawing code from src/report/assets, and the plot library from build/plots.
#pragma once

#include <string_view>

namespace evolora {

// Content of the file; all live as long as the program.
std::string_view report_style();       // assets/report.css
std::string_view report_script();      // assets/charts.js
std::string_view plot_library_base();  // D3 with its licence in front; empty if the build had no plot library
std::string_view plot_library();       // Observable Plot, likewise

}  // namespace evolora
