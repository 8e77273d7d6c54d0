// Curves to plot data and tables.
#include "report/curve_figures.h"

#include <fmt/format.h>

#include <cctype>
#include <map>

#include "report/text.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

// More than a screenful is not read; the plot and the run's own files have all.
constexpr std::size_t kMostRows = 50;

std::string capitalized(std::string text) {
  if (!text.empty()) text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  return text;
}

// Keeps rows evenly, the last one always, and says so in the caption.
void thin(Table& table) {
  const std::size_t count = table.rows.size();
  const std::size_t every = (count + kMostRows - 1) / kMostRows;
  if (every <= 1) return;
  std::vector<std::vector<std::string>> kept;
  for (std::size_t i = 0; i < count; ++i) {
    if ((count - 1 - i) % every == 0) kept.push_back(table.rows[i]);
  }
  table.rows = std::move(kept);
  table.caption += fmt::format(" (one of every {} points)", every);
}

}  // namespace

Figure band_figure(const std::string& y, const std::string& x, std::span<const BandSeries> series) {
  Figure figure{.title = capitalized(y)};
  Json lines = Json::array();
  for (const BandSeries& one : series) {
    Table table{.caption = fmt::format("{}, {}", y, one.name), .header = {x, "mean", "lowest", "highest", "trials"}};
    if (one.role != one.name) table.caption = fmt::format("{}, {}: {}", y, one.role, one.name);
    Json points = Json::array();
    for (const BandPoint& point : one.points) {
      points.push_back({point.x, point.mean, point.low, point.high});
      table.rows.push_back({figure_text(point.x), fmt::format("{:.6f}", point.mean), fmt::format("{:.6f}", point.low),
                            fmt::format("{:.6f}", point.high), fmt::format("{}", point.n)});
    }
    thin(table);
    lines.push_back({{"role", one.role}, {"name", one.name}, {"points", points}});
    figure.tables.push_back(std::move(table));
  }
  figure.data = {{"kind", "bands"}, {"x", x}, {"y", y}, {"series", lines}};
  return figure;
}

Figure line_figure(const std::string& title, const std::string& y, const std::string& x, std::span<const LineSeries> series,
                   std::span<const Level> levels, bool from_zero) {
  Figure figure{.title = title};
  Table table{.caption = title, .header = {x}};
  std::map<double, std::vector<std::string>> rows;
  Json lines = Json::array();
  for (std::size_t i = 0; i < series.size(); ++i) {
    table.header.push_back(series[i].name);
    Json points = Json::array();
    for (const CurvePoint& point : series[i].points) {
      points.push_back({point.x, point.y});
      auto& row = rows[point.x];
      row.resize(series.size());
      row[i] = figure_text(point.y);
    }
    lines.push_back({{"role", series[i].role}, {"name", series[i].name}, {"points", points}});
  }
  for (auto& [at, cells] : rows) {
    cells.insert(cells.begin(), fmt::format("{}", at));
    table.rows.push_back(std::move(cells));
  }
  thin(table);
  Json rules = Json::array();
  for (const Level& level : levels) rules.push_back({{"name", level.name}, {"y", level.y}});
  figure.data = {{"kind", "lines"}, {"x", x}, {"y", y}, {"zero", from_zero}, {"lines", lines}, {"rules", rules}};
  figure.tables = {table};
  return figure;
}

}  // namespace evolora
