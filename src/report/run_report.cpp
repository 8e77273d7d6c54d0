// run.json and metrics.jsonl to a page.
#include "report/run_report.h"

#include <fmt/format.h>

#include <cmath>

#include "base/byte_size.h"
#include "base/json.h"
#include "report/curve_figures.h"
#include "report/facts.h"
#include "report/page.h"
#include "report/text.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

// A figure of every line of metrics.jsonl that has it, over the step.
struct Metrics {
  std::vector<Json> lines;

  Curve curve(const char* field, double unit = 1) const {
    Curve out;
    for (const Json& line : lines) {
      const auto step = number_in(line, "step");
      const auto value = number_in(line, field);
      if (step && value) out.push_back({*step, *value / unit});
    }
    return out;
  }
};

Result<Metrics> read_metrics(FileSystem& files, const fs::path& path) {
  Metrics metrics;
  if (!files.exists(path)) return metrics;
  const std::string text = TRY(files.read(path));
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;  // cut off by a crash
    const std::string source = fmt::format("{}:{}", path.string(), ++number);
    const auto line = parse_json(std::string_view(text).substr(begin, end - begin));
    if (!line.ok()) return Error{ErrorCode::kBadData, source + ": " + line.error().message};
    if (!line->is_object() || !number_in(*line, "step")) return Error{ErrorCode::kBadData, source + ": expected an object with a number 'step'"};
    metrics.lines.push_back(*line);
    begin = end + 1;
  }
  return metrics;
}

std::string loss_sentence(const Json& run) {
  const auto before = number_in(run, "val_loss_before");
  const auto after = number_in(run, "val_loss");
  if (before && after) return fmt::format("validation loss {:.4f} before, {:.4f} after", *before, *after);
  const auto train = number_in(run, "train_loss");
  return train ? fmt::format("training loss {:.4f}", *train) : "no losses";
}

void write_outcome(const Json& run, Page& page) {
  const std::string status = text_in(run, "status");
  const std::string error = text_in(run, "error");
  std::string sentence = fmt::format("{} steps, {}", figure_text(number_in(run, "steps").value_or(0)), loss_sentence(run));
  if (!error.empty()) sentence += ": " + error;
  page.verdict(status == "completed" ? "good" : status == "failed" ? "bad" : "open", status.empty() ? "status not known" : status, sentence);

  std::vector<Tile> tiles;
  const auto add = [&](const char* name, const char* key, auto text, std::string note) {
    if (const auto value = number_in(run, key)) tiles.push_back({name, text(*value), std::move(note)});
  };
  const auto whole = [](double value) { return value >= 0 && value < 1e18 ? static_cast<std::size_t>(std::llround(value)) : std::size_t{0}; };
  const auto bytes = [&](double value) { return human_bytes(whole(value)); };
  const auto expected = number_in(run, "expected_peak_rss_bytes").value_or(0);
  const auto duration = [](double value) { return value < 60 ? fmt::format("{:.2f} s", value) : human_duration(value); };
  add("Time", "wall_seconds", duration, "whole process");
  add("Tokens per second", "tokens_per_second", figure_text, "training loop, validation left out");
  add("Peak memory", "peak_rss_bytes", bytes, expected > 0 ? fmt::format("{} were expected", bytes(expected)) : "");
  add(
      "Trained tokens", "trained_tokens", [&](double value) { return human_count(whole(value)); }, "");
  add(
      "Trained parameters", "trainable_parameters", [&](double value) { return human_parameters(whole(value)); }, "");
  add(
      "Test loss", "test_loss", [](double value) { return fmt::format("{:.4f}", value); }, "");
  page.tiles(tiles);
}

void write_curves(const Json& run, const Metrics& metrics, Page& page) {
  page.heading("Loss, speed and memory");
  std::vector<Figure> figures;
  const auto add = [&](const char* title, const char* y, std::vector<LineSeries> series, std::vector<Level> levels, bool from_zero) {
    std::erase_if(series, [](const LineSeries& one) { return one.points.empty(); });
    if (!series.empty()) figures.push_back(line_figure(title, y, "step", series, levels, from_zero));
  };
  add("Loss", "loss", {{"train", "training", metrics.curve("train_loss")}, {"valid", "validation", metrics.curve("val_loss")}}, {}, false);
  std::vector<Level> levels;
  if (const auto peak = number_in(run, "peak_rss_bytes")) levels.push_back({"peak", *peak / kMegabyte});
  add("Resident memory", "MB", {{"train", "resident memory MB", metrics.curve("rss", kMegabyte)}}, levels, true);
  add("Speed", "tokens per s", {{"train", "tokens per s", metrics.curve("tokens_per_s")}}, {}, true);
  add("Learning rate", "learning rate", {{"train", "learning rate", metrics.curve("learning_rate")}}, {}, true);
  if (figures.empty()) page.paragraph("The folder holds no metrics.jsonl with reports: there is nothing to draw.");
  page.figures(std::move(figures));
}

void write_facts(const Json& run, Page& page) {
  page.heading("Configuration");
  page.table(facts_table("Settings of the run", object_in(run, "config")));
  page.folded_table(facts_table("Recipe, as it was run", object_in(run, "recipe")));
  Json applied = object_in(run, "applied");
  applied.erase("layers");  // a list per block, for programs
  page.folded_table(facts_table("What ran: kernels and calls, as the engine counted them", applied));
  page.heading("Environment");
  Table machine = facts_table("Machine and versions", object_in(run, "machine"));
  add_facts(machine, object_in(run, "versions"), "version of ");
  page.table(machine);
}

void write_reproduction(const Json& run, Page& page) {
  page.heading("How to reproduce");
  page.paragraph("The run again, into another folder; the same machine, recipe, threads and seed give the same adapter bit by bit:");
  const std::string json = object_in(run, "config").dump(2, ' ', false, Json::error_handler_t::replace);
  page.code(fmt::format("cat > config.json <<'END'\n{}\nEND\nevolora train --config config.json --adapter-path adapter-again\n", json));
}

}  // namespace

Result<std::string> run_report(FileSystem& files, const fs::path& folder) {
  const Json run = TRY(read_json_object(files, folder / "run.json"));
  const Metrics metrics = TRY(read_metrics(files, folder / "metrics.jsonl"));
  Page page(fmt::format("Training run: {}", fs::absolute(folder).lexically_normal().filename().string()));
  write_outcome(run, page);
  write_curves(run, metrics, page);
  write_facts(run, page);
  write_reproduction(run, page);
  return page.html();
}

}  // namespace evolora
