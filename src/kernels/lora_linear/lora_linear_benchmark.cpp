// The linear kernels on the shapes of Qwen2.5-0.5B and SmolLM2-135M: GFLOP/s, share of the FMA peak measured in the same minute, and ratio to
// OpenBLAS sgemm on dense fp32 weights (loaded at run time if the machine has it; it does strictly less: no decoding, no adapter).
#include <benchmark/benchmark.h>
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kernels/lora_linear/contract.h"
#include "kernels/lora_linear/fma_peak.h"
#include "kernels/lora_linear/linear.h"
#include "kernels/lora_linear/lora_linear_problem.h"
#include "kernels/lora_linear/low_precision.h"

namespace evolora {
namespace {

using namespace testing_support;

// cblas_sgemm, row-major.
class OpenBlas {
 public:
  explicit OpenBlas(int threads) {
    void* library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return;
    sgemm_ = reinterpret_cast<Sgemm>(dlsym(library, "cblas_sgemm"));
    if (auto* set_threads = reinterpret_cast<void (*)(int)>(dlsym(library, "openblas_set_num_threads"))) set_threads(threads);
  }
  bool available() const { return sgemm_ != nullptr; }
  // c (m, n) = a (m, k) op(b); transposed: b (n, k), else b (k, n).
  void multiply(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, const float* b, bool transposed, float* c) const {
    const auto i = [](std::int64_t v) { return static_cast<int>(v); };
    sgemm_(101, 111, transposed ? 112 : 111, i(m), i(n), i(k), 1.0f, a, i(k), b, i(transposed ? k : n), 0.0f, c, i(n));
  }

 private:
  using Sgemm = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*, int);
  Sgemm sgemm_ = nullptr;
};

struct Time {
  double wall, cpu;
};
Time time_of(const std::function<void()>& work) {
  const double cpu = process_cpu_seconds();
  const auto start = std::chrono::steady_clock::now();
  work();
  return {std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), process_cpu_seconds() - cpu};
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

// Ours, the peer and the peak in turn, so that a disturbance meets all of them; medians. %peak is by the wall clock, %peak_cpu by processor time
// (which other programs on the machine disturb less).
void compare(benchmark::State& state, double flops, int threads, const std::function<void()>& ours, const std::function<void()>& peer) {
  std::vector<double> our_times, peer_times, shares, cpu_shares;
  ours();
  for (auto _ : state) {
    const Time time = time_of(ours);
    state.SetIterationTime(time.wall);
    our_times.push_back(time.wall);
    const FmaPeak peak = measure_fma_peak(threads, 5);
    shares.push_back(flops / time.wall * 1e-9 / peak.gflops);
    cpu_shares.push_back(flops / time.cpu * threads * 1e-9 / peak.gflops_per_cpu);
    if (!peer) continue;
    peer_times.push_back(time_of(peer).wall);
    // OpenBLAS threads spin for a while after a call and would slow us down.
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
  }
  const double time = median(our_times);
  state.counters["GFLOP/s"] = flops / time * 1e-9;
  state.counters["best"] = flops / *std::min_element(our_times.begin(), our_times.end()) * 1e-9;
  state.counters["%peak"] = 100 * median(shares);
  state.counters["%peak_cpu"] = 100 * median(cpu_shares);
  if (peer) state.counters["vs_OpenBLAS"] = median(peer_times) / time;
}

struct Group {
  const char* name;
  std::int64_t in;
  std::vector<std::int64_t> outs;
};
const std::vector<Group> kGroups = {
    {"qwen.qkv", 896, {896, 128, 128}}, {"qwen.o", 896, {896}}, {"qwen.gate_up", 896, {4864, 4864}}, {"qwen.down", 4864, {896}},
    {"smol.qkv", 576, {576, 192, 192}}, {"smol.o", 576, {576}}, {"smol.gate_up", 576, {1536, 1536}}, {"smol.down", 1536, {576}}};

ProblemShape shape_of(const Group& group, std::int64_t rows, std::int64_t rank, const WeightKind& kind) {
  ProblemShape shape{kind, rows, group.in, {}};
  for (const std::int64_t out : group.outs) shape.projections.push_back({out, rank});
  return shape;
}

double multiplications(const ProblemShape& shape) {
  double total = 0;
  for (const ProjectionShape& p : shape.projections) total += static_cast<double>(shape.n * shape.in * p.out);
  return total;
}

void forward(benchmark::State& state, const Group& group, std::int64_t rows, std::int64_t rank, const WeightKind& kind, int threads) {
  const Problem problem(shape_of(group, rows, rank, kind));
  Outputs outputs(problem);
  const std::vector<LoraProjection> bound = outputs.bind(problem);
  const LoraLinearForward args{problem.x.data(), rows, bound};
  TestContext context(threads, cpu::lora_linear_forward_workspace_bytes(args, threads));
  double flops = 2 * multiplications(problem.shape);
  for (const ProjectionShape& p : problem.shape.projections) flops += 2.0 * static_cast<double>(rows * p.rank * (group.in + p.out));
  const OpenBlas blas(threads);
  std::vector<Buffer> dense;
  for (const std::int64_t out : group.outs) dense.push_back(random_buffer(count_of(out, group.in), 3));
  compare(state, flops, threads, [&] { cpu::lora_linear_forward(args, context.get()); },
          !blas.available() ? std::function<void()>() : [&] {
            for (std::size_t i = 0; i < dense.size(); ++i) {
              blas.multiply(rows, group.outs[i], group.in, problem.x.data(), dense[i].data(), true, outputs.projections[i].y.data());
            }
          });
}

void backward(benchmark::State& state, const Group& group, std::int64_t rows, std::int64_t rank, const WeightKind& kind, int threads) {
  const Problem problem(shape_of(group, rows, rank, kind));
  Outputs outputs(problem);
  for (auto& p : outputs.projections) p.xa = random_buffer(p.xa.size(), 9);
  const std::vector<LoraProjection> bound = outputs.bind(problem);
  const LoraLinearBackward args{problem.x.data(), rows, bound, outputs.dx.data()};
  TestContext context(threads, cpu::lora_linear_backward_workspace_bytes(args, threads));
  double flops = 2 * multiplications(problem.shape);
  for (const ProjectionShape& p : problem.shape.projections) flops += 4.0 * static_cast<double>(rows * p.rank * (group.in + p.out));
  const OpenBlas blas(threads);
  std::vector<Buffer> dense;
  for (const std::int64_t out : group.outs) dense.push_back(random_buffer(count_of(out, group.in), 3));
  compare(state, flops, threads, [&] { cpu::lora_linear_backward(args, context.get()); },
          !blas.available() ? std::function<void()>() : [&] {
            for (std::size_t i = 0; i < dense.size(); ++i) {
              blas.multiply(rows, group.in, group.outs[i], problem.projections[i].dy.data(), dense[i].data(), false, outputs.dx.data());
            }
          });
}

// Low precision and fp32 in turn on the same problem; %fp32_peak above 100 is what the shorter factors give.
void lowered(benchmark::State& state, const Group& group, std::int64_t rows, const WeightKind& kind, Arithmetic arithmetic, bool back, int threads) {
  const Problem problem(shape_of(group, rows, 8, kind));
  Outputs outputs(problem);
  for (auto& p : outputs.projections) p.xa = random_buffer(p.xa.size(), 9);
  const std::vector<LoraProjection> bound = outputs.bind(problem);
  const auto forward_args = [&](Arithmetic a) { return LoraLinearForward{problem.x.data(), rows, bound, a}; };
  const auto backward_args = [&](Arithmetic a) { return LoraLinearBackward{problem.x.data(), rows, bound, outputs.dx.data(), a}; };
  std::size_t bytes = 0;
  for (const Arithmetic a : {arithmetic, Arithmetic::kFp32}) {
    bytes = std::max(bytes, back ? cpu::lora_linear_backward_workspace_bytes(backward_args(a), threads)
                                 : cpu::lora_linear_forward_workspace_bytes(forward_args(a), threads));
  }
  TestContext context(threads, bytes);
  const auto run = [&](Arithmetic a) {
    if (back) {
      cpu::lora_linear_backward(backward_args(a), context.get());
    } else {
      cpu::lora_linear_forward(forward_args(a), context.get());
    }
  };
  std::vector<double> times, ratios, shares;
  double best = 1e9, best_fp32 = 1e9;  // processor time: other work on the machine only ever adds
  run(arithmetic);
  run(Arithmetic::kFp32);
  for (auto _ : state) {
    const Time time = time_of([&] { run(arithmetic); });
    const Time fp32 = time_of([&] { run(Arithmetic::kFp32); });
    state.SetIterationTime(time.wall);
    times.push_back(time.wall);
    ratios.push_back(fp32.wall / time.wall);
    best = std::min(best, time.cpu);
    best_fp32 = std::min(best_fp32, fp32.cpu);
    shares.push_back(2 * multiplications(problem.shape) / time.cpu * threads * 1e-9 / measure_fma_peak(threads, 3).gflops_per_cpu);
  }
  state.SetLabel(arithmetic_instructions(arithmetic));
  state.counters["GOP/s"] = 2 * multiplications(problem.shape) / median(times) * 1e-9;
  state.counters["%fp32_peak_cpu"] = 100 * median(shares);
  state.counters["vs_fp32"] = median(ratios);
  state.counters["vs_fp32_best_cpu"] = best_fp32 / best;
}

void head(benchmark::State& state, std::int64_t vocabulary, std::int64_t width, std::int64_t rows, const WeightKind& kind, bool back, int threads) {
  const StoredWeight weight(kind, vocabulary, width, 1);
  const Buffer x = random_buffer(count_of(rows, width), 2);
  const Buffer dy = random_buffer(count_of(rows, vocabulary), 3);
  Buffer y(dy.size()), dx(x.size());
  TestContext context(threads, std::max(cpu::linear_forward_workspace_bytes(weight.view(), rows, threads),
                                        cpu::linear_backward_workspace_bytes(weight.view(), rows, threads)));
  compare(state, 2.0 * static_cast<double>(rows * vocabulary * width), threads,
          [&] {
            if (back) {
              cpu::linear_backward(weight.view(), dy.data(), rows, 0, dx.data(), context.get());
            } else {
              cpu::linear_forward(weight.view(), x.data(), rows, 0, y.data(), context.get());
            }
          },
          {});
}

// One token at a time: what matters is how fast the stored weight is read.
void token(benchmark::State& state, const Group& group, std::int64_t rows, const WeightKind& kind, int threads) {
  const Problem problem(shape_of(group, rows, 8, kind));
  Outputs outputs(problem);
  const std::vector<LoraProjection> bound = outputs.bind(problem);
  const LoraLinearForward args{problem.x.data(), rows, bound};
  TestContext context(threads, cpu::lora_linear_forward_workspace_bytes(args, threads));
  std::vector<double> times;
  for (auto _ : state) {
    times.push_back(time_of([&] { cpu::lora_linear_forward(args, context.get()); }).wall);
    state.SetIterationTime(times.back());
  }
  const double bytes = multiplications(problem.shape) / static_cast<double>(rows) * kind.bits / 8;
  state.counters["weight_GB/s"] = bytes / median(times) * 1e-9;
  state.counters["weights_G/s"] = bytes * 8 / kind.bits / median(times) * 1e-9;
}

int register_all() {
  const WeightKind q4{4, 64, DType::kF16};
  const int threads = available_cpus();
  const auto add = [](const std::string& name, double seconds, auto function) {
    benchmark::RegisterBenchmark(("lora_linear/" + name).c_str(), function)->UseManualTime()->MinTime(seconds)->Unit(benchmark::kMillisecond);
  };
  for (const std::int64_t rows : {64, 256, 1024}) {
    for (const Group& group : kGroups) {
      const std::string name = std::string(group.name) + "/M" + std::to_string(rows);
      add("forward/" + name, 0.1, [=](benchmark::State& s) { forward(s, group, rows, 8, q4, threads); });
      add("backward/" + name, 0.1, [=](benchmark::State& s) { backward(s, group, rows, 8, q4, threads); });
    }
  }
  for (const std::int64_t rows : {256, 1024}) {
    for (const Group& group : kGroups) {
      const std::string name = std::string(group.name) + "/M" + std::to_string(rows);
      add("int8/forward/" + name, 0.2, [=](benchmark::State& s) { lowered(s, group, rows, q4, Arithmetic::kInt8, false, threads); });
      add("bf16/forward/" + name, 0.2, [=](benchmark::State& s) { lowered(s, group, rows, q4, Arithmetic::kBf16, false, threads); });
      add("bf16/backward/" + name, 0.2, [=](benchmark::State& s) { lowered(s, group, rows, q4, Arithmetic::kBf16, true, threads); });
    }
  }
  for (const Group& group : kGroups) {
    add(std::string("one_thread/forward/") + group.name + "/M256", 0.1, [=](benchmark::State& s) { forward(s, group, 256, 8, q4, 1); });
    add(std::string("one_thread/backward/") + group.name + "/M256", 0.1, [=](benchmark::State& s) { backward(s, group, 256, 8, q4, 1); });
  }
  add("dense_bf16/forward/qwen.gate_up/M256", 0.1, [=](benchmark::State& s) { forward(s, kGroups[2], 256, 8, {0, 0, DType::kBF16}, threads); });
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    const WeightKind kind{bits, 64, DType::kF16};
    const std::string name = std::to_string(bits) + "bit/";
    for (const std::int64_t rows : {256, 1024}) {
      const std::string work = "/qwen.gate_up/M" + std::to_string(rows);
      add(name + "forward" + work, 0.1, [=](benchmark::State& s) { forward(s, kGroups[2], rows, 8, kind, threads); });
      add(name + "backward" + work, 0.1, [=](benchmark::State& s) { backward(s, kGroups[2], rows, 8, kind, threads); });
    }
    add(name + "few_rows/qwen.gate_up/n1", 0.05, [=](benchmark::State& s) { token(s, kGroups[2], 1, kind, threads); });
  }
  add("rank64/forward/qwen.qkv/M1024", 0.1, [=](benchmark::State& s) { forward(s, kGroups[0], 1024, 64, q4, threads); });
  add("rank64/backward/qwen.qkv/M1024", 0.1, [=](benchmark::State& s) { backward(s, kGroups[0], 1024, 64, q4, threads); });
  for (const std::int64_t rows : {64, 256}) {
    add("head/forward/qwen/M" + std::to_string(rows), 0.1, [=](benchmark::State& s) { head(s, 151936, 896, rows, q4, false, threads); });
    add("head/backward/qwen/M" + std::to_string(rows), 0.1, [=](benchmark::State& s) { head(s, 151936, 896, rows, q4, true, threads); });
  }
  for (const std::int64_t rows : {1, 2, 4, 8, 16}) {
    add("few_rows/qwen.gate_up/n" + std::to_string(rows), 0.05, [=](benchmark::State& s) { token(s, kGroups[2], rows, q4, threads); });
    add("few_rows/smol.qkv/n" + std::to_string(rows), 0.05, [=](benchmark::State& s) { token(s, kGroups[4], rows, q4, threads); });
  }
  return 0;
}
[[maybe_unused]] const int kRegistered = register_all();

}  // namespace
}  // namespace evolora
