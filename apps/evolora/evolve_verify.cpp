// `evolora evolve verify`: makes the proposals of a search again from its archive and the recorded answers of its language models.
#include <fmt/format.h>

#include "evolve/proposers/proposers.h"
#include "evolve/reproduce_search.h"
#include "evolve/search_subject.h"
#include "evolve_command.h"
#include "evolve_llm.h"
#include "interrupt.h"

namespace evolora {
namespace {

struct VerifyArguments {
  std::string folder;
  LlmFlags llm;
};

Status run_verify(VerifyArguments a) {
  FileSystem& files = real_file_system();
  const OpenedSearch search = TRY(open_search(a.folder));
  a.llm.replay = a.llm.config.empty() ? "" : a.folder;
  std::optional<LlmInput> llm = TRY(take_llm_input(a.llm, files));
  TRY(check_llm_proposer(llm, search.plan.proposers));
  const std::string source = archive_path(a.folder).string();
  const SearchSubject subject = TRY(candidates_of(search.plan, source));
  std::unique_ptr<LlmSession> session;
  if (llm) session = TRY(open_llm_session(std::move(*llm), search.plan, subject.agree, files, a.folder, stop_flag()));
  std::vector<std::unique_ptr<Proposer>> proposers;
  SearchParts parts{.space = &subject.space, .genes_of = subject.genes_of, .program_digest = subject.program_digest};
  for (const std::string& name : search.plan.proposers) {
    if (name != kLlmProposer) proposers.push_back(TRY(make_proposer(name)));
    parts.proposers.push_back(name == kLlmProposer ? &session->proposer() : proposers.back().get());
  }
  const Reproduction made = TRY(reproduce_search(search.plan, search.events, std::move(parts), source));
  fmt::print("{} proposals made again from {} archived measurements{}: all the same, to the byte{}\n", made.proposals, made.measurements,
             session ? " and the recorded answers of language models" : "", made.ended ? "" : "; the search has not ended");
  return {};
}

}  // namespace

Command add_evolve_verify(CLI::App& evolve) {
  CLI::App* app = evolve.add_subcommand("verify", "Makes a search's proposals again from what was measured and answered, and compares");
  auto a = std::make_shared<VerifyArguments>();
  app->add_option("DIR", a->folder, "Folder of the search")->required();
  add_value(*app, "--llm", a->llm.config, "Configuration (YAML) of the language models that proposed in it");
  return {app, [a] { return run_verify(*a); }, {}};
}

}  // namespace evolora
