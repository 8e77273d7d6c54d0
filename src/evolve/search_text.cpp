// A search in words and as JSON.
#include "evolve/search_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "evolve/search_subject.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

std::string value_text(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

Json measured(const Individual& one) {
  Json json = {{"number", one.number}, {"origin", one.origin}, {"genome", candidate_to_json(one.candidate)["genome"]}};
  json["fitness"] = one.fitness ? Json(*one.fitness) : Json();
  if (!one.judgement.log_speed.empty()) json["speed"] = std::exp(summarize(one.judgement.log_speed).mean);
  if (!one.judgement.log_memory.empty()) json["memory"] = std::exp(summarize(one.judgement.log_memory).mean);
  json["measurements"] = one.judgement.log_speed.size();
  return json;
}

Json finalist_to_json(const SearchPlan& plan, const Finalist& finalist) {
  Json json = {{"proposer", plan.proposers[static_cast<std::size_t>(finalist.run)]}, {"run", finalist.run}, {"number", finalist.number}};
  json["confirmed"] = finalist.confirmation.has_value();
  if (!finalist.confirmation) return json;
  json["outcome"] = word(finalist.confirmation->outcome);
  json["p"] = finalist.p;
  json["accepted"] = finalist.accepted;
  json["verdict"] = finalist.confirmation->details.value("verdict", Json());
  json["folder"] = finalist.confirmation->details.value("folder", Json());
  return json;
}

}  // namespace

Result<OpenedSearch> open_search(const fs::path& folder) {
  const fs::path path = archive_path(folder);
  Archive archive = TRY(Archive::open_read_only(path));
  SearchPlan plan = TRY(search_plan_from_json(archive.plan(), path.string()));
  std::vector<SearchEvent> events = TRY(archive.events());
  SearchState state = TRY(replay(plan, events, path.string()));
  return OpenedSearch{std::move(archive), std::move(plan), std::move(events), std::move(state)};
}

std::string ratio_text(const std::vector<double>& logs) {
  if (logs.empty()) return "";
  return fmt::format("{:.3f} x (at least {:.3f} x)", std::exp(summarize(logs).mean), std::exp(lower_bound(logs)));
}

std::string measured_text(const Judgement& judgement) {
  std::string out = fmt::format("speed {}", ratio_text(judgement.log_speed));
  if (!judgement.log_memory.empty()) out += fmt::format(", memory {}", ratio_text(judgement.log_memory));
  return out;
}

std::string training_text(const Judgement& judgement) {
  const Json training = judgement.details.value("training", Json());
  if (!training.is_object()) return "";
  const auto logs = [&](const char* field) {
    std::vector<double> out;
    const Json values = training.value(field, Json::array());
    for (const Json& value : values) {
      if (value.is_number()) out.push_back(value.get<double>());
    }
    return out;
  };
  const Judgement measured{.log_speed = logs("log_speed"), .log_memory = logs("log_memory")};
  const Json reason = training.value("reason", Json());
  return fmt::format("{}{}", measured.log_speed.empty() ? "no pair" : measured_text(measured),
                     reason.is_string() ? ": " + reason.get<std::string>() : "");
}

std::string candidate_difference(const Candidate& from, const Candidate& to) {
  const std::string genome = genome_difference(from.genome, to.genome);
  if (from.sources == to.sources) return genome;
  return genome == "nothing" ? "other code" : "other code, " + genome;
}

std::string genome_text(const Genome& genome) {
  std::string out;
  for (const auto& [name, value] : genome) out += fmt::format("{}{}={}", out.empty() ? "" : " ", name, value_text(value));
  return out.empty() ? "-" : out;
}

std::string genome_difference(const Genome& from, const Genome& to) {
  std::string out;
  const auto add = [&](const std::string& text) { out += (out.empty() ? "" : ", ") + text; };
  for (const auto& [name, value] : to) {
    const auto before = from.find(name);
    if (before == from.end()) {
      add(fmt::format("{} {}", name, value_text(value)));
    } else if (before->second != value) {
      add(fmt::format("{} {} -> {}", name, value_text(before->second), value_text(value)));
    }
  }
  for (const auto& [name, value] : from) {
    if (!to.contains(name)) add("no " + name);
  }
  return out.empty() ? "nothing" : out;
}

std::string adjusted_text(const SearchPlan& plan, std::size_t finalists) {
  return fmt::format("{} finalist{} (Holm){}", finalists, finalists == 1 ? "" : "s",
                     plan.confirm_looks > 1 ? fmt::format(" and {} looks (Bonferroni)", plan.confirm_looks) : "");
}

const char* unseen_text(const SearchPlan& plan) { return searches_pack(plan) ? "shapes, inputs and seeds" : "data, seeds and batches"; }

std::string result_text(const Finalist& finalist, const std::vector<Finalist>& all) {
  if (!finalist.confirmation) return "not yet";
  if (!all_confirmed(all)) return "waits for the others";
  if (finalist.accepted) return "confirmed";
  return finalist.confirmation->reason.empty() ? "not shown better" : finalist.confirmation->reason;
}

std::int64_t proposals_of(const RunState& run) { return std::max<std::int64_t>(0, run.population.size() - 1); }

Json search_state_to_json(const SearchPlan& plan, const SearchState& state) {
  Json out = {{"objective", word(plan.objective)}, {"runs", Json::array()}, {"finalists", Json::array()}};
  for (std::size_t r = 0; r < state.runs.size(); ++r) {
    const RunState& run = state.runs[r];
    out["runs"].push_back({{"proposer", plan.proposers[r]},
                           {"proposals", proposals_of(run)},
                           {"evaluations", run.evaluations},
                           {"seconds", run.seconds},
                           {"ended", end_of_run(plan, run)},
                           {"best", run.leader ? measured(run.population.at(*run.leader)) : Json()}});
  }
  for (const Finalist& finalist : finalists(plan, state)) out["finalists"].push_back(finalist_to_json(plan, finalist));
  const auto best = winner(plan, state);
  out["winner"] = best ? finalist_to_json(plan, *best) : Json();
  return out;
}

}  // namespace evolora
