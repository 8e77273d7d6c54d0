// A bench folder as a page: the verdict, computed again from the raw samples, before anything else; then what it rests on.
#pragma once

#include <string>

#include "base/file_system.h"
#include "measure/bench_folder.h"
#include "report/page.h"

namespace evolora {

// The page of DIR/plan.json and DIR/samples.jsonl. Errors of reading; kBadData naming file and field, also when verdict.json says something else than
// the samples.
Result<std::string> bench_report(FileSystem& files, const fs::path& folder);

// Parts of the page, each pure. source: name of samples.jsonl, for errors.
struct BenchFigures {
  std::vector<Figure> certainty;  // paired: intervals and pairs; sequential: trials in the order in which they ran
  std::vector<Figure> losses;
  std::vector<Figure> memory;
};
// verdict: of a paired bench, else null.
Result<BenchFigures> bench_figures(const BenchFolder& bench, const Verdict* verdict, const std::string& source);

// Shell commands that run the bench of this plan again, with its settings in here-documents.
std::string reproduce_commands(const BenchPlan& plan);

}  // namespace evolora
