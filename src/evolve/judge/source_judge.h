// The judge of kernel source: parse, rules, compile, numerics, determinism, microbenchmark, each of which ends a bad candidate more cheaply than the
// next. Compiler and candidate run in sandboxes; inputs, reference, clock and verdict are this process's.
//
// What it does not do: train a model with the candidate. A search puts that after this judge (evolve/pack_judge.h); details.gates says what was run.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/file_system.h"
#include "evolve/judge.h"
#include "evolve/judge/microbenchmark.h"
#include "evolve/sandbox/sandbox.h"
#include "kernels/pack/pack_folder.h"

namespace evolora {

struct SourceJudgeOptions {
  KernelPack start;  // the pack that is searched: its slots and files, and what candidates may change of it
  fs::path work;     // a folder of the judge's own; created. Libraries are kept in it, by digest
  Isolation isolation = Isolation::kSandbox;
  fs::path baseline;  // library of the pack that candidates are timed against; empty: the program's own kernels
  int threads = 1;    // of timed calls
  int pairs = 9;      // of timed processes
  double call_seconds = 10;
  std::vector<ProblemShape> shapes = smollm2_shapes(256);
  std::vector<ProblemShape> held_out_shapes = smollm2_shapes(192);  // of confirm()
};

// A candidate stands for its sources, or the start's if it has none, with its genome as parameters; it may differ from the start in marked blocks
// only. cell: {log2 of the sources' size in KiB, 0 to 6; log2 of the library's, 0 to 12, which grows with what is unrolled
// and how many cases are specialised; only where it compiled}. One timed call at a time on a machine: the timing lease (evolve/timing_lease.h).
// log_speed: see MicrobenchmarkResult. log_memory stays empty: what a worker says of its memory is not to be believed. Not thread-safe; all calls
// from one thread.
class SourceJudge : public Judge {
 public:
  // kDependency: no sandbox here (with Isolation::kSandbox), or no worker program; kIo.
  static Result<std::unique_ptr<SourceJudge>> create(FileSystem& files, SourceJudgeOptions options);

  Result<Judgement> judge(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) override;
  // Pairs only.
  Result<Judgement> measure_again(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) override;
  // Compiles anew; all gates with other inputs; pairs on the held-out shapes, three times as many. details.verdict: "faster", "slower" or "no
  // difference shown" at 95 %, with the interval of the mean of log_speed.
  Result<Judgement> confirm(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) override;

 private:
  class Cascade;
  SourceJudge(FileSystem& files, SourceJudgeOptions options) : files_(files), options_(std::move(options)) {}

  FileSystem& files_;
  SourceJudgeOptions options_;
};

}  // namespace evolora
