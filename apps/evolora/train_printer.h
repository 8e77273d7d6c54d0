// Prints a training run: the plan, progress (one live line on a terminal, plain lines elsewhere), losses, and the summary.
#pragma once

#include <string>

#include "train/observer.h"
#include "train/request.h"

namespace evolora {

class TrainPrinter final : public TrainObserver {
 public:
  // quiet: only warnings.
  TrainPrinter(const TrainRequest& request, bool quiet) : request_(request), quiet_(quiet) {}

  void on_status(const std::string& what_happens_now) override;
  void on_plan(const TrainPlan& plan) override;
  void on_progress(const StepProgress& progress) override;
  void on_report(const TrainReport& report) override;
  void on_validation(const ValidationReport& validation) override;
  void on_save(std::int64_t step, const std::vector<fs::path>& files) override;
  void on_warning(const std::string& message) override;
  void print_summary(const TrainResult& result);
  // Before anything else is printed: removes the live line.
  void clear_live_line();

 private:
  void line(const std::string& text);
  void live(const std::string& text);
  void row(const char* name, const std::string& text) const;

  const TrainRequest& request_;
  bool quiet_;
  bool live_line_shown_ = false;
  TrainPlan plan_;
  StepProgress last_;
  std::vector<ValidationReport> validations_;
};

}  // namespace evolora
