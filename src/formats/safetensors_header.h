// The header of a safetensors file as a value: strict parsing for the reader, and composing for the writer.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "base/result.h"

namespace evolora {

inline constexpr std::uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;  // the reference library's limit

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;  // offsets into the data that follows the header
  std::uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in offset order: back to back, from 0 to the last byte of the file
  std::map<std::string, std::string> metadata;
  std::uint64_t data_start = 0;  // position of offset 0 in the file
};

// Checks the whole file against the rules of the format (names are further limited to [A-Za-z0-9_.:/-]). `where` begins every message.
// Errors: kCorrupt (rule, expected, got), kUnsupported (a dtype we have no name for).
Result<SafetensorsHeader> parse_safetensors_header(std::string_view file, std::string_view where);

// Bytes of a tensor, or nullopt if a dimension is negative or the product does not fit.
std::optional<std::uint64_t> tensor_byte_size(DType dtype, const std::vector<std::int64_t>& shape);

bool is_safetensors_name(std::string_view name);

// "F32" -> DType::kF32; nullopt for names we do not have.
std::optional<DType> dtype_from_name(std::string_view name);

}  // namespace evolora
