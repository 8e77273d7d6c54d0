// Prints a bench: what is compared, one line per trial, looks, tables, the verdict.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "measure/paired_bench.h"
#include "measure/sequential_design.h"

namespace evolora {

class BenchPrinter final : public BenchObserver {
 public:
  explicit BenchPrinter(const BenchPlan& plan) : plan_(plan) {}

  void print_plan() const;
  void on_trial_start(const TrialPlace& place, double seconds_left) override;
  void on_trial_end(const TrialRecord& record) override;
  void on_look(const Verdict& verdict, std::size_t look) override;

  // Tables and verdict of the paired design.
  void print_result(const Verdict& verdict, std::span<const TrialRecord> records) const;
  // The sequential design's report.
  void print_report(const SequentialReport& report, std::span<const TrialRecord> records) const;

 private:
  void print_figures(std::span<const TrialRecord> records) const;
  std::string place_text(const TrialPlace& place) const;

  const BenchPlan& plan_;
  std::string place_;
  int phase_ = -1;  // sequential: role of the phase that was announced
};

}  // namespace evolora
