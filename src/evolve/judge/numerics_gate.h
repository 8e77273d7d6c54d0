// The numerics and determinism gates of lora_linear: hidden shapes and values, each result against the reference, each call repeated.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "evolve/judge/kernel_runner.h"

namespace evolora {

// Every bit width, group size and type, odd row counts, widths and ranks, groups of one to three, with and without dropout and bias, and all kinds of
// values; which meets which follows from the seed.
std::vector<ProblemShape> numerics_shapes(std::uint64_t seed);

struct GateResult {
  bool passed = false;
  std::string gate;    // "numerics" or "determinism": the last one it was put to
  std::string reason;  // one line; empty if passed
  int calls = 0;
};

// The gate's problems of one seed, made when the first runner gets to them and kept for the next. Not thread-safe.
class NumericsSuite {
 public:
  explicit NumericsSuite(std::uint64_t seed) : seed_(seed), shapes_(numerics_shapes(seed)) {}
  // As judge_numerics.
  Result<GateResult> judge(KernelRunner& runner);

 private:
  struct Content {
    LoraProblem problem;
    LoraExpectation expectation;
  };
  Content& content(std::size_t number);
  std::uint64_t seed_;
  std::vector<ProblemShape> shapes_;
  std::vector<std::unique_ptr<Content>> contents_;
};

// Runs every shape twice in the same place with different contents (a result that is kept from call to call is wrong the second time), and each
// content on two threads, on one, and on two again: all three the same to the bit. Errors: the judge's own failures.
Result<GateResult> judge_numerics(KernelRunner& runner, std::uint64_t seed);

}  // namespace evolora
