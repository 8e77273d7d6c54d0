// The subcommands of `evolora evolve`, and what they share.
#pragma once

#include "base/file_system.h"
#include "command.h"
#include "evolve/search_text.h"

namespace evolora {

Command add_evolve_run(CLI::App& evolve);
Command add_evolve_status(CLI::App& evolve);
Command add_evolve_best(CLI::App& evolve);
Command add_evolve_show(CLI::App& evolve);
Command add_evolve_verify(CLI::App& evolve);

// Every run, every finalist, and what may be claimed.
void print_search_state(const SearchPlan& plan, const SearchState& state);

}  // namespace evolora
