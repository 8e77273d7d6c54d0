// Text, tables and data as HTML. Everything that comes from a file goes through here and nothing of it can become markup or script.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace evolora {

// For element content and quoted attributes: & < > " ' become entities; control characters and bytes that are not UTF-8 become U+FFFD.
std::string escape_html(std::string_view text);

// value for the inside of a <script> element: JSON in which '<' is written \u003c, so that neither "</script" nor "<!--" can occur. Strings that are
// not UTF-8 are mended with U+FFFD.
std::string json_for_script(const nlohmann::ordered_json& value);

// Base64 of a SHA-256, as a content security policy names a script: "sha256-...".
std::string csp_hash(std::string_view script);

struct Table {
  std::string caption;
  std::vector<std::string> header;  // texts, not markup
  std::vector<std::vector<std::string>> rows;
  std::size_t text_columns = 1;  // the first ones hold words, the others figures (right-aligned)
  bool last_is_text = false;     // the last column holds words too
};
// Each row has as many cells as the header. The first cell names the row.
std::string table_html(const Table& table);

}  // namespace evolora
