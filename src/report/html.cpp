// Escaping, and tables.
#include "report/html.h"

#include <openssl/evp.h>

#include <array>
#include <charconv>

#include "base/check.h"
#include "base/sha256.h"

namespace evolora {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Valid UTF-8 out of any bytes, by the JSON library's own replacement.
std::string mended(std::string_view text) {
  const std::string quoted = nlohmann::ordered_json(text).dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  return nlohmann::ordered_json::parse(quoted).get<std::string>();
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : mended(text)) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: {
        const auto byte = static_cast<unsigned char>(c);
        const bool control = (byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f;
        if (control) {
          out += kReplacement;
        } else {
          out += c;
        }
      }
    }
  }
  return out;
}

std::string json_for_script(const nlohmann::ordered_json& value) {
  std::string out;
  for (const char c : value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace)) {
    // Inside strings only: JSON has no '<' elsewhere.
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

std::string csp_hash(std::string_view script) {
  const std::string hex = sha256_hex(script);
  std::array<unsigned char, 32> digest{};
  for (std::size_t i = 0; i < digest.size(); ++i) std::from_chars(hex.data() + 2 * i, hex.data() + 2 * i + 2, digest[i], 16);
  std::array<unsigned char, 45> text{};  // 4 characters for each 3 bytes, and the end
  const int length = EVP_EncodeBlock(text.data(), digest.data(), static_cast<int>(digest.size()));
  return "sha256-" + std::string(text.begin(), text.begin() + length);
}

std::string table_html(const Table& table) {
  const std::string label = escape_html(table.caption);
  // A table wider than the screen scrolls by itself; the keyboard must reach it then.
  std::string out =
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"" + label + "\"><table><caption>" + label + "</caption>\n<thead><tr>";
  const auto is_text = [&](std::size_t column) { return column < table.text_columns || (table.last_is_text && column + 1 == table.header.size()); };
  for (std::size_t i = 0; i < table.header.size(); ++i)
    out += std::string("<th scope=\"col\"") + (is_text(i) ? "" : " class=\"figure\"") + ">" + escape_html(table.header[i]) + "</th>";
  out += "</tr></thead>\n<tbody>\n";
  for (const std::vector<std::string>& row : table.rows) {
    CHECK(row.size() == table.header.size());
    out += "<tr><th scope=\"row\">" + escape_html(row.front()) + "</th>";
    for (std::size_t i = 1; i < row.size(); ++i) out += std::string(is_text(i) ? "<td>" : "<td class=\"figure\">") + escape_html(row[i]) + "</td>";
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

}  // namespace evolora
