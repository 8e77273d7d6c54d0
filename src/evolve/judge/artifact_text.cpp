// One pass over the bytes, then the markers, then the length.
#include "evolve/judge/artifact_text.h"

#include <array>
#include <cstdint>

namespace evolora {
namespace {

// The code point that begins at text[at] and its length in bytes; length 0: not valid UTF-8 (RFC 3629).
struct CodePoint {
  std::uint32_t value = 0;
  std::size_t length = 0;
};

CodePoint code_point_at(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  const std::uint32_t first = byte(at);
  if (first < 0x80) return {first, 1};
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || at + length > text.size()) return {};
  std::uint32_t value = first & (0xFFU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0U) != 0x80) return {};
    value = value << 6 | (byte(at + i) & 0x3FU);
  }
  constexpr std::array<std::uint32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (value < kSmallest[length] || value > 0x10FFFF || surrogate) return {};
  return {value, length};
}

bool is_harmful(std::uint32_t c) {
  const auto within = [c](std::uint32_t low, std::uint32_t high) { return low <= c && c <= high; };
  if (c == '\n' || c == '\t') return false;
  return c < 0x20 || within(0x7F, 0x9F) || c == 0xAD || c == 0x61C || c == 0x180E || within(0x200B, 0x200F) || within(0x2028, 0x202E) ||
         within(0x2060, 0x206F) || within(0xFE00, 0xFE0F) || c == 0xFEFF || within(0xFFF0, 0xFFFB) || within(0xE0000, 0xE0FFF);
}

// Length of the terminal escape sequence that begins at text[at], which is ESC.
std::size_t escape_length(std::string_view text, std::size_t at) {
  std::size_t end = at + 1;
  if (end >= text.size() || text[end] != '[') return 1;
  for (++end; end < text.size() && static_cast<unsigned char>(text[end]) >= 0x20 && static_cast<unsigned char>(text[end]) < 0x40;) ++end;
  return end < text.size() ? end + 1 - at : end - at;
}

void break_up(std::string& text, std::string_view marker, std::size_t after) {
  for (std::size_t at = text.find(marker); at != std::string::npos; at = text.find(marker, at + 1)) text.insert(at + after, " ");
}

std::size_t character_begin(const std::string& text, std::size_t at) {
  while (at > 0 && at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80) --at;
  return at;
}

}  // namespace

std::string artifact_text(std::string_view text, std::size_t limit) {
  // Far more than can be kept is not worth looking at: the ends are enough.
  std::string ends;
  if (text.size() > 16 * limit + 64) {
    ends = std::string(text.substr(0, 8 * limit)) + std::string(text.substr(text.size() - 8 * limit));
    text = ends;
  }
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == '\x1b') {
      at += escape_length(text, at);
      continue;
    }
    const CodePoint c = code_point_at(text, at);
    if (c.length == 0) {
      out += '?';
      ++at;
      continue;
    }
    if (!is_harmful(c.value)) out += text.substr(at, c.length);
    at += c.length;
  }
  for (const std::string_view marker : {"EVOLVE-BLOCK", "<<<<<<<", ">>>>>>>", "======="}) break_up(out, marker, marker.size() / 2);
  break_up(out, "``", 1);
  if (out.size() <= limit) return out;
  constexpr std::string_view kGap = "\n[...]\n";
  if (limit <= 2 * kGap.size()) return out.substr(0, character_begin(out, limit));
  const std::size_t head = character_begin(out, (limit - kGap.size()) * 2 / 3);
  std::size_t tail = out.size() - (limit - kGap.size() - head);
  while (tail < out.size() && (static_cast<unsigned char>(out[tail]) & 0xC0U) == 0x80) ++tail;
  return out.substr(0, head) + std::string(kGap) + out.substr(tail);
}

}  // namespace evolora
