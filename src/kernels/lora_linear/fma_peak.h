// The machine's fused multiply-add peak, measured: what speeds are given as a share of, and what predicted times rest on.
#pragma once

namespace evolora {

// `threads` cores at once, each running independent multiply-adds on registers for about milliseconds ms, in the instruction set that the kernels
// use. Other work on the machine lowers the rate per wall second, so measure it next to what is compared with it.
struct FmaPeak {
  double gflops;          // per wall second
  double gflops_per_cpu;  // per second of processor time, times threads: what gflops would be on a machine of our own
};
FmaPeak measure_fma_peak(int threads, double milliseconds);
// The best of a few short measurements, about 15 ms in all: a single one just after start catches a core that still sleeps or another process.
double best_fma_peak_flops(int threads);

// Processor time of the whole process so far.
double process_cpu_seconds();

}  // namespace evolora
