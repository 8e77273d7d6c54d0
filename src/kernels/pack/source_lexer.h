// C++ text as tokens, for rules that hold whatever tricks the text plays with comments, line ends and spellings, and for digests that ignore layout.
// Not a compiler: what a preprocessor would have to decide is refused or left as tokens.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace evolora {

enum class TokenKind {
  kIdentifier,   // keywords too
  kNumber,       // a preprocessing number
  kString,       // with prefix, quotes and, if raw, delimiters
  kCharacter,    // the same in single quotes
  kPunctuation,  // one character, or one of ## :: [[ ]]
  kDirective,    // the # that begins a preprocessor line; the tokens of its line follow
};

struct Token {
  TokenKind kind;
  std::string_view text;  // into the source
  int line = 0;           // 1, 2, ...
};

// The tokens in order, views into source. kBadData "NAME:LINE: what": a character that C++ source has no use for (NUL, control characters, anything
// beyond ASCII outside comments and literals), a backslash outside a literal (line continuation, universal character name), a trigraph, a digraph, a
// comment or literal that does not end.
Result<std::vector<Token>> lex_source(std::string_view source, const std::string& name);

// SHA-256 of the tokens: the same for texts that differ in comments and white space only. Errors as lex_source.
Result<std::string> canonical_digest(std::string_view source, const std::string& name);

}  // namespace evolora
