// The frame of a page, its parts, and its scripts.
#include "report/page.h"

#include <fmt/format.h>

#include "report/embedded.h"

namespace evolora {
namespace {

std::string folded(std::string_view summary, const std::string& html) {
  return fmt::format("<details><summary>{}</summary>\n{}</details>\n", escape_html(summary), html);
}

}  // namespace

void Page::verdict(std::string_view mood, std::string_view word, std::string_view sentence) {
  body_ += fmt::format("<section class=\"verdict {}\" aria-label=\"Verdict\"><p class=\"word\">{}</p><p>{}</p></section>\n", escape_html(mood),
                       escape_html(word), escape_html(sentence));
}

void Page::tiles(const std::vector<Tile>& tiles) {
  body_ += "<dl class=\"tiles\">\n";
  for (const Tile& tile : tiles) {
    body_ += fmt::format("<div><dt>{}</dt><dd><b>{}</b>", escape_html(tile.name), escape_html(tile.value));
    if (!tile.note.empty()) body_ += fmt::format(" <small>{}</small>", escape_html(tile.note));
    body_ += "</dd></div>\n";
  }
  body_ += "</dl>\n";
}

void Page::heading(std::string_view text) { body_ += fmt::format("<h2>{}</h2>\n", escape_html(text)); }

void Page::paragraph(std::string_view text) { body_ += fmt::format("<p>{}</p>\n", escape_html(text)); }

void Page::code(std::string_view text) { body_ += fmt::format("<pre tabindex=\"0\"><code>{}</code></pre>\n", escape_html(text)); }

void Page::table(const Table& table) { body_ += table_html(table); }

void Page::folded_table(const Table& table) { body_ += folded(table.caption, table_html(table)); }

void Page::figures(std::vector<Figure> figures) {
  body_ += "<div class=\"figures\">\n";
  for (Figure& figure : figures) {
    const std::size_t number = charts_.size();
    body_ +=
        fmt::format("<figure id=\"figure-{}\"><figcaption><b>{}</b> {}</figcaption>\n<div class=\"plot\" role=\"img\" aria-label=\"{}\"></div>\n",
                    number, escape_html(figure.title), escape_html(figure.note), escape_html(figure.title + ". " + figure.note));
    std::string tables;
    for (const Table& table : figure.tables) tables += table_html(table);
    if (!tables.empty()) body_ += folded("The same as a table", tables);
    body_ += "</figure>\n";
    charts_.push_back(std::move(figure.data));
  }
  body_ += "</div>\n";
}

std::string Page::html() const {
  const bool has_plots = !plot_library().empty();
  std::string policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; script-src";
  std::string scripts;
  if (has_plots && !charts_.empty()) {
    scripts = fmt::format("<script type=\"application/json\" id=\"charts\">{}</script>\n", json_for_script(charts_));
    for (const std::string_view script : {plot_library_base(), plot_library(), report_script()}) {
      policy += fmt::format(" '{}'", csp_hash(script));
      scripts += fmt::format("<script>{}</script>\n", script);
    }
  } else {
    policy += " 'none'";
  }
  std::string out = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n";
  out += fmt::format("<meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n", policy);
  out += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n";
  out += fmt::format("<title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n<h1>{}</h1>\n", escape_html(title_), report_style(),
                     escape_html(title_));
  out += body_;
  if (!has_plots && !charts_.empty())
    out += "<p class=\"hint\">This build of evolora has no plot library (tools/bootstrap.sh build fetches it); the tables hold every figure.</p>\n";
  out += fmt::format("</main>\n<footer>Written by evolora {}. This file loads nothing from anywhere.</footer>\n", EVOLORA_VERSION);
  return out + scripts + "</body>\n</html>\n";
}

}  // namespace evolora
