// `evolora evolve`: searches for faster recipes. One file per subcommand; here they are put together.
#include "evolve_command.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "command.h"

namespace evolora {

Command add_evolve_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("evolve", "Searches for a faster or smaller way to train the same, and proves what it found");
  app->require_subcommand(0, 1);
  Command command{
      app,
      {},
      {add_evolve_init(*app), add_evolve_run(*app), add_evolve_status(*app), add_evolve_best(*app), add_evolve_show(*app), add_evolve_verify(*app)}};
  std::vector<std::string> names;
  for (const Command& each : command.subcommands) names.push_back(each.flags->get_name());
  command.run = [names]() -> Status {
    return Error{ErrorCode::kUsage, fmt::format("evolve: what to do is missing; one of: {} (see 'evolora evolve --help')", fmt::join(names, ", "))};
  };
  return command;
}

}  // namespace evolora
