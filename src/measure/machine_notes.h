// What else may explain a timing: load, clock frequency, the kind of machine. Linux; elsewhere fields stay empty.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file_system.h"

namespace evolora {

// Load average over one minute; -1 where there is none.
double load_average();
// Mean over all processors as the system reports it, in MHz; 0: not known.
double mean_frequency_mhz();
// Instruction set extensions the processor names, as in /proc/cpuinfo.
std::vector<std::string> cpu_flags();

// {"cpu", "cores", "memory_bytes", "os", "simd_target", "flags": [the ones kernels care about]}: the same for all trials of a bench.
nlohmann::ordered_json machine_notes();
// {"load_average", "mhz"}: at this moment.
nlohmann::ordered_json moment_notes();

// Drops the pages of all files of a folder from the page cache, where the system lets it: the next reader pays for the disk. Errors are ignored: it
// only makes a start colder.
void drop_from_page_cache(FileSystem& files, const fs::path& folder);

// SHA-256 over names and contents of a folder's files (not of folders in it), or of a single file. Errors of reading.
Result<std::string> digest_of_files(FileSystem& files, const fs::path& path);

}  // namespace evolora
