// `evolora report`: a finished folder as one self-contained HTML file.
#include <fmt/format.h>

#include "base/file_system.h"
#include "command.h"
#include "report/report.h"

namespace evolora {
namespace {

Status run_report_command(const std::string& folder, const std::string& out) {
  if (folder.empty())
    return Error{ErrorCode::kUsage, "report: name the folder of a bench, a training run or a search, for example: evolora report bench"};
  FileSystem& files = real_file_system();
  const std::string html = TRY(report_of_folder(files, folder));
  const fs::path path = out.empty() ? fs::path(folder) / "report.html" : fs::path(out);
  TRY(write_file_atomically(files, path, html));
  fmt::print("{}\n", path.string());
  return {};
}

}  // namespace

Command add_report_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("report", "One self-contained HTML file from the folder of a bench, a training run or a search");
  auto folder = std::make_shared<std::string>();
  auto out = std::make_shared<std::string>();
  app->add_option("DIR", *folder, "Folder that bench or evolve run (--out) or train (--adapter-path) wrote");
  add_value(*app, "--out", *out, "File to write [DIR/report.html]");
  return {app, [folder, out] { return run_report_command(*folder, *out); }};
}

}  // namespace evolora
