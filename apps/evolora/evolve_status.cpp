// `evolora evolve status`, `best` and `show`: what an archive holds, also while its search runs.
#include <fmt/format.h>

#include "evolve/pack/source_difference.h"
#include "evolve/recipe_space.h"
#include "evolve/search_subject.h"
#include "evolve_command.h"
#include "terminal.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

struct LookArguments {
  std::string folder;
  std::int64_t number = 0;
  std::int64_t run = 0;
  std::string out;
  bool json = false;
};

Status run_status(const LookArguments& a) {
  const OpenedSearch search = TRY(open_search(a.folder));
  if (a.json) {
    fmt::print("{}\n", search_state_to_json(search.plan, search.state).dump(2));
    return {};
  }
  print_search_state(search.plan, search.state);
  for (std::size_t r = 0; r < search.state.runs.size(); ++r) {
    const std::string end = end_of_run(search.plan, search.state.runs[r]);
    fmt::print("{}{}: {}\n", r == 0 ? "\n" : "", search.plan.proposers[r], end.empty() ? "not ended; go on with --resume" : end);
  }
  return {};
}

Status write_export(const fs::path& out, const OpenedSearch& search, const Finalist& best) {
  FileSystem& files = real_file_system();
  const Individual& one = search.state.runs[static_cast<std::size_t>(best.run)].population.at(best.number);
  TRY(export_candidate(files, out, search.plan, one.candidate));
  const Json proof = {{"plan_sha256", search.archive.plan_sha256()},
                      {"against", search.plan.start.genome},
                      {"individual", best.number},
                      {"judged", search.plan.judge},
                      {"p", best.p},
                      {"confirmation", judgement_to_json(*best.confirmation)}};
  TRY(write_file_atomically(files, out / "proof.json", proof.dump(2) + "\n"));
  fmt::print("\n{}{} and {} written\n", searches_pack(search.plan) ? fmt::format("The kernel pack {}, ", out.string()) : "",
             (out / "recipe.json").string(), (out / "proof.json").string());
  const std::string flags = TRY(training_flags(search.plan));
  if (!flags.empty())
    fmt::print("Train with it: evolora train --train {} --recipe {} --model MODEL --data DATA\n", flags, (out / "recipe.json").string());
  return {};
}

// What the winner is: its recipe, or how its source differs from the start's.
Result<std::string> winner_text(const SearchPlan& plan, const Candidate& candidate) {
  if (!searches_pack(plan)) return recipe_json_of(candidate.genome).dump(2);
  const PackSources from = TRY(program_text(plan, plan.start));
  const PackSources to = TRY(program_text(plan, candidate));
  return source_difference(from, to);
}

Status run_best(const LookArguments& a) {
  const OpenedSearch search = TRY(open_search(a.folder));
  const auto best = winner(search.plan, search.state);
  if (a.json) {
    fmt::print("{}\n", search_state_to_json(search.plan, search.state)["winner"].dump(2));
  } else if (best) {
    const Individual& one = search.state.runs[static_cast<std::size_t>(best->run)].population.at(best->number);
    const Judgement& judged = *best->confirmation;
    fmt::print("Individual {} of run {} ({}), confirmed over {} pairs: {}, p {:.2g}\n", best->number, best->run,
               search.plan.proposers[static_cast<std::size_t>(best->run)], judged.log_speed.size(), measured_text(judged), best->p);
    const std::string training = training_text(judged);
    if (!training.empty()) fmt::print("Training with it: {}\n", training);
    fmt::print("Against the start: {}\n{}\n", candidate_difference(search.plan.start, one.candidate), TRY(winner_text(search.plan, one.candidate)));
  } else {
    const bool ended = has_ended(search.plan, search.state);
    fmt::print("{}\n", ended ? "No candidate beat the baseline." : "Nothing is confirmed yet: the search has not ended.");
  }
  if (a.out.empty()) return {};
  if (!best) return Error{ErrorCode::kUsage, fmt::format("--export {}: there is no confirmed candidate to write", a.out)};
  return write_export(a.out, search, *best);
}

// One shape of a micro-benchmark; of packs for mlx with its memory.
std::string case_text(const Json& measured) {
  const auto number = [&](const char* field) { return measured.value(field, 0.0); };
  std::string text = fmt::format("{:8.3f} ms, baseline {:8.3f} ms, ", number("candidate_ms"), number("baseline_ms"));
  if (measured.contains("candidate_peak_mib")) {
    text += fmt::format("{:.1f} MiB, baseline {:.1f} MiB", number("candidate_peak_mib"), number("baseline_peak_mib"));
  } else {
    text = fmt::format("{:<8} {}{:.2f} of the peak", measured.value("direction", ""), text, number("share_of_peak"));
  }
  return text + ": " + measured.value("shape", "");
}

void print_measurements(const Judgement& judged) {
  const Json gates = judged.details.value("gates", Json());
  if (gates.is_array()) fmt::print("gates   {}\n", gates.dump());
  if (!judged.log_speed.empty()) {
    fmt::print("        {}\npairs  ", measured_text(judged));
    for (std::size_t i = 0; i < judged.log_speed.size(); ++i) {
      fmt::print(" {:+.4f}", judged.log_speed[i]);
      if (i < judged.log_memory.size()) fmt::print("/{:+.4f}", judged.log_memory[i]);
    }
    fmt::print("  (log ratios, speed{})\n", judged.log_memory.empty() ? "" : "/memory");
  }
  const Json cases = judged.details.value("microbenchmark", Json::object()).value("cases", Json::array());
  for (const Json& each : cases) fmt::print("kernel  {}\n", case_text(each));
  const std::string training = training_text(judged);
  if (!training.empty()) fmt::print("training {}\n", training);
  if (!judged.artifact.empty()) fmt::print("messages\n{}\n", judged.artifact);
}

// What changed against the first parent, or else the start, and the whole text.
Status print_program(const SearchPlan& plan, const Population& population, const Individual& one) {
  const auto text = program_text(plan, one.candidate);
  // A proposal that was refused may have no program: what it had in hand.
  const PackSources program = text.ok() ? *text : one.candidate.sources;
  const std::int64_t before = one.parents.empty() ? 0 : one.parents.front();
  if (before >= 0 && before < population.size()) {
    const auto parent = program_text(plan, population.at(before).candidate);
    if (parent.ok() && *parent != program) {
      fmt::print("\n{}\n{}", styled(Style::kBold, fmt::format("Against {}", before)), source_difference(*parent, program));
    }
  }
  for (const auto& [name, content] : program) fmt::print("\n{}\n{}\n", styled(Style::kBold, name), content);
  return {};
}

Status run_show(const LookArguments& a) {
  const OpenedSearch search = TRY(open_search(a.folder));
  if (a.run < 0 || static_cast<std::size_t>(a.run) >= search.state.runs.size()) {
    return Error{ErrorCode::kUsage, fmt::format("--run: expected 0 to {}, got {}", search.state.runs.size() - 1, a.run)};
  }
  const Population& population = search.state.runs[static_cast<std::size_t>(a.run)].population;
  if (a.number < 0 || a.number >= population.size()) {
    return Error{ErrorCode::kUsage, fmt::format("NUMBER: run {} has the individuals 0 to {}, got {}", a.run, population.size() - 1, a.number)};
  }
  const Individual& one = population.at(a.number);
  if (a.json) {
    Json json = {{"number", one.number}, {"run", a.run},           {"island", one.island},
                 {"digest", one.digest}, {"parents", one.parents}, {"origin", one.origin}};
    json["candidate"] = candidate_to_json(one.candidate);
    json["judgement"] = judgement_to_json(one.judgement);
    json["fitness"] = one.fitness ? Json(*one.fitness) : Json();
    json["record"] = one.record;
    fmt::print("{}\n", json.dump(2));
    return {};
  }
  fmt::print("Individual {} of run {} ({}), island {}, by {}\n", one.number, a.run, search.plan.proposers[static_cast<std::size_t>(a.run)],
             one.island, one.origin);
  fmt::print("digest  {}\ngenome  {}\n", one.digest, genome_text(one.candidate.genome));
  for (const std::int64_t parent : one.parents) {
    if (parent >= 0 && parent < population.size()) {
      fmt::print("parent  {}: {}\n", parent, candidate_difference(population.at(parent).candidate, one.candidate));
    }
  }
  const Judgement& judged = one.judgement;
  fmt::print("outcome {} at gate {}{}{}\n", word(judged.outcome), judged.gate, judged.reason.empty() ? "" : ": ", judged.reason);
  print_measurements(judged);
  for (const SearchEvent& event : search.events) {
    if (event.run != a.run || event.number != a.number) continue;
    fmt::print("event   {}: {} in {:.1f} s\n", word(event.kind), word(event.judgement.outcome), event.judgement.seconds);
  }
  return print_program(search.plan, population, one);
}

std::shared_ptr<LookArguments> add_look_flags(CLI::App& app) {
  auto arguments = std::make_shared<LookArguments>();
  app.add_option("DIR", arguments->folder, "Folder of the search")->required();
  app.add_flag("--json", arguments->json, "As JSON");
  return arguments;
}

}  // namespace

Command add_evolve_status(CLI::App& evolve) {
  CLI::App* app = evolve.add_subcommand("status", "How far a search is, also while it runs");
  const auto arguments = add_look_flags(*app);
  return {app, [arguments] { return run_status(*arguments); }, {}};
}

Command add_evolve_best(CLI::App& evolve) {
  CLI::App* app = evolve.add_subcommand("best", "The confirmed candidate of a search, if there is one");
  const auto arguments = add_look_flags(*app);
  add_value(*app, "--export", arguments->out, "Write what train takes to this folder: recipe.json, the sources of a kernel pack, and proof.json");
  return {app, [arguments] { return run_best(*arguments); }, {}};
}

Command add_evolve_show(CLI::App& evolve) {
  CLI::App* app = evolve.add_subcommand("show", "One individual: genome, parents, gates, measurements, code and what changed in it");
  const auto arguments = add_look_flags(*app);
  app->add_option("NUMBER", arguments->number, "Number of the individual; 0 is the start")->required();
  add_value(*app, "--run", arguments->run, "Run of a comparison, from 0 [0]");
  return {app, [arguments] { return run_show(*arguments); }, {}};
}

}  // namespace evolora
