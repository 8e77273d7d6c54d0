// `evolora doctor`: is this machine, and this model, ready?
#include <fmt/format.h>

#include "base/file_system.h"
#include "command.h"
#include "measure/doctor.h"
#include "terminal.h"

namespace evolora {
namespace {

Status run_doctor(const std::string& model) {
  const Diagnosis diagnosis = diagnose(real_file_system(), model);
  std::string bad;
  for (const Finding& finding : diagnosis.findings) {
    const bool is_bad = finding.health == Health::kBad;
    const std::string mark = is_bad                            ? styled(Style::kRed, "bad ")
                             : finding.health == Health::kNote ? styled(Style::kYellow, "note")
                                                               : styled(Style::kGreen, "good");
    fmt::print("{}  {:<16} {}\n", mark, finding.topic, finding.text);
    if (is_bad) bad += (bad.empty() ? "" : ", ") + finding.topic;
  }
  if (diagnosis.ready()) return {};
  return Error{ErrorCode::kDependency, fmt::format("not ready: {}", bad)};
}

}  // namespace

Command add_doctor_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand(
      "doctor", "Is this machine ready? With a model: its layers, the slots that apply, a numerics self-test. Exit status 2 if not");
  auto model = std::make_shared<std::string>();
  app->add_option("MODEL", *model, "Folder of an MLX model");
  return {app, [model] { return run_doctor(*model); }};
}

}  // namespace evolora
