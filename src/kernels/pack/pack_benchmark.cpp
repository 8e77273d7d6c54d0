// A kernel pack beside the program's own kernels, in turn on the same problem: pack_ratio is time of the program's own divided by time of the pack,
// so above 1 the pack is faster. The pack is the folder in EVOLORA_PACK, else the starting packs of examples/packs/cpu.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "kernels/lora_linear/lora_linear_problem.h"
#include "kernels/pack/pack_compiler.h"

namespace evolora {
namespace {

using namespace testing_support;

struct Group {
  const char* name;
  std::int64_t in;
  std::vector<std::int64_t> outs;
};
const std::vector<Group> kGroups = {{"smol.qkv", 576, {576, 192, 192}},
                                    {"smol.o", 576, {576}},
                                    {"smol.gate_up", 576, {1536, 1536}},
                                    {"smol.down", 1536, {576}},
                                    {"qwen.down", 4864, {896}}};

using Call = void (*)(const KernelTable&, const Problem&, Outputs&, KernelContext&);

void forward(const KernelTable& table, const Problem& problem, Outputs& outputs, KernelContext& context) {
  table.lora_linear_forward({problem.x.data(), problem.shape.n, outputs.bind(problem)}, context);
}
void backward(const KernelTable& table, const Problem& problem, Outputs& outputs, KernelContext& context) {
  table.lora_linear_backward({problem.x.data(), problem.shape.n, outputs.bind(problem), outputs.dx.data()}, context);
}

std::size_t workspace(const KernelTable& table, const Problem& problem, Outputs& outputs, int threads) {
  const std::vector<LoraProjection> bound = outputs.bind(problem);
  return std::max(table.lora_linear_forward_workspace_bytes({problem.x.data(), problem.shape.n, bound}, threads),
                  table.lora_linear_backward_workspace_bytes({problem.x.data(), problem.shape.n, bound, outputs.dx.data()}, threads));
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

void compare(benchmark::State& state, const KernelTable& pack, Call call, const Group& group, std::int64_t rows, int threads) {
  ProblemShape shape{{4, 64, DType::kF16}, rows, group.in, {}};
  for (const std::int64_t out : group.outs) shape.projections.push_back({out, 8});
  const Problem problem(shape);
  Outputs outputs(problem);
  for (auto& p : outputs.projections) p.xa = random_buffer(p.xa.size(), 9);
  TestContext own(threads, workspace(cpu_kernels(), problem, outputs, threads)), packed(threads, workspace(pack, problem, outputs, threads));
  const auto seconds = [&](const KernelTable& table, TestContext& context) {
    const auto start = std::chrono::steady_clock::now();
    call(table, problem, outputs, context.get());
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  seconds(pack, packed);
  std::vector<double> ratios, times;
  for (auto _ : state) {
    const double before = seconds(cpu_kernels(), own);
    times.push_back(seconds(pack, packed));
    ratios.push_back(0.5 * (before + seconds(cpu_kernels(), own)) / times.back());
    state.SetIterationTime(times.back());
  }
  state.counters["pack_ratio"] = median(ratios);
  double flops = 0;
  for (const std::int64_t out : group.outs) flops += 2.0 * static_cast<double>(rows * group.in * out);
  state.counters["GFLOP/s"] = flops / median(times) * 1e-9;
}

// Compiled where the pack is; for the starting packs that is the source tree's examples/packs/cpu/NAME/build.
void register_pack(const fs::path& folder) {
  const auto library = open_pack(real_file_system(), *direct_pack_compiler(), folder);
  if (!library.ok()) {
    std::fprintf(stderr, "%s\n", library.error().message.c_str());
    return;
  }
  const auto table = std::make_shared<KernelTable>(with_pack(cpu_kernels(), *library));
  const auto add = [&](const char* direction, Call call) {
    for (const Group& group : kGroups) {
      for (const std::int64_t rows : {256, 1024}) {
        for (const int threads : {1, 2}) {
          const std::string name = folder.filename().string() + "/" + direction + "/" + group.name + "/rows:" + std::to_string(rows) +
                                   "/threads:" + std::to_string(threads);
          benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { compare(state, *table, call, group, rows, threads); })
              ->UseManualTime()
              ->Unit(benchmark::kMillisecond)
              ->Iterations(21);
        }
      }
    }
  };
  if ((*library)->functions().lora_linear_forward != nullptr) add("forward", forward);
  if ((*library)->functions().lora_linear_backward != nullptr) add("backward", backward);
}

const int registered = [] {
  if (const char* folder = std::getenv("EVOLORA_PACK"); folder != nullptr) {
    register_pack(folder);
    return 0;
  }
  for (const char* name : {"lora_linear_forward", "lora_linear_backward", "lora_linear_group"})
    register_pack(fs::path(EVOLORA_SOURCE_DIR) / "examples/packs/cpu" / name);
  return 0;
}();

}  // namespace
}  // namespace evolora
