// Tokens of C++ text, and what is refused because it could be read in two ways.
#include "kernels/pack/source_lexer.h"

#include <gtest/gtest.h>

namespace evolora {
namespace {

std::vector<std::string> texts(const std::string& source) {
  const auto tokens = lex_source(source, "k.cpp");
  EXPECT_TRUE(tokens.ok()) << tokens.error().message;
  std::vector<std::string> out;
  if (!tokens.ok()) return out;
  for (const Token& token : *tokens) out.emplace_back(token.text);
  return out;
}
std::string refusal(const std::string& source) {
  const auto tokens = lex_source(source, "k.cpp");
  return tokens.ok() ? "" : tokens.error().message;
}
using Texts = std::vector<std::string>;

TEST(SourceLexer, CommentsAndSpaceAreNoTokens) {
  EXPECT_EQ(texts("int a; // int b;\n/* int\nc; */ int d ;"), (Texts{"int", "a", ";", "int", "d", ";"}));
  EXPECT_EQ(texts("a /* // */ b // /*\nc"), (Texts{"a", "b", "c"}));
  EXPECT_EQ(texts(""), Texts());
  EXPECT_EQ(texts("a\r\nb"), (Texts{"a", "b"}));
}

TEST(SourceLexer, LiteralsHideWhatStandsInThem) {
  EXPECT_EQ(texts("f(\"// \\\" /*\", '\"', u8\"x\");"), (Texts{"f", "(", "\"// \\\" /*\"", ",", "'\"'", ",", "u8\"x\"", ")", ";"}));
  EXPECT_EQ(texts("R\"(a \" \n // )\" + LR\"x()\")x\""), (Texts{"R\"(a \" \n // )\"", "+", "LR\"x()\")x\""}));
  EXPECT_EQ(texts("\"\\\\\" a"), (Texts{"\"\\\\\"", "a"}));
}

TEST(SourceLexer, NumbersAreWhole) {
  EXPECT_EQ(texts("1'000 0x1p-24f 1e+5 .5f 1..2 a.b 1+2"), (Texts{"1'000", "0x1p-24f", "1e+5", ".5f", "1..2", "a", ".", "b", "1", "+", "2"}));
}

TEST(SourceLexer, DirectivesBeginLinesAndLinesAreCounted) {
  const auto tokens = lex_source("a # b\n  # define X\nR\"(\n\n)\"\n/*\n*/ c", "k.cpp").value();
  EXPECT_EQ(tokens[1].kind, TokenKind::kPunctuation);
  EXPECT_EQ(tokens[3].kind, TokenKind::kDirective);
  EXPECT_EQ(tokens[3].line, 2);
  EXPECT_EQ(tokens[6].line, 3);
  EXPECT_EQ(tokens[7].text, "c");
  EXPECT_EQ(tokens[7].line, 7);
  // A comment before it does not make it something else.
  EXPECT_EQ(lex_source("/**/ #define X", "k.cpp").value()[0].kind, TokenKind::kDirective);
}

TEST(SourceLexer, WhatCouldBeReadInTwoWaysIsRefusedWithItsLine) {
  EXPECT_EQ(refusal("a\nint b\\\n;"), "k.cpp:2: a line that goes on after a backslash: write it on one line");
  for (const std::string source : {"// comment \\\nsystem();",
                                   "// comment \\  \nsystem();",
                                   "#inc\\\nlude <x>",
                                   "a \\",
                                   "a \\u0041 b",
                                   "\"?"
                                   "?/\"",
                                   "?"
                                   "?=include",
                                   "<%",
                                   "%:",
                                   "a <: 0",
                                   "/* open",
                                   "\"open",
                                   "'open\n'",
                                   "R\"(open",
                                   "R\"0123456789abcdefg()0123456789abcdefg\"",
                                   "\x01",
                                   "a\rb",
                                   "\xc3\xa4",
                                   "`",
                                   "@",
                                   "$a"}) {
    EXPECT_TRUE(refusal(source).starts_with("k.cpp:")) << source;
  }
  EXPECT_NE(refusal(std::string("a\0b", 3)), "");
  EXPECT_EQ(refusal("// \xc3\xa4 in a comment\nf(\"\xc3\xa4\");"), "");
}

}  // namespace
}  // namespace evolora
