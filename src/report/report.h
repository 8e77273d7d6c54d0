// One self-contained HTML file from a finished folder, whichever command made it.
#pragma once

#include <string>

#include "base/file_system.h"

namespace evolora {

// A bench (plan.json) or a training run's adapter folder (run.json). kNotFound if the folder is not there or neither file is in it; errors of the
// pages (bench_report.h, run_report.h).
Result<std::string> report_of_folder(FileSystem& files, const fs::path& folder);

}  // namespace evolora
