// isatty, window size, ANSI styles and number formatting.
#include "terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace evolora {

bool stdout_is_terminal() {
  static const bool is_terminal = isatty(STDOUT_FILENO) == 1;
  return is_terminal;
}

std::size_t terminal_width() {
  constexpr std::size_t kDefault = 100;
  winsize size{};
  if (!stdout_is_terminal() || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return kDefault;
  return size.ws_col;
}

std::string styled(Style style, std::string_view text) {
  static const bool colours = stdout_is_terminal() && std::getenv("NO_COLOR") == nullptr;
  if (!colours) return std::string(text);
  const char* code = "";
  switch (style) {
    case Style::kBold: code = "1"; break;
    case Style::kDim: code = "2"; break;
    case Style::kGreen: code = "32"; break;
    case Style::kYellow: code = "33"; break;
    case Style::kRed: code = "31"; break;
    case Style::kCyan: code = "36"; break;
  }
  return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

void print_warning(std::string_view message) {
  std::fflush(stdout);
  fmt::print(stderr, "evolora: warning: {}\n", message);
}

}  // namespace evolora
