// GGUF versions 2 and 3 (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): strict memory-mapped reader.
// A trust boundary: every count is bounded by the bytes that are left, every product and sum is checked.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/file_system.h"

namespace evolora {

// The tensor types that we read; values are those of the file format.
enum class GgufType : std::uint32_t { kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ4_1 = 3, kQ8_0 = 8 };

// Elements and bytes of one block: 1 and 4 or 2 for floats; 32 elements otherwise.
std::size_t gguf_block_elements(GgufType type);
std::size_t gguf_block_bytes(GgufType type);
std::string_view gguf_type_name(GgufType type);

struct GgufTensor {
  std::string name;
  GgufType type = GgufType::kF32;
  std::vector<std::int64_t> shape;   // outermost first (the file has it the other way round); 1 to 4 dimensions
  std::span<const std::byte> bytes;  // no alignment promised
};

// Metadata value. Integers of all widths become int64 (uint64 values above it are refused); strings are valid UTF-8 and point into the map.
using GgufValue = std::variant<bool, std::int64_t, double, std::string_view, std::vector<bool>, std::vector<std::int64_t>, std::vector<double>,
                               std::vector<std::string_view>>;

// Thread-safe after open. Views stay valid while any copy of the object lives.
class GgufFile {
 public:
  // Errors: kNotFound, kIo; kCorrupt (path, what is wrong, expected and got); kUnsupported (version, byte order, nested arrays, a tensor type that
  // we do not read, by name).
  static Result<GgufFile> open(FileSystem& files, const fs::path& path);

  const fs::path& path() const { return path_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }  // in file order
  const GgufTensor* find(std::string_view name) const;                 // nullptr if absent

  const GgufValue* value(std::string_view key) const;  // nullptr if absent
  // The value of a key that must have this type. kBadData naming file and key if missing or of another type.
  Result<std::int64_t> integer(std::string_view key) const;
  Result<double> number(std::string_view key) const;  // float, or an integer
  Result<std::string_view> string(std::string_view key) const;
  Result<const std::vector<std::string_view>*> strings(std::string_view key) const;
  Result<const std::vector<std::int64_t>*> integers(std::string_view key) const;

 private:
  friend class GgufParser;
  Result<const GgufValue*> required(std::string_view key, const char* expected) const;
  Error wrong_type(std::string_view key, const char* expected) const;

  fs::path path_;
  MappedFile file_;
  std::map<std::string_view, GgufValue> metadata_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

}  // namespace evolora
