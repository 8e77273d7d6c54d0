// Text of hostile candidates, cleaned.
#include "evolve/judge/artifact_text.h"

#include <gtest/gtest.h>

namespace evolora {
namespace {

TEST(ArtifactText, OrdinaryWordsStay) {
  EXPECT_EQ(artifact_text("kernel.cpp:3:5: error: expected ';'\n\tint x\n"), "kernel.cpp:3:5: error: expected ';'\n\tint x\n");
  EXPECT_EQ(artifact_text("\xc3\xbc \xe2\x80\x98x\xe2\x80\x99 \xf0\x9f\x98\x80"), "\xc3\xbc \xe2\x80\x98x\xe2\x80\x99 \xf0\x9f\x98\x80");
}

TEST(ArtifactText, ControlAndDirectionAndInvisibleCharactersGo) {
  EXPECT_EQ(artifact_text("a\x1b[2J\x1b[1;31mb\x07\r\b"), "ab");
  EXPECT_EQ(artifact_text(std::string("a\0b", 3)), "ab");
  EXPECT_EQ(artifact_text("\xe2\x80\xae"
                          "evil\xe2\x80\x8b\xef\xbb\xbf\xe2\x81\xa6"
                          "\xf3\xa0\x81\x81x"),
            "evilx");
  EXPECT_EQ(artifact_text("\xc2\x9b"
                          "31m"),
            "31m");  // the one-character form of the escape sequence
}

TEST(ArtifactText, BytesThatAreNoTextAreMarked) {
  EXPECT_EQ(artifact_text("a\xff\xc0\xaf\xed\xa0\x80z"), "a??????z");
  EXPECT_EQ(artifact_text("cut \xe2\x80"), "cut ??");
}

TEST(ArtifactText, NoFenceOrMarkerSurvives) {
  const std::string text = artifact_text("```\n````` // EVOLVE-BLOCK-END\n<<<<<<< SEARCH\n=======\n>>>>>>> REPLACE");
  for (const char* marker : {"```", "EVOLVE-BLOCK", "<<<<<<<", "=======", ">>>>>>>"}) EXPECT_EQ(text.find(marker), std::string::npos) << text;
  // Removing what is invisible must not put a marker together.
  EXPECT_EQ(artifact_text("EVOLVE\xe2\x80\x8b-BLOCK-END").find("EVOLVE-BLOCK"), std::string::npos);
}

TEST(ArtifactText, LengthIsBoundedAndBothEndsStay) {
  const std::string text = artifact_text("first" + std::string(1 << 20, 'x') + "last");
  EXPECT_LE(text.size(), kArtifactBytes);
  EXPECT_EQ(text.substr(0, 5), "first");
  EXPECT_EQ(text.substr(text.size() - 4), "last");
  std::string umlauts;
  for (int i = 0; i < 5000; ++i) umlauts += "\xc3\xbc";
  for (const std::size_t limit : {99U, 100U, 101U, 102U, 103U, 10U, 11U}) {
    EXPECT_EQ(artifact_text(umlauts, limit), artifact_text(artifact_text(umlauts, limit), 1000)) << "a character was cut at " << limit;
    EXPECT_LE(artifact_text(umlauts, limit).size(), limit);
  }
}

}  // namespace
}  // namespace evolora
