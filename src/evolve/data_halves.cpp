// Lines by digest.
#include "evolve/data_halves.h"

#include <fmt/format.h>

#include "base/sha256.h"

namespace evolora {

Status write_data_halves(FileSystem& files, const fs::path& data, const fs::path& target, std::size_t fewest) {
  static const char* const kHalves[] = {"search", "confirm"};
  for (const char* half : kHalves) TRY(files.create_directories(target / half));
  for (const char* name : {"train.jsonl", "valid.jsonl"}) {
    if (!files.exists(data / name)) continue;
    const std::string text = TRY(files.read(data / name));
    std::string halves[2];
    std::size_t counts[2] = {0, 0};
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      const std::string line = text.substr(at, end - at);
      at = end + 1;
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      const std::size_t half = sha256_hex(line).back() % 2;  // '0'..'9' and 'a'..'f': eight even codes and eight odd ones
      halves[half] += line + "\n";
      ++counts[half];
    }
    for (std::size_t half = 0; half < 2; ++half) {
      if (std::string(name) == "train.jsonl" && counts[half] < fewest) {
        return Error{ErrorCode::kBadData, fmt::format("{}: {} of {} records are for the {} half, and a batch needs {}; give more data or a smaller "
                                                      "--batch-size",
                                                      (data / name).string(), counts[half], counts[0] + counts[1], kHalves[half], fewest)};
      }
      if (counts[half] > 0) TRY(write_file_atomically(files, target / kHalves[half] / name, halves[half]));
    }
  }
  return {};
}

}  // namespace evolora
