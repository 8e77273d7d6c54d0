// Visible text, cut to a length.
#include "evolve/llm/untrusted_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "evolve/visible_text.h"

namespace evolora {
namespace {

// The longest beginning of at most max_bytes that does not cut a character. text is UTF-8.
std::string_view beginning(std::string_view text, std::size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  while (max_bytes > 0 && (static_cast<unsigned char>(text[max_bytes]) & 0xC0U) == 0x80) --max_bytes;
  return text.substr(0, max_bytes);
}

}  // namespace

std::string harmless_text(std::string_view text, std::size_t max_bytes) {
  const std::string clean = visible_text(text);
  const std::string_view kept = beginning(clean, max_bytes);
  if (kept.size() == clean.size()) return clean;
  return fmt::format("{}\n[{} bytes left out]", kept, clean.size() - kept.size());
}

std::string one_line(std::string_view text, std::size_t max_bytes) {
  std::string clean = visible_text(text);
  std::replace_if(
      clean.begin(), clean.end(), [](char c) { return c == '\n' || c == '\t'; }, ' ');
  const std::string_view kept = beginning(clean, max_bytes);
  return std::string(kept) + (kept.size() == clean.size() ? "" : " ...");
}

std::string fence_for(const std::vector<std::string_view>& texts, Random& random) {
  for (;;) {
    std::string fence = fmt::format("{:016x}", random.bits());
    const bool occurs = std::any_of(texts.begin(), texts.end(), [&](std::string_view text) { return text.find(fence) != std::string_view::npos; });
    if (!occurs) return fence;
  }
}

}  // namespace evolora
