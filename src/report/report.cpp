// Which page a folder gets.
#include "report/report.h"

#include <fmt/format.h>

#include "report/bench_report.h"
#include "report/run_report.h"

namespace evolora {

Result<std::string> report_of_folder(FileSystem& files, const fs::path& folder) {
  if (!files.is_directory(folder)) return Error{ErrorCode::kNotFound, fmt::format("{}: no such folder", folder.string())};
  if (files.exists(folder / "plan.json")) return bench_report(files, folder);
  if (files.exists(folder / "run.json")) return run_report(files, folder);
  return Error{ErrorCode::kNotFound, fmt::format("{}: neither plan.json (a bench) nor run.json (a training run) is in this folder", folder.string())};
}

}  // namespace evolora
