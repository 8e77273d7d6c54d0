// A kernel pack beside the program's own kernels, in turn on the same problem: pack_ratio is time of the program's own divided by time of the pack,
// so above 1 the pack is faster. The pack is the folder in EVOLORA_PACK, else the starting packs of examples/packs/cpu.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
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

enum class Pass { kForward, kBackward };

void call(const KernelTable& table, Pass pass, const Problem& problem, Outputs& outputs, KernelContext& context) {
  const std::vector<LoraProjection> bound = outputs.bind(problem);
  if (pass == Pass::kForward) {
    table.lora_linear_forward({problem.x.data(), problem.shape.n, bound}, context);
  } else {
    table.lora_linear_backward({problem.x.data(), problem.shape.n, bound, outputs.dx.data()}, context);
  }
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

void compare(benchmark::State& state, const KernelTable& pack, Pass pass, const Group& group, std::int64_t rows, int threads) {
  ProblemShape shape{{4, 64, DType::kF16}, rows, group.in, {}};
  for (const std::int64_t out : group.outs) shape.projections.push_back({out, 8});
  const Problem problem(shape);
  Outputs outputs(problem);
  for (auto& p : outputs.projections) p.xa = random_buffer(p.xa.size(), 9);
  TestContext own(threads, workspace(cpu_kernels(), problem, outputs, threads)), packed(threads, workspace(pack, problem, outputs, threads));
  const auto seconds = [&](const KernelTable& table, TestContext& context) {
    const auto start = std::chrono::steady_clock::now();
    call(table, pass, problem, outputs, context.get());
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

// Compiled where the pack is, at the first use: while benchmarks are registered, other files' tables may not exist yet.
std::shared_ptr<const PackLibrary> opened(const fs::path& folder, benchmark::State& state) {
  static std::map<fs::path, std::shared_ptr<const PackLibrary>> libraries;
  if (!libraries.contains(folder)) {
    auto library = open_pack(real_file_system(), *direct_pack_compiler(), folder);
    if (!library.ok()) {
      state.SkipWithError(library.error().message.c_str());
      return nullptr;
    }
    libraries[folder] = *library;
  }
  return libraries[folder];
}

void run(benchmark::State& state, const fs::path& folder, Pass pass, const Group& group, std::int64_t rows, int threads) {
  const auto library = opened(folder, state);
  if (library == nullptr) return;
  compare(state, with_pack(cpu_kernels(), library), pass, group, rows, threads);
}

const int registered = [] {
  std::vector<std::pair<fs::path, Pass>> packs;
  if (const char* folder = std::getenv("EVOLORA_PACK"); folder != nullptr) {
    packs = {{folder, Pass::kForward}, {folder, Pass::kBackward}};
  } else {
    const fs::path folders = fs::path(EVOLORA_SOURCE_DIR) / "examples/packs/cpu";
    packs = {{folders / "lora_linear_forward", Pass::kForward},
             {folders / "lora_linear_backward", Pass::kBackward},
             {folders / "lora_linear_group", Pass::kForward},
             {folders / "lora_linear_group", Pass::kBackward}};
  }
  for (const auto& [folder, pass] : packs) {
    for (const Group& group : kGroups) {
      for (const std::int64_t rows : {256, 1024}) {
        for (const int threads : {1, 2}) {
          const std::string name = folder.filename().string() + (pass == Pass::kForward ? "/forward/" : "/backward/") + group.name +
                                   "/rows:" + std::to_string(rows) + "/threads:" + std::to_string(threads);
          benchmark::RegisterBenchmark(name.c_str(),
                                       [=, folder = folder, pass = pass](benchmark::State& state) { run(state, folder, pass, group, rows, threads); })
              ->UseManualTime()
              ->Unit(benchmark::kMillisecond)
              ->Iterations(21);
        }
      }
    }
  }
  return 0;
}();

}  // namespace
}  // namespace evolora
