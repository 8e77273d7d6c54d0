// One self-contained HTML file from a finished folder, whichever command made it.
#pragma once

#include <string>

#include "base/file_system.h"

namespace evolora {

// A bench (plan.json), a training run's adapter folder (run.json) or a search (search.sqlite). kNotFound if the folder is not there or none of them
// is in it; errors of the pages (bench_report.h, run_report.h, search_report.h).
Result<std::string> report_of_folder(FileSystem& files, const fs::path& folder);

}  // namespace evolora
