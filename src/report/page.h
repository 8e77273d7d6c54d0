// A self-contained HTML page: nothing is loaded when it is looked at, and a content security policy lets only the page's own scripts run.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "report/html.h"

namespace evolora {

// A name and its value, such as the speed-up or the number of pairs.
struct Tile {
  std::string name;
  std::string value;
  std::string note;  // below the value, small; may be empty
};

// What assets/charts.js draws. The fields of data are described there, by its "kind".
struct Figure {
  std::string title;
  std::string note;  // how to read it
  nlohmann::ordered_json data;
  std::vector<Table> tables;  // the same figures as text
};

// Collects a page from top to bottom. All arguments are text, not markup.
class Page {
 public:
  explicit Page(std::string title) : title_(std::move(title)) {}

  // mood: "good", "bad" or "open"; decides the colour of the word.
  void verdict(std::string_view mood, std::string_view word, std::string_view sentence);
  void tiles(const std::vector<Tile>& tiles);
  void heading(std::string_view text);
  void paragraph(std::string_view text);
  void code(std::string_view text);
  void table(const Table& table);
  void folded_table(const Table& table);      // closed until it is asked for
  void figures(std::vector<Figure> figures);  // side by side where there is room

  std::string html() const;

 private:
  std::string title_;
  std::string body_;
  nlohmann::ordered_json charts_ = nlohmann::ordered_json::array();
};

}  // namespace evolora
