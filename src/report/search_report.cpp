// search.sqlite to a page.
#include "report/search_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <optional>

#include "report/facts.h"
#include "report/text.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

const std::string& proposer_of(const OpenedSearch& search, int run) { return search.plan.proposers[static_cast<std::size_t>(run)]; }
const Individual& individual_of(const OpenedSearch& search, int run, std::int64_t number) {
  return search.state.runs[static_cast<std::size_t>(run)].population.at(number);
}

void write_claim(const OpenedSearch& search, const std::optional<Finalist>& best, Page& page) {
  if (best) {
    const Individual& one = individual_of(search, best->run, best->number);
    const Judgement& judged = *best->confirmation;
    std::string sentence = fmt::format("individual {} of {}, confirmed over {} pairs that the search never saw: {}, p {:.2g}; against the start: {}",
                                       best->number, proposer_of(search, best->run), judged.log_speed.size(), measured_text(judged), best->p,
                                       candidate_difference(search.plan.start, one.candidate));
    const std::string training = training_text(judged);
    if (!training.empty()) sentence += "; training with it: " + training;
    page.verdict("good", "CONFIRMED", sentence);
  } else if (has_ended(search.plan, search.state)) {
    page.verdict("open", "NO CLAIM", "no candidate beat the baseline");
  } else {
    page.verdict("open", "NOT ENDED", "nothing is confirmed yet; evolve run --resume goes on with it");
  }
  std::int64_t proposals = 0, evaluations = 0, tokens = 0;
  double seconds = 0, money = 0;
  for (const RunState& run : search.state.runs) {
    proposals += proposals_of(run);
    evaluations += run.evaluations;
    seconds += run.seconds;
    tokens += run.tokens;
    money += run.money;
  }
  std::vector<Tile> tiles = {{"Proposals", fmt::format("{}", proposals), "candidates, and answers that were none"},
                             {"Evaluations", fmt::format("{}", evaluations), "measured again ones included"},
                             {"Judging", human_duration(seconds), "what was measured, one after the other"}};
  if (search.state.runs.front().population.size() > 0) {
    const Judgement& start = search.state.runs.front().population.at(0).judgement;
    if (!start.log_speed.empty()) tiles.push_back({"Start against itself", ratio_text(start.log_speed), "how far from 1: this machine's noise"});
  }
  if (tokens > 0) tiles.push_back({"Tokens", human_count(static_cast<std::size_t>(tokens)), money > 0 ? fmt::format("{:.4g} of money", money) : ""});
  page.tiles(tiles);
}

void write_runs(const OpenedSearch& search, Page& page) {
  Table table{
      .caption = "Runs", .header = {"proposer", "proposals", "evaluations", "seconds", "best", "speed", "memory", "ended"}, .last_is_text = true};
  for (std::size_t r = 0; r < search.state.runs.size(); ++r) {
    const RunState& run = search.state.runs[r];
    const Individual* best = run.leader ? &run.population.at(*run.leader) : nullptr;
    const std::string end = end_of_run(search.plan, run);
    table.rows.push_back({search.plan.proposers[r], fmt::format("{}", proposals_of(run)), fmt::format("{}", run.evaluations),
                          fmt::format("{:.0f}", run.seconds), best == nullptr ? "" : fmt::format("{}", best->number),
                          best == nullptr ? "none above the start" : ratio_text(best->judgement.log_speed),
                          best == nullptr ? "" : ratio_text(best->judgement.log_memory), end.empty() ? "not yet" : end});
  }
  page.table(table);
}

void write_confirmations(const OpenedSearch& search, const std::vector<Finalist>& all, Page& page) {
  if (all.empty()) return;
  page.heading("Confirmation");
  page.paragraph(
      fmt::format("The best of each run, measured on {} that the search never saw. p is one-sided, that the gain is not above {:.3g} %, adjusted "
                  "for {}.",
                  unseen_text(search.plan), 100 * search.plan.min_effect, adjusted_text(search.plan, all.size())));
  Table table{
      .caption = "Finalists", .header = {"finalist", "change", "pairs", "speed", "memory", "p", "result"}, .text_columns = 2, .last_is_text = true};
  for (const Finalist& finalist : all) {
    const Individual& one = individual_of(search, finalist.run, finalist.number);
    std::vector<std::string> row = {fmt::format("{} {}", proposer_of(search, finalist.run), finalist.number),
                                    candidate_difference(search.plan.start, one.candidate)};
    const Judgement judged = finalist.confirmation.value_or(Judgement{});
    row.insert(row.end(), {finalist.confirmation ? fmt::format("{}", judged.log_speed.size()) : "", ratio_text(judged.log_speed),
                           ratio_text(judged.log_memory), all_confirmed(all) ? fmt::format("{:.2g}", finalist.p) : "", result_text(finalist, all)});
    table.rows.push_back(std::move(row));
  }
  page.table(table);
}

// Of every cell of the grids the best.
void write_grid(const OpenedSearch& search, Page& page) {
  Table table{.caption = "Grid: the best of every kind", .header = {"proposer", "cell", "candidates", "best", "speed", "memory"}, .text_columns = 2};
  for (std::size_t r = 0; r < search.state.runs.size(); ++r) {
    std::map<std::vector<int>, std::vector<const Individual*>> cells;
    for (const Individual* one : search.state.runs[r].population.best()) cells[one->judgement.cell].push_back(one);  // best first
    for (const auto& [cell, members] : cells) {
      if (cell.empty()) continue;
      const Judgement& best = members.front()->judgement;
      table.rows.push_back({search.plan.proposers[r], fmt::format("{}", fmt::join(cell, " ")), fmt::format("{}", members.size()),
                            fmt::format("{}", members.front()->number), ratio_text(best.log_speed), ratio_text(best.log_memory)});
    }
  }
  if (table.rows.empty()) return;
  page.heading("Kinds of candidates");
  page.paragraph(
      "Candidates that work alike share a cell (the bins of arithmetic, recomputation and the like are fixed), and each cell keeps its best.");
  page.table(table);
}

// How often each language model was asked for what, and what came of it.
void write_models(const OpenedSearch& search, Page& page) {
  struct Asked {
    std::int64_t times = 0, no_candidate = 0, scored = 0;
    double tokens = 0;
  };
  std::map<std::pair<std::string, std::string>, Asked> models;
  for (const RunState& run : search.state.runs) {
    for (const Individual* one : run.population.history()) {
      const std::string model = text_in(one->record, "model");
      if (model.empty()) continue;
      Asked& asked = models[{model, text_in(one->record, "operator")}];
      ++asked.times;
      asked.no_candidate += one->rejected.empty() ? 0 : 1;
      asked.scored += one->judgement.outcome == Outcome::kScored ? 1 : 0;
      asked.tokens += number_in(one->record, "tokens").value_or(0);
    }
  }
  if (models.empty()) return;
  Table table{.caption = "Language models", .header = {"model", "asked for", "times", "no candidate", "scored", "tokens"}, .text_columns = 2};
  for (const auto& [key, asked] : models) {
    table.rows.push_back({key.first, key.second, fmt::format("{}", asked.times), fmt::format("{}", asked.no_candidate),
                          fmt::format("{}", asked.scored), fmt::format("{:.0f}", asked.tokens)});
  }
  page.table(table);
}

void write_individuals(const OpenedSearch& search, Page& page) {
  page.heading("Lineage");
  for (std::size_t r = 0; r < search.state.runs.size(); ++r) {
    const Population& population = search.state.runs[r].population;
    if (population.size() == 0) continue;
    page.paragraph(fmt::format("{}: who came from whom, by first parents.", search.plan.proposers[r]));
    page.code(lineage_text(population));
    Table table{.caption = fmt::format("All individuals of {}", search.plan.proposers[r]),
                .header = {"number", "island", "parents", "origin", "change against the start", "outcome", "gate", "speed", "memory", "reason"},
                .text_columns = 7,
                .last_is_text = true};
    for (const Individual* one : population.history()) {
      const Judgement& judged = one->judgement;
      table.rows.push_back({fmt::format("{}", one->number), fmt::format("{}", one->island), fmt::format("{}", fmt::join(one->parents, " ")),
                            one->origin, one->rejected.empty() ? candidate_difference(search.plan.start, one->candidate) : "", word(judged.outcome),
                            judged.gate, ratio_text(judged.log_speed), ratio_text(judged.log_memory), judged.reason});
    }
    page.folded_table(table);
  }
}

void write_plan(const OpenedSearch& search, const std::vector<Finalist>& all, const fs::path& folder, Page& page) {
  page.heading("Plan and environment");
  Json plan = search.archive.plan();
  for (const char* key : {"judge", "space", "start", "versions"}) plan.erase(key);
  Table table = facts_table("What fixes the search", plan);
  add_facts(table, search.plan.versions, "version of ");
  table.rows.push_back({"SHA-256 of the plan", search.archive.plan_sha256()});
  page.table(table);
  page.folded_table(facts_table("How candidates are judged", search.plan.judge));
  page.heading("How to look further");
  const std::string name = shell_word(folder.string());
  std::string commands = fmt::format("evolora evolve status {0}\nevolora evolve show {0} 0\n", name);
  // With language models it also needs their configuration, which is not in the folder.
  const std::vector<std::string>& proposers = search.plan.proposers;
  if (std::find(proposers.begin(), proposers.end(), "llm") == proposers.end()) commands += fmt::format("evolora evolve verify {}\n", name);
  if (std::any_of(all.begin(), all.end(), [](const Finalist& one) { return one.accepted; }))
    commands += fmt::format("evolora evolve best {} --export best\n", name);
  for (const Finalist& finalist : all) {
    const std::string kept = finalist.confirmation ? text_in(finalist.confirmation->details, "folder") : "";
    if (!kept.empty()) commands += "evolora bench --verify " + shell_word((folder / kept).string()) + "\n";
  }
  page.code(commands);
}

void write_figures(const char* heading, std::vector<Figure> figures, Page& page) {
  if (figures.empty()) return;
  page.heading(heading);
  page.figures(std::move(figures));
}

}  // namespace

Result<std::string> search_report(const fs::path& folder) {
  const OpenedSearch search = TRY(open_search(folder));
  Page page(fmt::format("Search: {}", fs::absolute(folder).lexically_normal().filename().string()));
  const std::vector<Finalist> all = finalists(search.plan, search.state);
  write_claim(search, winner(search.plan, search.state), page);
  write_runs(search, page);
  write_figures("Best over time", TRY(best_over_time(search.plan, search.events, archive_path(folder).string())), page);
  write_confirmations(search, all, page);
  write_figures("Gates", gates_funnel(search.state), page);
  write_models(search, page);
  write_grid(search, page);
  write_individuals(search, page);
  write_plan(search, all, folder, page);
  return page.html();
}

}  // namespace evolora
