// One pass over the bytes, then the markers, then the length.
#include "evolve/judge/artifact_text.h"

#include "evolve/visible_text.h"

namespace evolora {
namespace {

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
  std::string out = visible_text(text);
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

std::string artifact_line(std::string_view text) {
  constexpr std::size_t kLineBytes = 400;
  std::string line = artifact_text(text, kLineBytes);
  for (char& c : line) {
    if (c == '\n' || c == '\t') c = ' ';
  }
  return line;
}

}  // namespace evolora
