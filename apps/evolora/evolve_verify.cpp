// `evolora evolve verify`: makes the proposals of a search again from its archive and the recorded answers of its language models.
#include <fmt/format.h>

#include "evolve/reproduce_search.h"
#include "evolve/search_subject.h"
#include "evolve_command.h"
#include "evolve_llm.h"

namespace evolora {
namespace {

struct VerifyArguments {
  std::string folder;
  LlmFlags llm;
};

const char* end_text(const Reproduction& made) {
  if (made.ended) return "";
  return made.excused ? "; what ended the run of its language models is not recorded" : "; the search has not ended";
}

Status run_verify(const VerifyArguments& a) {
  FileSystem& files = real_file_system();
  const OpenedSearch search = TRY(open_search(a.folder));
  std::optional<LlmInput> llm;
  if (!a.llm.config.empty()) llm = LlmInput{.config = TRY(read_llm_config(files, a.llm.config)), .key = {}, .replay = {}};
  TRY(check_llm_proposer(llm, search.plan.proposers));
  const std::string source = archive_path(a.folder).string();
  const SearchSubject subject = TRY(candidates_of(search.plan, source));
  std::unique_ptr<LlmSession> session;
  if (llm) {
    const fs::path record = a.llm.replay.empty() ? a.folder : a.llm.replay;
    session = TRY(open_llm_record(std::move(llm->config), search.plan, subject.agree, files, a.folder, record));
  }
  const PlanProposers proposers = TRY(make_proposers(search.plan, session.get()));
  const SearchParts parts{
      .space = &subject.space, .genes_of = subject.genes_of, .program_digest = subject.program_digest, .proposers = proposers.all};
  const Reproduction made = TRY(reproduce_search(search.plan, search.events, parts, {kLlmProposer}, source));
  fmt::print("{} proposals made again from {} archived measurements{}: all the same, to the byte{}\n", made.proposals, made.measurements,
             session ? " and the recorded answers of language models" : "", end_text(made));
  return {};
}

}  // namespace

Command add_evolve_verify(CLI::App& evolve) {
  CLI::App* app = evolve.add_subcommand("verify", "Makes a search's proposals again from what was measured and answered, and compares");
  auto a = std::make_shared<VerifyArguments>();
  app->add_option("DIR", a->folder, "Folder of the search")->required();
  add_value(*app, "--llm", a->llm.config, "Configuration (YAML) of the language models that proposed in it");
  add_value(*app, "--replay", a->llm.replay, "Folder of the search whose recorded answers this one used [DIR]");
  return {app, [a] { return run_verify(*a); }, {}};
}

}  // namespace evolora
