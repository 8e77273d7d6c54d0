// Verb of the statistics oracle: every estimator of src/measure on given data sets.
//   statistics IN.json OUT.json   in: {"margin": m, "resamples": n, "sets": [{"x": [...], "y": [...]}], "spending": [{"alpha": a, "fractions":
//   [...]}]}
//                                 out: {"sets": [{"distribution": [...], ...}], "spending": [[level, ...]]}, names as in statistics_cases.py
#include <cstdio>
#include <vector>

#include "base/file_system.h"
#include "base/json.h"
#include "measure/alpha_spending.h"
#include "measure/bootstrap.h"
#include "measure/estimators.h"
#include "measure/wilcoxon.h"
#include "probe_verbs.h"

namespace evolora::probe {
namespace {

using Json = nlohmann::ordered_json;

Json answers_of(const std::vector<double>& x, const std::vector<double>& y, double margin, std::size_t resamples, std::uint64_t seed) {
  const Summary summary = summarize(x);
  const TTest t = one_sample_t(x, margin, 0.9);
  const TTest welch = welch_t(x, y);
  const std::vector<double> distribution = bootstrap_means(x, resamples, seed);
  const Interval bca = bca_interval(x, distribution);
  return {{"mean", summary.mean},
          {"sd", summary.sd},
          {"t", t.t},
          {"p", t.p},
          {"low90", t.interval.low},
          {"high90", t.interval.high},
          {"p_greater", t.p_greater},
          {"welch_t", welch.t},
          {"welch_df", welch.df},
          {"welch_p", welch.p},
          {"welch_low", welch.interval.low},
          {"welch_high", welch.interval.high},
          {"tost_p", tost(x, -margin, margin).p},
          {"wilcoxon_p", wilcoxon_signed_rank(x).p},
          {"bca_low", bca.low},
          {"bca_high", bca.high},
          {"distribution", distribution}};
}

Status answer(const fs::path& in, const fs::path& out_path) {
  FileSystem& files = real_file_system();
  const Json request = TRY(read_json_object(files, in));
  Json out = {{"sets", Json::array()}, {"spending", Json::array()}};
  std::uint64_t seed = 0;
  for (const Json& set : request["sets"]) {
    out["sets"].push_back(answers_of(set["x"], set["y"], request["margin"].get<double>(), request["resamples"].get<std::size_t>(), seed++));
  }
  for (const Json& plan : request["spending"]) {
    out["spending"].push_back(spending_levels(plan["alpha"].get<double>(), plan["fractions"].get<std::vector<double>>()));
  }
  return write_file_atomically(files, out_path, out.dump());
}

}  // namespace

int probe_statistics(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: evolora_probe statistics IN.json OUT.json\n");
    return 2;
  }
  const Status status = answer(argv[1], argv[2]);
  if (status.ok()) return 0;
  std::fprintf(stderr, "evolora_probe: %s\n", status.error().message.c_str());
  return 2;
}

}  // namespace evolora::probe
