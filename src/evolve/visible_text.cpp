// Filters by code point, after escape sequences were taken out by their own grammar (ECMA-48).
#include "evolve/visible_text.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "formats/utf8.h"

namespace evolora {
namespace {

// Length in bytes of the character that starts text, or nothing if it is not well-formed.
std::optional<std::size_t> character_length(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  const std::size_t length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (length > text.size() || !is_utf8(text.substr(0, length))) return std::nullopt;
  return length;
}

char32_t code_point(std::string_view character) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(character[i]); };
  if (character.size() == 1) return byte(0);
  char32_t code = byte(0) & (0xFFU >> (character.size() + 1));
  for (std::size_t i = 1; i < character.size(); ++i) code = code << 6 | (byte(i) & 0x3FU);
  return code;
}

bool is_shown(char32_t c) {
  if (c == '\n' || c == '\t') return true;
  struct Range {
    char32_t low, high;
  };
  static constexpr Range kHidden[] = {
      {0x00, 0x1F},     {0x7F, 0x9F},  // controls
      {0xAD, 0xAD},                    // soft hyphen
      {0x61C, 0x61C},   {0x115F, 0x1160}, {0x17B4, 0x17B5},   {0x180B, 0x180F},
      {0x200B, 0x200F}, {0x2028, 0x202E},  // zero width, direction, line separators
      {0x2060, 0x206F}, {0x3164, 0x3164}, {0xFE00, 0xFE0F},   {0xFEFF, 0xFEFF},
      {0xFFA0, 0xFFA0}, {0xFFF0, 0xFFFB}, {0xE0000, 0xE0FFF},  // tags and variation selectors
  };
  return std::none_of(std::begin(kHidden), std::end(kHidden), [&](const Range& r) { return r.low <= c && c <= r.high; });
}

// Bytes of the escape sequence at the beginning of text (which starts with ESC).
std::size_t escape_length(std::string_view text) {
  if (text.size() < 2) return text.size();
  std::size_t i = 2;
  if (text[1] == '[') {  // CSI: parameters and intermediates, then one final byte
    while (i < text.size() && text[i] >= 0x20 && text[i] <= 0x3F) ++i;
    return std::min(text.size(), i + 1);
  }
  if (text[1] == ']' || text[1] == 'P' || text[1] == '_' || text[1] == '^' || text[1] == 'X') {  // a string up to BEL or ESC backslash, in one line
    while (i < text.size() && text[i] != '\a' && text[i] != '\x1b' && text[i] != '\n') ++i;
    if (i < text.size() && text[i] == '\a') return i + 1;
    return i + 1 < text.size() && text[i] == '\x1b' && text[i + 1] == '\\' ? i + 2 : i;
  }
  return 2;
}

}  // namespace

std::string visible_text(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    if (text[0] == '\x1b') {
      text.remove_prefix(escape_length(text));
      continue;
    }
    const std::optional<std::size_t> length = character_length(text);
    if (!length) {
      out += '?';
      text.remove_prefix(1);
      continue;
    }
    if (is_shown(code_point(text.substr(0, *length)))) out += text.substr(0, *length);
    text.remove_prefix(*length);
  }
  return out;
}

}  // namespace evolora
