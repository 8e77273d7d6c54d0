// Trials of a bench in a sandbox: for trainings with a kernel that nobody read. They see the system's programs and libraries, the model, the data and
// the pack to read, and their own folder to write; no network, no home, no environment. Clock and memory meter stay the bench's.
//
// What it does not do: protect the figures that such a training reports about itself, its losses among them, from a kernel that would forge them in
// its own process. Kernels have been judged in a worker that reports nothing before they are trained with.
#pragma once

#include "evolve/sandbox/descriptor.h"
#include "measure/trial_runner.h"

namespace evolora {

class SandboxedTrials : public TrialLauncher {
 public:
  explicit SandboxedTrials(FileSystem& files) : files_(files) {}
  // Reads what may be seen from the request in folder. kDependency: no sandbox here; errors of reading request and recipe.
  Result<ChildRequest> prepare(ChildRequest child, const fs::path& folder) override;

 private:
  FileSystem& files_;
  Descriptor info_, filter_;  // for the child of the last call
};

}  // namespace evolora
