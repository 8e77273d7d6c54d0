// Which page a folder gets.
#include "report/report.h"

#include <fmt/format.h>

#include "report/bench_report.h"
#include "report/run_report.h"
#include "report/search_report.h"

namespace evolora {

Result<std::string> report_of_folder(FileSystem& files, const fs::path& folder) {
  if (!files.is_directory(folder)) return Error{ErrorCode::kNotFound, fmt::format("{}: no such folder", folder.string())};
  if (files.exists(folder / "plan.json")) return bench_report(files, folder);
  if (files.exists(folder / "run.json")) return run_report(files, folder);
  if (files.exists(archive_path(folder))) return search_report(folder);
  return Error{
      ErrorCode::kNotFound,
      fmt::format("{}: none of plan.json (a bench), run.json (a training run) and search.sqlite (a search) is in this folder", folder.string())};
}

}  // namespace evolora
