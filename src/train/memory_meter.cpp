// Reads /proc/self/status, /proc/self/stat, /proc/uptime, /proc/cpuinfo and uname.
#include "train/memory_meter.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <map>
#include <sstream>

#include "base/threads.h"

namespace evolora {
namespace {

// Value of a "Name:   1234 kB" line as bytes.
std::size_t kilobytes_field(const std::string& line, const char* name) {
  const std::string prefix = std::string(name) + ":";
  if (line.compare(0, prefix.size(), prefix) != 0) return 0;
  std::istringstream fields(line.substr(prefix.size()));
  std::size_t kilobytes = 0;
  fields >> kilobytes;
  return kilobytes * 1024;
}

}  // namespace

ProcessMemory process_memory() {
  ProcessMemory memory;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    memory.rss_bytes = std::max(memory.rss_bytes, kilobytes_field(line, "VmRSS"));
    memory.peak_rss_bytes = std::max(memory.peak_rss_bytes, kilobytes_field(line, "VmHWM"));
    memory.anonymous_bytes = std::max(memory.anonymous_bytes, kilobytes_field(line, "RssAnon"));
    memory.mapped_file_bytes = std::max(memory.mapped_file_bytes, kilobytes_field(line, "RssFile"));
  }
  return memory;
}

std::size_t program_resident_bytes() {
  struct Mapped {
    bool executable = false;
    std::size_t resident = 0;
  };
  std::map<std::string, Mapped> files;
  Mapped ignored;
  Mapped* current = &ignored;
  std::ifstream maps("/proc/self/smaps");
  for (std::string line; std::getline(maps, line);) {
    // "start-end rwxp offset device inode   path", or "Name:  12 kB" about the mapping above it.
    const std::size_t colon = line.find(':');
    const bool is_field = colon != std::string::npos && line.find(' ') > colon;
    if (!is_field) {
      const std::size_t path = line.find('/');
      current = path == std::string::npos ? &ignored : &files[line.substr(path)];
      const std::size_t permissions = line.find(' ');
      if (permissions + 3 < line.size() && line[permissions + 3] == 'x') current->executable = true;
    }
    current->resident += kilobytes_field(line, "Rss");
    current->resident -= std::min(current->resident, kilobytes_field(line, "Anonymous"));
  }
  std::size_t total = 0;
  for (const auto& [path, mapped] : files) total += mapped.executable ? mapped.resident : 0;
  return total;
}

double process_age_seconds() {
  std::ifstream stat_file("/proc/self/stat");
  std::string stat((std::istreambuf_iterator<char>(stat_file)), std::istreambuf_iterator<char>());
  // Field 22 is the start time in clock ticks after boot; field 2, the program's name, may hold spaces, so counting starts behind its ')'.
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(stat.substr(name_end + 1));
  std::string skipped;
  constexpr int kFieldsBeforeStart = 19;  // fields 3 to 21
  for (int i = 0; i < kFieldsBeforeStart; ++i) fields >> skipped;
  std::uint64_t start_ticks = 0;
  fields >> start_ticks;
  std::ifstream uptime_file("/proc/uptime");
  double uptime = 0;
  uptime_file >> uptime;
  return std::max(0.0, uptime - static_cast<double>(start_ticks) / static_cast<double>(sysconf(_SC_CLK_TCK)));
}

MachineInfo machine_info() {
  MachineInfo info;
  info.cpu = "unknown";
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    const std::size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos) {
      info.cpu = line.substr(colon + 2);
      break;
    }
  }
  std::ifstream meminfo("/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) info.memory_bytes = std::max(info.memory_bytes, kilobytes_field(line, "MemTotal"));
  info.cores = available_cpus();
  utsname name{};
  if (uname(&name) == 0) info.os = std::string(name.sysname) + " " + name.release + " " + name.machine;
  return info;
}

}  // namespace evolora
