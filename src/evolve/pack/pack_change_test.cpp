// Blocks, what a proposal may change, and digests that ignore layout.
#include "evolve/pack/pack_change.h"

#include <gtest/gtest.h>

#include "evolve/pack/marked_blocks.h"

namespace evolora {
namespace {

std::string blocks_error(const std::string& text) {
  const auto blocks = marked_blocks(text, "k.cpp");
  return blocks.ok() ? "" : blocks.error().message;
}

TEST(MarkedBlocks, AreTheLinesBetweenMarkersOfAnyCommentSyntax) {
  const std::string text = "fixed\n// EVOLVE-BLOCK-START\na\nb\n// EVOLVE-BLOCK-END\nfixed\n# EVOLVE-BLOCK-START\n/* EVOLVE-BLOCK-END */";
  const auto blocks = marked_blocks(text, "k.cpp").value();
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_EQ(text.substr(blocks[0].begin, blocks[0].end - blocks[0].begin), "a\nb\n");
  EXPECT_EQ(blocks[0].first_line, 3);
  EXPECT_EQ(blocks[1].begin, blocks[1].end);
  EXPECT_TRUE(marked_blocks("", "k.cpp").value().empty());
}

TEST(MarkedBlocks, MarkersThatDoNotPairNameTheirLine) {
  EXPECT_EQ(blocks_error("a\n// EVOLVE-BLOCK-START\nb"), "k.cpp:2: EVOLVE-BLOCK-START without EVOLVE-BLOCK-END after it");
  EXPECT_EQ(blocks_error("a\n// EVOLVE-BLOCK-END\n"), "k.cpp:2: EVOLVE-BLOCK-END without EVOLVE-BLOCK-START before it");
  EXPECT_EQ(blocks_error("// EVOLVE-BLOCK-START\n// EVOLVE-BLOCK-START\n"), "k.cpp:2: EVOLVE-BLOCK-START inside the block that begins in line 1");
  EXPECT_EQ(blocks_error("// EVOLVE-BLOCK-START EVOLVE-BLOCK-END\n"), "k.cpp:1: two markers in one line");
}

const std::string kOriginal =
    "int f();\n"
    "// EVOLVE-BLOCK-START\n"
    "int a = 1;\n"
    "int b = 2;\n"
    "// EVOLVE-BLOCK-END\n"
    "int g() { return a; }\n";

std::string replaced(const std::string& from, const std::string& to) {
  std::string text = kOriginal;
  text.replace(text.find(from), from.size(), to);
  return text;
}

std::string change_error(const std::string& proposed) {
  const Status status = check_change({{"k.cpp", kOriginal}}, {{"k.cpp", proposed}});
  return status.ok() ? "" : status.error().message;
}

TEST(PackChange, InsideTheBlocksAnythingThatEndsThere) {
  for (const char* code : {"", "int c;\n", "int a = 3;\n\n\n\nint c;\n", "/* one\ntwo */ const char* s = R\"(\n\n)\";\n",
                           "#if 1\nint a;\n#else\nint c;\n#endif\n", "}}}} // wild, but a compiler will say so\n"}) {
    EXPECT_EQ(change_error(replaced("int a = 1;\nint b = 2;\n", code)), "") << code;
  }
}

TEST(PackChange, OutsideTheFirstDifferingLineIsNamed) {
  EXPECT_EQ(change_error(replaced("return a", "return b")),
            "k.cpp:6: a change outside the blocks: expected 'int g() { return a; }', got 'int g() { return b; }'");
  // Lines added in the block move the number.
  EXPECT_EQ(change_error(replaced("int b = 2;\n// EVOLVE-BLOCK-END\nint g()", "\n\nint b = 2;\n// EVOLVE-BLOCK-END\nint h()")),
            "k.cpp:8: a change outside the blocks: expected 'int g() { return a; }', got 'int h() { return a; }'");
  EXPECT_NE(change_error(replaced("int f();", "int f() ;")), "");
  EXPECT_NE(change_error(replaced("// EVOLVE-BLOCK-START", "//  EVOLVE-BLOCK-START")), "");
  EXPECT_NE(change_error(kOriginal + "int more;\n"), "");
  EXPECT_NE(change_error(kOriginal.substr(0, kOriginal.size() - 1)), "");
  EXPECT_NE(change_error(""), "");
}

TEST(PackChange, MarkersInABlockCannotOpenFixedText) {
  EXPECT_EQ(change_error(replaced("int b = 2;\n", "// EVOLVE-BLOCK-END\nevil();\n// EVOLVE-BLOCK-START\n")),
            "k.cpp:5: a change outside the blocks: expected 'int g() { return a; }', got 'evil();'");
  // The same fixed text twice: the second copy is one block too many.
  EXPECT_NE(change_error(kOriginal + "// EVOLVE-BLOCK-START\n// EVOLVE-BLOCK-END\n"), "");
}

TEST(PackChange, NothingThatBeginsInABlockReachesOverItsEnd) {
  for (const char* code : {"/* \n", "const char* s = R\"x(\n", "#if 0\n", "#endif\n#if 1\n", "#if 1\n#endif\n#else\n", "int c; \\\n"}) {
    EXPECT_NE(change_error(replaced("int b = 2;\n", code)), "") << code;
  }
}

TEST(PackChange, FilesAreThoseOfThePack) {
  EXPECT_FALSE(check_change({{"a.cpp", ""}}, {}).ok());
  EXPECT_FALSE(check_change({{"a.cpp", ""}}, {{"a.cpp", ""}, {"b.cpp", ""}}).ok());
}

TEST(NoveltyDigest, IgnoresLayoutOnly) {
  const auto digest = [](const std::string& text) { return novelty_digest({{"k.cpp", text}}).value(); };
  const std::string plain = digest("int a = 1; // one\nint b;");
  EXPECT_EQ(plain, digest("int a=1;\n\n/* two */ int b ;\n"));
  EXPECT_NE(plain, digest("int a = 2; int b;"));
  EXPECT_NE(digest("int ab;"), digest("int a b;"));
  EXPECT_NE(digest("f(\"a b\");"), digest("f(\"a  b\");"));
  EXPECT_NE(digest("R\"(// no comment)\""), digest("R\"()\""));
  EXPECT_NE(digest("#define A\nint b;"), digest("#define A int b;"));
  EXPECT_NE(novelty_digest({{"a.cpp", ""}}).value(), novelty_digest({{"b.cpp", ""}}).value());
}

}  // namespace
}  // namespace evolora
