// A training run's adapter folder as a page: how it ended, then loss, speed and memory over its steps, then what it was.
#pragma once

#include <string>

#include "base/file_system.h"

namespace evolora {

// The page of DIR/run.json and DIR/metrics.jsonl. Errors of reading; kBadData naming file, line and field. A run.json without metrics.jsonl (only a
// test was run) gives a page without curves; a last line that a crash cut off is left out.
Result<std::string> run_report(FileSystem& files, const fs::path& folder);

}  // namespace evolora
