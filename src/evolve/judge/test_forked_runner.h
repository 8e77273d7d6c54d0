// For tests of the gates: a KernelRunner over a plain child process, which loads a pack and shares memory with its parent. No sandbox: for packs that
// the repository itself contains.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "evolve/judge/kernel_runner.h"

namespace evolora::testing_support {

class ForkedRunner : public KernelRunner {
 public:
  // kBadData: it cannot be loaded.
  static Result<std::unique_ptr<ForkedRunner>> start(const std::string& library, double call_seconds);
  ~ForkedRunner() override;
  bool serves(LoraDirection direction) const override { return (functions_ & (direction == LoraDirection::kForward ? 1 : 2)) != 0; }
  Status run(LoraDirection direction, LoraProblem& problem, int threads, LoraOutputs& outputs) override;

 private:
  ForkedRunner() = default;
  Status exchange(std::uint64_t request, std::uint64_t& reply);
  std::byte* memory_ = nullptr;  // shared
  int pid_ = -1;
  int requests_ = -1;
  int replies_ = -1;
  std::uint64_t functions_ = 0;
  std::uint64_t number_ = 0;
  double call_seconds_ = 0;
  bool ended_ = false;
};

}  // namespace evolora::testing_support
