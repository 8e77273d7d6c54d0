// Reads /proc, asks for page-cache drops, and digests folders.
#include "measure/machine_notes.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/sha256.h"
#include "train/memory_meter.h"
#include "train/run_files.h"

namespace evolora {

using Json = nlohmann::ordered_json;

double load_average() {
  double load = -1;
  std::ifstream file("/proc/loadavg");
  if (!(file >> load)) return -1;
  return load;
}

double mean_frequency_mhz() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  double sum = 0;
  int count = 0;
  for (std::string line; std::getline(cpuinfo, line);) {
    const std::size_t colon = line.find(": ");
    if (line.rfind("cpu MHz", 0) != 0 || colon == std::string::npos) continue;
    sum += std::strtod(line.c_str() + colon + 2, nullptr);
    ++count;
  }
  return count > 0 ? sum / count : 0;
}

std::vector<std::string> cpu_flags() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.rfind("flags", 0) != 0 && line.rfind("Features", 0) != 0) continue;
    std::istringstream words(line.substr(std::min(line.size(), line.find(':') + 1)));
    std::vector<std::string> flags;
    for (std::string word; words >> word;) flags.push_back(word);
    return flags;
  }
  return {};
}

Json machine_notes() {
  const MachineInfo machine = machine_info();
  Json flags = Json::array();
  for (const std::string& flag : cpu_flags()) {
    for (const char* wanted : {"avx", "fma", "f16c", "amx", "sse4", "asimd", "sve", "bf16", "i8mm"}) {
      if (flag.rfind(wanted, 0) != 0) continue;
      flags.push_back(flag);
      break;
    }
  }
  return {{"cpu", machine.cpu}, {"cores", machine.cores},       {"memory_bytes", machine.memory_bytes},
          {"os", machine.os},   {"simd_target", simd_target()}, {"flags", flags}};
}

Json moment_notes() { return {{"load_average", load_average()}, {"mhz", mean_frequency_mhz()}}; }

void drop_from_page_cache(FileSystem& files, const fs::path& folder) {
  const auto names = files.list(folder);
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    const int descriptor = ::open((folder / name).c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) continue;
    ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
    ::close(descriptor);
  }
}

Result<std::string> digest_of_files(FileSystem& files, const fs::path& path) {
  if (!files.is_directory(path)) return sha256_file_hex(files, path);
  Sha256 digest;
  for (const std::string& name : TRY(files.list(path))) {
    if (files.is_directory(path / name)) continue;
    const std::string line = name + " " + TRY(sha256_file_hex(files, path / name)) + "\n";
    digest.update(std::as_bytes(std::span(line)));
  }
  return digest.hex();
}

}  // namespace evolora
