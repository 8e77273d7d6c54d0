// What compilers and candidates say: nothing invisible or active survives, sizes are bounded, fences cannot be closed from inside.
#include "evolve/llm/untrusted_text.h"

#include <gtest/gtest.h>

#include "formats/utf8.h"

namespace evolora {
namespace {

TEST(UntrustedText, DropsWhatIsNotShown) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"plain\n\ttext \xe2\x82\xac", "plain\n\ttext \xe2\x82\xac"},
      {"\x1b[31mred\x1b[0m", "red"},
      {"a\x1b]0;title\x07z", "az"},
      {"a\x1b]8;;http://x\x1b\\link", "alink"},
      {"a\x1b", "a"},
      {"a\x1b[", "a"},
      {"over\rwrite\b\b", "overwrite"},
      {std::string("nul\0x", 5), "nulx"},
      {"\xc2\x9b"
       "31m",
       "31m"},  // C1 CSI
      {"a\xe2\x80\xae"
       "b\xe2\x81\xa6"
       "c",
       "abc"},                               // right-to-left override, isolate
      {"z\xe2\x80\x8bw\xef\xbb\xbf", "zw"},  // zero width
      {"t\xf3\xa0\x81\x81g", "tg"},          // tag character
      {"bad\xff\xc3", "bad??"},
      {"\xed\xa0\x80", "???"},  // surrogate
  };
  for (const auto& [text, expected] : cases) EXPECT_EQ(harmless_text(text, 100), expected);
}

TEST(UntrustedText, CutsAtWholeCharactersAndSaysSo) {
  EXPECT_EQ(harmless_text("abcdef", 6), "abcdef");
  EXPECT_EQ(harmless_text("abcdef", 4), "abcd\n[2 bytes left out]");
  EXPECT_EQ(harmless_text("ab\xe2\x82\xac", 4), "ab\n[3 bytes left out]");
  EXPECT_EQ(one_line("a\nb\tc", 100), "a b c");
  EXPECT_EQ(one_line("abc", 2), "ab ...");
}

TEST(UntrustedText, AnyBytesBecomeUtf8) {
  Random random(1, 2);
  for (int trial = 0; trial < 2000; ++trial) {
    std::string bytes(random.below(40), '\0');
    for (char& c : bytes) c = static_cast<char>(random.below(256));
    const std::string clean = harmless_text(bytes, 30);
    EXPECT_TRUE(is_utf8(clean));
    EXPECT_EQ(clean.find('\x1b'), std::string::npos);
  }
}

TEST(UntrustedText, AFenceOccursInNoText) {
  Random first(7, 7);
  const std::string taken = fence_for({}, first);
  Random second(7, 7);
  const std::string fence = fence_for({"x " + taken + " y"}, second);
  EXPECT_NE(fence, taken);
  EXPECT_EQ(fence.size(), 16U);
}

}  // namespace
}  // namespace evolora
