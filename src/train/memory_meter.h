// What the kernel says about this process and machine: resident memory now and at its highest, age, CPU model. Linux: /proc; elsewhere the fields
// stay zero.
#pragma once

#include <cstddef>
#include <string>

namespace evolora {

struct ProcessMemory {
  std::size_t rss_bytes = 0;          // VmRSS: resident now, mapped files included
  std::size_t peak_rss_bytes = 0;     // VmHWM: highest ever
  std::size_t anonymous_bytes = 0;    // RssAnon: heap and stacks
  std::size_t mapped_file_bytes = 0;  // RssFile: resident pages of mapped files (program, libraries, model weights)
};
ProcessMemory process_memory();

// Resident pages of the program itself and its libraries (files with an executable mapping): RssFile without data files such as model weights.
std::size_t program_resident_bytes();

// Wall-clock seconds since this process was started by the system (resolution 10 ms).
double process_age_seconds();

struct MachineInfo {
  std::string cpu;               // "AMD EPYC 7B13", or "unknown"
  int cores = 0;                 // that this process may use
  std::string os;                // "Linux 6.1.0 x86_64"
  std::size_t memory_bytes = 0;  // of the machine
};
MachineInfo machine_info();

}  // namespace evolora
