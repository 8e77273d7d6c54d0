// One pass over the characters.
#include "kernels/pack/source_lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/sha256.h"

namespace evolora {
namespace {

constexpr std::string_view kOperators = "+-*/%^&|~!=<>.?:";

bool is_digit(char c) { return '0' <= c && c <= '9'; }
bool is_letter(char c) { return ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || c == '_'; }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

class Lexer {
 public:
  Lexer(std::string_view source, const std::string& name) : source_(source), name_(name) {}

  Result<std::vector<Token>> run() {
    TRY(check_characters());
    while (true) {
      TRY(skip_space_and_comments());
      if (at_ >= source_.size()) return std::move(tokens_);
      if (here() == '#' && line_begins_) {
        add(TokenKind::kDirective, 1);
        continue;
      }
      line_begins_ = false;
      TRY(next_token());
    }
  }

 private:
  Error error(const std::string& what) const { return Error{ErrorCode::kBadData, fmt::format("{}:{}: {}", name_, line_, what)}; }
  bool at(std::string_view text) const { return source_.substr(at_).starts_with(text); }
  char here() const { return source_[at_]; }
  char peek(std::size_t ahead) const { return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0'; }

  // What could read differently before comments and literals are even recognised.
  Status check_characters() {
    for (std::size_t i = 0; i < source_.size(); ++i) {
      const char c = source_[i];
      const auto byte = static_cast<unsigned char>(c);
      if ((byte < 0x20 && c != '\n' && c != '\t' && c != '\r') || byte == 0x7f) return error(fmt::format("control character 0x{:02x}", byte));
      if (c == '\r' && (i + 1 == source_.size() || source_[i + 1] != '\n')) return error("a carriage return without a line feed");
      std::size_t after = i + 1;
      while (after < source_.size() && source_[after] != '\n' && is_space(source_[after])) ++after;
      if (c == '\\' && (after == source_.size() || source_[after] == '\n'))
        return error("a line that goes on after a backslash: write it on one line");
      if (c == '?' && source_.substr(i).starts_with("??") && i + 2 < source_.size() &&
          std::string_view("=/'()!<>-").find(source_[i + 2]) != std::string_view::npos)
        return error("a trigraph");
      if (c == '\n') ++line_;
    }
    line_ = 1;
    return {};
  }

  Status skip_space_and_comments() {
    while (at_ < source_.size()) {
      if (is_space(here())) {
        if (here() == '\n') {
          ++line_;
          line_begins_ = true;
        }
        ++at_;
      } else if (at("//")) {
        at_ = std::min(source_.find('\n', at_), source_.size());
      } else if (at("/*")) {
        const std::size_t end = source_.find("*/", at_ + 2);
        if (end == std::string_view::npos) return error("a comment that does not end");
        line_ += static_cast<int>(
            std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_), source_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
        at_ = end + 2;
      } else {
        break;
      }
    }
    return {};
  }

  void add(TokenKind kind, std::size_t length) {
    tokens_.push_back({kind, source_.substr(at_, length), line_});
    at_ += length;
    if (kind == TokenKind::kDirective) line_begins_ = false;
  }

  // Length of u8, u, U, L, R and their pairs in front of a quote; npos: no literal begins here.
  std::size_t prefix_length() const {
    for (const std::string_view prefix : {"", "R", "u8R", "uR", "UR", "LR", "u8", "u", "U", "L"}) {
      if (at(prefix) && (peek(prefix.size()) == '"' || (peek(prefix.size()) == '\'' && !prefix.ends_with('R')))) return prefix.size();
    }
    return std::string_view::npos;
  }

  Status literal(std::size_t prefix) {
    const std::size_t begin = at_;
    const char quote = source_[at_ + prefix];
    if (prefix > 0 && source_[at_ + prefix - 1] == 'R') return raw_string(prefix);
    std::size_t i = at_ + prefix + 1;
    while (i < source_.size() && source_[i] != quote && source_[i] != '\n') i += source_[i] == '\\' ? 2 : 1;
    if (i >= source_.size() || source_[i] == '\n') return error("a literal that does not end on its line");
    add(quote == '"' ? TokenKind::kString : TokenKind::kCharacter, i + 1 - begin);
    return {};
  }

  Status raw_string(std::size_t prefix) {
    const std::size_t open = source_.find('(', at_ + prefix);
    constexpr std::size_t kLongestDelimiter = 16;
    if (open == std::string_view::npos || open - at_ - prefix - 1 > kLongestDelimiter) return error("a raw string without '('");
    const std::string close = ")" + std::string(source_.substr(at_ + prefix + 1, open - at_ - prefix - 1)) + "\"";
    const std::size_t end = source_.find(close, open);
    if (end == std::string_view::npos) return error("a raw string that does not end");
    const std::string_view text = source_.substr(at_, end + close.size() - at_);
    add(TokenKind::kString, text.size());
    line_ += static_cast<int>(std::count(text.begin(), text.end(), '\n'));
    return {};
  }

  Status next_token() {
    if (const std::size_t prefix = prefix_length(); prefix != std::string_view::npos) return literal(prefix);
    std::size_t length = 1;
    if (is_letter(here())) {
      while (is_letter(peek(length)) || is_digit(peek(length))) ++length;
      add(TokenKind::kIdentifier, length);
      return {};
    }
    if (is_digit(here()) || (here() == '.' && is_digit(peek(1)))) {
      while (is_letter(peek(length)) || is_digit(peek(length)) || peek(length) == '.' ||
             (peek(length) == '\'' && (is_letter(peek(length + 1)) || is_digit(peek(length + 1)))) ||
             ((peek(length) == '+' || peek(length) == '-') && std::string_view("eEpP").find(peek(length - 1)) != std::string_view::npos)) {
        ++length;
      }
      add(TokenKind::kNumber, length);
      return {};
    }
    if (std::string_view("{}[]()<>;:,.?!=+-*/%^&|~#").find(here()) == std::string_view::npos)
      return error(fmt::format("expected C++ in plain ASCII, got {}",
                               here() == '\\' ? "a backslash" : fmt::format("byte 0x{:02x}", static_cast<unsigned char>(here()))));
    for (const std::string_view digraph : {"<%", "%>", "<:", "%:"}) {
      if (at(digraph)) return error(fmt::format("'{}': a digraph; write the character itself", digraph));
    }
    // [[ may stand for an attribute or for an index of an index that is a lambda; ]] closes either.
    for (const std::string_view pair : {"##", "::", "[[", "]]"}) {
      if (at(pair)) length = 2;
    }
    add(TokenKind::kPunctuation, length);
    return {};
  }

  std::string_view source_;
  const std::string& name_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_begins_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

Result<std::vector<Token>> lex_source(std::string_view source, const std::string& name) { return Lexer(source, name).run(); }

Result<std::string> canonical_digest(std::string_view source, const std::string& name) {
  const std::vector<Token> tokens = TRY(lex_source(source, name));
  std::string canonical;
  int directive_line = 0;
  for (const Token& token : tokens) {
    // A directive ends where its line does: the only line end that means something.
    if (directive_line != 0 && token.line != directive_line) canonical += '\n', directive_line = 0;
    if (token.kind == TokenKind::kDirective) directive_line = token.line;
    canonical += token.text;
    // Where nothing between two tokens means something: macros with and without parameters, #define F(x) and #define F (x), and operators of several
    // characters, b--c and b - -c.
    const char* after = token.text.data() + token.text.size();
    const bool more = after < source.data() + source.size();
    const bool macro = directive_line != 0 && more && *after == '(';
    const bool operation = more && kOperators.find(token.text[0]) != std::string_view::npos && kOperators.find(*after) != std::string_view::npos;
    const bool touches = macro || operation;
    canonical += touches ? "\x01" : " ";
  }
  return sha256_hex(canonical);
}

}  // namespace evolora
