// Edits land where they were meant or nowhere; parsing of answers in all their sloppiness.
#include "evolve/llm/source_edits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "evolve/llm/answer.h"
#include "evolve/random.h"

namespace evolora {
namespace {

using testing::StartsWith;

const Sources kSources = {{"a.cpp",
                           "int head;\n"
                           "// EVOLVE-BLOCK-START\n"
                           "int x = 1;\n"
                           "int y = 2;\n"
                           "int z = x;\n"
                           "// EVOLVE-BLOCK-END\n"
                           "int tail;\n"},
                          {"b.cpp",
                           "/* EVOLVE-BLOCK-START */\n"
                           "int u = 1;\n"
                           "int y2 = 2;\n"
                           "# EVOLVE-BLOCK-END"}};

std::string reason(const Result<Sources>& result) { return result.ok() ? "ok" : result.error().message.substr(0, result.error().message.find(':')); }

TEST(SourceEdits, ReplacesTheLinesThatWereMeant) {
  const auto out = apply_edits(kSources, {{"int y = 2;", "int y = 3;\nint w;"}, {"int u = 1;\n", ""}, {"int z = x;\n", "int z = y;\n"}});
  ASSERT_TRUE(out.ok()) << out.error().message;
  EXPECT_EQ(out->at("a.cpp"), "int head;\n// EVOLVE-BLOCK-START\nint x = 1;\nint y = 3;\nint w;\nint z = y;\n// EVOLVE-BLOCK-END\nint tail;\n");
  EXPECT_EQ(out->at("b.cpp"), "/* EVOLVE-BLOCK-START */\nint y2 = 2;\n# EVOLVE-BLOCK-END");
}

TEST(SourceEdits, EveryOtherEditIsRejectedWithItsReason) {
  const std::vector<std::tuple<std::string, std::string, std::string>> cases = {
      {"int q;", "x", "no_match"},
      {"int  x = 1;", "x", "no_match"},
      {"nt x = 1;", "x", "no_match"},  // not a whole line
      {"int x = 1", "x", "no_match"},
      {"", "x", "no_match"},
      {"\n", "x", "no_match"},
      {"int head;", "int head2;", "outside_block"},
      {"int tail;", "", "outside_block"},
      {"// EVOLVE-BLOCK-START\nint x = 1;", "int x = 2;", "outside_block"},
      {"int z = x;\n// EVOLVE-BLOCK-END", "int z;", "outside_block"},
      {"int x = 1;", "// EVOLVE-BLOCK-END\nint evil;\n// EVOLVE-BLOCK-START", "outside_block"},
      {"int x = 1;", "int x = 1;", "unchanged"},
  };
  for (const auto& [search, replace, expected] : cases) EXPECT_EQ(reason(apply_edits(kSources, {{search, replace}})), expected) << search;
  Sources twice = kSources;
  twice["c.cpp"] = "int x = 1;\n";
  EXPECT_EQ(reason(apply_edits(twice, {{"int x = 1;", "int x = 2;"}})), "two_matches");
  EXPECT_EQ(reason(apply_edits(kSources, {{"int x = 1;\nint y = 2;", "a"}, {"int y = 2;\nint z = x;", "b"}})), "overlap");
  EXPECT_EQ(reason(apply_edits(kSources, {{"int x = 1;", "int x = 9;"}, {"int x = 9;", "int x = 8;"}})), "no_match") << "not in each other's results";
}

TEST(SourceEdits, OutsideTheBlocksNoByteEverChanges) {
  const std::vector<std::string> lines = {"int head;", "// EVOLVE-BLOCK-START",    "int x = 1;", "int y = 2;", "int z = x;", "// EVOLVE-BLOCK-END",
                                          "int tail;", "/* EVOLVE-BLOCK-START */", "int u = 1;", "",           "int new;"};
  Random random(3, 4);
  int applied = 0;
  for (int trial = 0; trial < 3000; ++trial) {
    std::vector<SourceEdit> edits(1 + random.below(3));
    for (SourceEdit& edit : edits) {
      const std::size_t first = random.below(lines.size());
      for (std::size_t i = 0; i <= random.below(3) && first + i < lines.size(); ++i) edit.search += lines[first + i] + "\n";
      for (std::size_t i = random.below(3); i > 0; --i) edit.replace += lines[random.below(lines.size())] + "\n";
    }
    const auto out = apply_edits(kSources, edits);
    if (!out.ok()) continue;
    ++applied;
    EXPECT_THAT(out->at("a.cpp"), StartsWith("int head;\n// EVOLVE-BLOCK-START\n"));
    EXPECT_TRUE(out->at("a.cpp").ends_with("// EVOLVE-BLOCK-END\nint tail;\n"));
    EXPECT_TRUE(find_blocks(*out).ok());
    EXPECT_EQ(find_blocks(*out)->size(), 2U);
  }
  EXPECT_GT(applied, 100);
}

TEST(SourceEdits, ARewrittenBlockMayRepeatItsMarkersAndNothingElse) {
  const auto blocks = find_blocks(kSources);
  ASSERT_TRUE(blocks.ok());
  const std::string expected = "int head;\n// EVOLVE-BLOCK-START\nint n;\n// EVOLVE-BLOCK-END\nint tail;\n";
  for (const char* code : {"int n;", "int n;\n", "// EVOLVE-BLOCK-START\nint n;\n// EVOLVE-BLOCK-END\n",
                           "int changed;\n// EVOLVE-BLOCK-START\nint n;\n// EVOLVE-BLOCK-END\nint t;"}) {
    const auto out = replace_block(kSources, (*blocks)[0], code);
    ASSERT_TRUE(out.ok()) << out.error().message;
    EXPECT_EQ(out->at("a.cpp"), expected);
  }
  EXPECT_EQ(reason(replace_block(kSources, (*blocks)[0], "int a;\n// EVOLVE-BLOCK-END\nint b;\n// EVOLVE-BLOCK-START\nint c;")), "outside_block");
  EXPECT_EQ(reason(replace_block(kSources, (*blocks)[0], "int x = 1;\nint y = 2;\nint z = x;")), "unchanged");
}

TEST(SourceEdits, BrokenMarkersAreNamedByLine) {
  for (const auto& [text, place] : std::vector<std::pair<std::string, std::string>>{{"a\n// EVOLVE-BLOCK-END\n", "f:2:"},
                                                                                    {"// EVOLVE-BLOCK-START\n// EVOLVE-BLOCK-START\n", "f:2:"},
                                                                                    {"// EVOLVE-BLOCK-START\nx\n", "f:1: EVOLVE-BLOCK-START without"},
                                                                                    {"// EVOLVE-BLOCK-START EVOLVE-BLOCK-END\n", "f:1:"},
                                                                                    {"plain\n", "no file has a block"}}) {
    const auto blocks = find_blocks({{"f", text}});
    ASSERT_FALSE(blocks.ok());
    EXPECT_THAT(blocks.error().message, StartsWith(place));
  }
}

TEST(Answer, EditsAmongTalk) {
  const auto edits = edits_in_answer(
      "<think>\n<<<<<<< SEARCH\nno\n=======\nno\n>>>>>>> REPLACE\n</think>\nSure!\r\n```cpp\r\n<<<<<<< SEARCH\r\n  a = 1;\r\n=======\r\n  a = "
      "2;\r\n>>>>>>> REPLACE\r\n```\n"
      "and\n   <<<<<<< SEARCH\nb\n\nc\n=======\n>>>>>>> REPLACE  \nDone. <<<<<<< SEARCH is the marker.");
  ASSERT_TRUE(edits.ok()) << edits.error().message;
  ASSERT_EQ(edits->size(), 2U);
  EXPECT_EQ((*edits)[0].search, "  a = 1;\n");
  EXPECT_EQ((*edits)[0].replace, "  a = 2;\n");
  EXPECT_EQ((*edits)[1].search, "b\n\nc\n");
  EXPECT_EQ((*edits)[1].replace, "");
}

TEST(Answer, WhatIsCutOffOrMissingIsNoEdit) {
  for (const char* text : {"", "I cannot help with that.", "<<<<<<< SEARCH\na\n=======\nb\n", "<<<<<<< SEARCH\na\n",
                           "<<<<<<< SEARCH\na\n>>>>>>> REPLACE", "<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n<<<<<<< SEARCH\nc\n=======\nd",
                           "=======\n>>>>>>> REPLACE", "<<<<<<< SEARCH\na\n<<<<<<< SEARCH\nb\n=======\n>>>>>>> REPLACE"}) {
    const auto edits = edits_in_answer(text);
    ASSERT_FALSE(edits.ok()) << text;
    EXPECT_THAT(edits.error().message, StartsWith("no_edit: "));
  }
  for (const char* text : {"", "no code", "```cpp\nint x;\n", "```\n\n```", "``\nx\n``"}) EXPECT_FALSE(code_in_answer(text).ok()) << text;
  for (const char* text : {"", "none", "{", "}{", "```json\n[1]\n```", "{\"a\": }"}) EXPECT_FALSE(object_in_answer(text).ok()) << text;
}

TEST(Answer, CodeAndSettings) {
  EXPECT_EQ(*code_in_answer("Use `x`:\n```\nshort\n```\nor\n~~~~cpp\nlonger code\n```\nstill code\n~~~~\n"), "longer code\n```\nstill code\n");
  // Repeated until it was cut off: the whole was there before.
  EXPECT_EQ(*code_in_answer("```cpp\nint x = 1;\n```\n```cpp\nint x"), "int x = 1;\n");
  EXPECT_FALSE(code_in_answer("```\nshort\n```\n```cpp\nint longer = 1;\n").ok());
  EXPECT_EQ((*object_in_answer("I choose {\"threads\": 4} because"))["threads"], 4);
  EXPECT_EQ((*object_in_answer("First {x}.\n```json\n{\"threads\": 2}\n```"))["threads"], 2);
}

}  // namespace
}  // namespace evolora
