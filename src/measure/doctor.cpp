// The machine: what the system says. The model is in doctor_model.cpp.
#include "measure/doctor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "kernels/lora_linear/fma_peak.h"
#include "measure/doctor_model.h"
#include "measure/machine_notes.h"
#include "train/memory_meter.h"
#include "train/request_keys.h"
#include "train/run_files.h"

namespace evolora {
namespace {

constexpr double kGigabyte = 1e9;

double available_gigabytes() {
  std::ifstream meminfo("/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) {
    if (line.rfind("MemAvailable:", 0) == 0) return 1024 * std::strtod(line.c_str() + 13, nullptr) / kGigabyte;
  }
  return 0;
}

bool in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (::access((folder + "/" + program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

Finding processor() {
  const MachineInfo machine = machine_info();
  const std::string target = simd_target();
  const bool slow = target == "SSE2" || target == "SSSE3" || target == "EMU128" || target == "SCALAR";
  return {"processor", slow ? Health::kNote : Health::kGood,
          fmt::format("{}, {} cores for this process, kernels use {}{}", machine.cpu, machine.cores, target,
                      slow ? " (no AVX2: several times slower than usual)" : "")};
}

Finding speed() {
  constexpr double kMilliseconds = 50;
  const FmaPeak peak = measure_fma_peak(machine_info().cores, kMilliseconds);
  const bool shared = peak.gflops < 0.7 * peak.gflops_per_cpu;
  return {"arithmetic", shared ? Health::kNote : Health::kGood,
          fmt::format("{:.0f} GFLOP/s multiply-add{}", peak.gflops,
                      shared ? fmt::format("; would be {:.0f} if nothing else ran: timings now are not worth much", peak.gflops_per_cpu) : "")};
}

Finding memory() {
  const double available = available_gigabytes();
  return {"memory", available < 1 ? Health::kBad : Health::kGood,
          fmt::format("{:.1f} GB, {:.1f} GB available{}", static_cast<double>(machine_info().memory_bytes) / kGigabyte, available,
                      available < 1 ? ": too little for even a small model" : "")};
}

Finding disk() {
  struct statvfs info {};
  if (::statvfs(".", &info) != 0) return {"disk", Health::kNote, "the free space of this folder cannot be read"};
  const double free = static_cast<double>(info.f_bavail) * static_cast<double>(info.f_frsize) / kGigabyte;
  const bool writable = ::access(".", W_OK) == 0;
  return {"disk", free < 0.5 || !writable ? Health::kBad : Health::kGood,
          fmt::format("{:.1f} GB free in this folder{}", free, writable ? "" : ", which cannot be written")};
}

Finding engines() {
  const auto& keys = request_keys();
  const auto engine = std::find_if(keys.begin(), keys.end(), [](const RequestKey& key) { return key.key == "engine"; });
  if (engine == keys.end()) return {"engines", Health::kGood, "fused (this program's own); no other in this build"};
  return {"engines", Health::kGood, fmt::format("--engine: {}", engine->help)};
}

Finding gpu() {
  const bool nvidia = ::access("/dev/nvidia0", F_OK) == 0 || ::access("/dev/nvidiactl", F_OK) == 0;
  return {"gpu", Health::kGood, nvidia ? "an NVIDIA device is there; the fused engine of this build does not use it" : "none found; none is needed"};
}

Finding sandbox() {
  const bool bubblewrap = in_path("bwrap");
  long namespaces = 0;
  std::ifstream("/proc/sys/user/max_user_namespaces") >> namespaces;
  return {"sandbox", bubblewrap && namespaces > 0 ? Health::kGood : Health::kNote,
          fmt::format("bubblewrap {}, user namespaces {} (only needed to run generated code)", bubblewrap ? "found" : "not installed",
                      namespaces > 0 ? "allowed" : "not allowed")};
}

Finding load() {
  const double now = load_average();
  const bool busy = now > 0.5 * machine_info().cores;
  return {"load", busy ? Health::kNote : Health::kGood,
          now < 0 ? "not known" : fmt::format("{:.2f} over the last minute{}", now, busy ? ": benchmarks need more pairs on a busy machine" : "")};
}

}  // namespace

bool Diagnosis::ready() const {
  return std::none_of(findings.begin(), findings.end(), [](const Finding& finding) { return finding.health == Health::kBad; });
}

Diagnosis diagnose(FileSystem& files, const std::string& model) {
  Diagnosis diagnosis;
  diagnosis.findings = {processor(), speed(), memory(), disk(), engines(), gpu(), sandbox(), load()};
  const std::vector<Finding> more = model.empty() ? std::vector<Finding>{kernels_self_test()} : diagnose_model(files, model);
  diagnosis.findings.insert(diagnosis.findings.end(), more.begin(), more.end());
  return diagnosis;
}

}  // namespace evolora
