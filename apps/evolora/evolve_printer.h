// A search in words while it runs.
#pragma once

#include <memory>

#include "evolve/search.h"

namespace evolora {

// plan outlives it.
std::unique_ptr<SearchObserver> make_search_printer(const SearchPlan& plan);

}  // namespace evolora
