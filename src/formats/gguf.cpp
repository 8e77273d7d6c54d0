// A cursor over the mapped bytes that never reads past their end, and the grammar of the format on top of it.
#include "formats/gguf.h"

#include <bit>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "formats/utf8.h"

namespace evolora {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian and is read in place");

enum class ValueType : std::uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

// Names of ggml's tensor types by number, for refusals. Empty: a number that was never used or has been withdrawn.
constexpr std::string_view kTypeNames[] = {"F32",    "F16",   "Q4_0",  "Q4_1",   "",      "",      "Q5_0",    "Q5_1",   "Q8_0",    "Q8_1",
                                           "Q2_K",   "Q3_K",  "Q4_K",  "Q5_K",   "Q6_K",  "Q8_K",  "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S",
                                           "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8",    "I16",   "I32",     "I64",    "F64",     "IQ1_M",
                                           "BF16",   "",      "",      "",       "TQ1_0", "TQ2_0", "",        "",       "",        "MXFP4"};

std::size_t value_bytes(ValueType type) {
  switch (type) {
    case ValueType::kU8:
    case ValueType::kI8:
    case ValueType::kBool: return 1;
    case ValueType::kU16:
    case ValueType::kI16: return 2;
    case ValueType::kU32:
    case ValueType::kI32:
    case ValueType::kF32: return 4;
    case ValueType::kU64:
    case ValueType::kI64:
    case ValueType::kF64:
    case ValueType::kString: return 8;  // a string is at least its length
    case ValueType::kArray: return 12;
  }
  return 0;
}

bool is_float(ValueType type) { return type == ValueType::kF32 || type == ValueType::kF64; }

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 80)) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return out;
}

}  // namespace

std::size_t gguf_block_elements(GgufType type) { return type == GgufType::kF32 || type == GgufType::kF16 ? 1 : 32; }

std::size_t gguf_block_bytes(GgufType type) {
  switch (type) {
    case GgufType::kF32: return 4;
    case GgufType::kF16: return 2;
    case GgufType::kQ4_0: return 2 + 16;      // scale, nibbles
    case GgufType::kQ4_1: return 2 + 2 + 16;  // scale, minimum, nibbles
    case GgufType::kQ8_0: return 2 + 32;      // scale, signed bytes
  }
  return 0;
}

std::string_view gguf_type_name(GgufType type) { return kTypeNames[static_cast<std::uint32_t>(type)]; }

// Reads one file into a GgufFile. Every read says what it was reading when the bytes end.
class GgufParser {
 public:
  GgufParser(GgufFile& out, std::span<const std::byte> bytes) : out_(out), bytes_(bytes), where_(out.path_.string()) {}

  Status parse() {
    const std::span<const std::byte> magic = TRY(take(4, "magic"));
    if (std::memcmp(magic.data(), "GGUF", 4) != 0) return corrupt("does not begin with 'GGUF'; this is not a GGUF file");
    const auto version = TRY(scalar<std::uint32_t>("version"));
    if (version != 0 && (version & 0xffffu) == 0) return unsupported("big-endian files are not supported");
    if (version != 2 && version != 3) return unsupported("GGUF version " + std::to_string(version) + " is not supported; supported: 2 and 3");
    const auto tensor_count = TRY(scalar<std::uint64_t>("tensor count"));
    const auto value_count = TRY(scalar<std::uint64_t>("metadata count"));
    // The smallest entries: key length 8, type 4, value 1; name length 8, dimension count 4, one dimension 8, type 4, offset 8.
    TRY(check_count(value_count, 13, "metadata entries"));
    for (std::uint64_t i = 0; i < value_count; ++i) TRY(parse_metadata());
    TRY(check_count(tensor_count, 32, "tensors"));
    std::vector<std::uint64_t> offsets;
    for (std::uint64_t i = 0; i < tensor_count; ++i) TRY(parse_tensor(offsets));
    return place_tensors(offsets);
  }

 private:
  Error corrupt(const std::string& message) const { return Error{ErrorCode::kCorrupt, where_ + ": " + message}; }
  Error unsupported(const std::string& message) const { return Error{ErrorCode::kUnsupported, where_ + ": " + message}; }

  std::uint64_t left() const { return bytes_.size() - position_; }

  Result<std::span<const std::byte>> take(std::uint64_t count, const char* what) {
    if (count > left()) {
      return corrupt("truncated at byte " + std::to_string(position_) + ": expected " + std::to_string(count) + " bytes of " + what + ", got " +
                     std::to_string(left()));
    }
    const auto taken = bytes_.subspan(position_, static_cast<std::size_t>(count));
    position_ += static_cast<std::size_t>(count);
    return taken;
  }

  template <typename T>
  Result<T> scalar(const char* what) {
    const std::span<const std::byte> raw = TRY(take(sizeof(T), what));
    T value;
    std::memcpy(&value, raw.data(), sizeof(T));
    return value;
  }

  Result<std::string_view> text(const char* what) {
    const auto length = TRY(scalar<std::uint64_t>(what));
    const std::span<const std::byte> raw = TRY(take(length, what));
    const std::string_view value(reinterpret_cast<const char*>(raw.data()), raw.size());
    if (!is_utf8(value)) return corrupt(std::string(what) + " before byte " + std::to_string(position_) + " is not UTF-8");
    return value;
  }

  Status check_count(std::uint64_t count, std::uint64_t least_bytes_each, const char* what) const {
    if (count <= left() / least_bytes_each) return {};
    return corrupt("truncated: " + std::to_string(count) + " " + what + " do not fit the " + std::to_string(left()) + " bytes that are left");
  }

  Result<std::int64_t> integer(ValueType type) {
    switch (type) {
      case ValueType::kU8: return std::int64_t{TRY(scalar<std::uint8_t>("metadata value"))};
      case ValueType::kI8: return std::int64_t{TRY(scalar<std::int8_t>("metadata value"))};
      case ValueType::kU16: return std::int64_t{TRY(scalar<std::uint16_t>("metadata value"))};
      case ValueType::kI16: return std::int64_t{TRY(scalar<std::int16_t>("metadata value"))};
      case ValueType::kU32: return std::int64_t{TRY(scalar<std::uint32_t>("metadata value"))};
      case ValueType::kI32: return std::int64_t{TRY(scalar<std::int32_t>("metadata value"))};
      case ValueType::kI64: return TRY(scalar<std::int64_t>("metadata value"));
      default: break;
    }
    const auto value = TRY(scalar<std::uint64_t>("metadata value"));
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      return corrupt("key '" + printable(key_) + "': " + std::to_string(value) + " does not fit 63 bits");
    }
    return static_cast<std::int64_t>(value);
  }

  Result<double> floating(ValueType type) {
    if (type == ValueType::kF64) return TRY(scalar<double>("metadata value"));
    return static_cast<double>(TRY(scalar<float>("metadata value")));
  }

  Result<bool> boolean() {
    const auto value = TRY(scalar<std::uint8_t>("metadata value"));
    if (value > 1) return corrupt("key '" + printable(key_) + "': expected 0 or 1 as boolean, got " + std::to_string(value));
    return value == 1;
  }

  Result<ValueType> value_type() {
    const auto type = TRY(scalar<std::uint32_t>("metadata type"));
    if (type > static_cast<std::uint32_t>(ValueType::kF64))
      return corrupt("key '" + printable(key_) + "': unknown metadata type " + std::to_string(type));
    return static_cast<ValueType>(type);
  }

  Result<GgufValue> array() {
    const ValueType type = TRY(value_type());
    const auto count = TRY(scalar<std::uint64_t>("array length"));
    if (type == ValueType::kArray) return unsupported("key '" + printable(key_) + "': arrays of arrays are not supported");
    TRY(check_count(count, value_bytes(type), "array elements"));
    const auto fill = [&](auto values, auto read) -> Result<GgufValue> {
      values.reserve(static_cast<std::size_t>(count));
      for (std::uint64_t i = 0; i < count; ++i) values.push_back(TRY(read()));
      return GgufValue(std::move(values));
    };
    if (type == ValueType::kString) return fill(std::vector<std::string_view>(), [&] { return text("string"); });
    if (type == ValueType::kBool) return fill(std::vector<bool>(), [&] { return boolean(); });
    if (is_float(type)) return fill(std::vector<double>(), [&] { return floating(type); });
    return fill(std::vector<std::int64_t>(), [&] { return integer(type); });
  }

  Result<GgufValue> any_value() {
    const ValueType type = TRY(value_type());
    if (type == ValueType::kArray) return array();
    if (type == ValueType::kString) return GgufValue(TRY(text("string")));
    if (type == ValueType::kBool) return GgufValue(TRY(boolean()));
    if (is_float(type)) return GgufValue(TRY(floating(type)));
    return GgufValue(TRY(integer(type)));
  }

  Status parse_metadata() {
    key_ = TRY(text("key"));
    if (key_.empty() || key_.size() > 65535) return corrupt("expected a key of 1 to 65535 bytes, got " + std::to_string(key_.size()));
    GgufValue value = TRY(any_value());
    if (!out_.metadata_.emplace(key_, std::move(value)).second) return corrupt("key '" + printable(key_) + "' appears twice");
    return {};
  }

  Status parse_tensor(std::vector<std::uint64_t>& offsets) {
    GgufTensor tensor;
    const std::string_view name = TRY(text("tensor name"));
    if (name.empty() || name.size() > 64) return corrupt("expected a tensor name of 1 to 64 bytes, got " + std::to_string(name.size()));
    tensor.name = name;
    const std::string label = "tensor '" + printable(name) + "'";
    const auto rank = TRY(scalar<std::uint32_t>("tensor rank"));
    if (rank < 1 || rank > 4) return corrupt(label + ": expected 1 to 4 dimensions, got " + std::to_string(rank));
    for (std::uint32_t i = 0; i < rank; ++i) {
      const auto dimension = TRY(scalar<std::uint64_t>("tensor dimension"));
      if (dimension == 0 || dimension > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        return corrupt(label + ": dimension " + std::to_string(dimension) + " is out of range");
      }
      tensor.shape.insert(tensor.shape.begin(), static_cast<std::int64_t>(dimension));
    }
    const auto type = TRY(scalar<std::uint32_t>("tensor type"));
    offsets.push_back(TRY(scalar<std::uint64_t>("tensor offset")));
    TRY(set_type(tensor, type, label));
    if (!out_.index_.emplace(tensor.name, out_.tensors_.size()).second) return corrupt(label + " appears twice");
    out_.tensors_.push_back(std::move(tensor));
    return {};
  }

  Status set_type(GgufTensor& tensor, std::uint32_t type, const std::string& label) const {
    for (const GgufType known : {GgufType::kF32, GgufType::kF16, GgufType::kQ4_0, GgufType::kQ4_1, GgufType::kQ8_0}) {
      if (type == static_cast<std::uint32_t>(known)) {
        tensor.type = known;
        return {};
      }
    }
    const std::string_view name = type < std::size(kTypeNames) ? kTypeNames[type] : "";
    if (name.empty()) return corrupt(label + ": unknown tensor type " + std::to_string(type));
    return unsupported(label + ": tensor type " + std::string(name) + " is not supported; supported: F32, F16, Q8_0, Q4_0, Q4_1");
  }

  Result<std::uint64_t> alignment() const {
    const auto it = out_.metadata_.find("general.alignment");
    if (it == out_.metadata_.end()) return std::uint64_t{32};
    const auto* value = std::get_if<std::int64_t>(&it->second);
    constexpr std::int64_t kLargest = 1 << 20;
    if (value == nullptr || *value < 8 || *value > kLargest || !std::has_single_bit(static_cast<std::uint64_t>(*value))) {
      return corrupt("general.alignment: expected a power of two from 8 to " + std::to_string(kLargest));
    }
    return static_cast<std::uint64_t>(*value);
  }

  Result<std::uint64_t> byte_size(const GgufTensor& tensor) const {
    const std::string label = "tensor '" + printable(tensor.name) + "'";
    const auto block = static_cast<std::int64_t>(gguf_block_elements(tensor.type));
    if (tensor.shape.back() % block != 0) {
      return corrupt(label + ": rows of " + std::to_string(tensor.shape.back()) + " elements are no multiple of the " +
                     std::string(gguf_type_name(tensor.type)) + " block of " + std::to_string(block));
    }
    std::optional<std::uint64_t> size = gguf_block_bytes(tensor.type);
    std::optional<std::int64_t> elements = 1;
    for (std::size_t i = 0; i < tensor.shape.size() && size && elements; ++i) {
      const std::int64_t dimension = tensor.shape[i];
      elements = checked_mul(*elements, dimension);
      size = checked_mul(*size, static_cast<std::uint64_t>(i + 1 == tensor.shape.size() ? dimension / block : dimension));
    }
    if (!size || !elements) return corrupt(label + ": its size does not fit 63 bits");
    return *size;
  }

  // Tensors lie one after the other, each at the next multiple of the alignment, and end with the file (the last may be padded).
  Status place_tensors(const std::vector<std::uint64_t>& offsets) {
    const std::uint64_t align = TRY(alignment());
    const auto rounded = [align](std::uint64_t n) { return n % align == 0 ? n : n + (align - n % align); };  // n is bounded by the file's size
    if (offsets.empty())
      return left() < align ? Status{} : corrupt("trailing bytes: expected no tensor data, got " + std::to_string(left()) + " bytes");
    const std::uint64_t start = rounded(position_);
    if (start > bytes_.size())
      return corrupt("truncated: expected tensor data at byte " + std::to_string(start) + ", got " + std::to_string(bytes_.size()));
    const std::span<const std::byte> data = bytes_.subspan(static_cast<std::size_t>(start));
    std::uint64_t end = 0;
    for (std::size_t i = 0; i < offsets.size(); ++i) {
      GgufTensor& tensor = out_.tensors_[i];
      const std::string label = "tensor '" + printable(tensor.name) + "'";
      const std::uint64_t expected = rounded(end);
      if (offsets[i] != expected) return corrupt(label + ": expected at offset " + std::to_string(expected) + ", got " + std::to_string(offsets[i]));
      const std::uint64_t size = TRY(byte_size(tensor));
      if (expected > data.size() || size > data.size() - expected) {
        return corrupt("truncated: " + label + " needs " + std::to_string(size) + " bytes at byte " + std::to_string(start + expected) +
                       ", the file has " + std::to_string(bytes_.size()));
      }
      tensor.bytes = data.subspan(static_cast<std::size_t>(expected), static_cast<std::size_t>(size));
      end = expected + size;
    }
    if (data.size() > rounded(end)) {
      return corrupt("trailing bytes: expected " + std::to_string(start + rounded(end)) + " bytes, got " + std::to_string(bytes_.size()));
    }
    return {};
  }

  GgufFile& out_;
  std::span<const std::byte> bytes_;
  std::string where_;
  std::size_t position_ = 0;
  std::string_view key_;  // being read, for messages
};

Result<GgufFile> GgufFile::open(FileSystem& files, const fs::path& path) {
  GgufFile result;
  result.path_ = path;
  result.file_ = TRY(files.map(path));
  TRY(GgufParser(result, result.file_.bytes()).parse());
  return result;
}

const GgufTensor* GgufFile::find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

const GgufValue* GgufFile::value(std::string_view key) const {
  const auto it = metadata_.find(key);
  return it == metadata_.end() ? nullptr : &it->second;
}

Result<const GgufValue*> GgufFile::required(std::string_view key, const char* expected) const {
  const GgufValue* found = value(key);
  if (found == nullptr)
    return Error{ErrorCode::kBadData, path_.string() + ": metadata key '" + std::string(key) + "' is missing; expected " + expected};
  return found;
}

Error GgufFile::wrong_type(std::string_view key, const char* expected) const {
  return Error{ErrorCode::kBadData, path_.string() + ": metadata key '" + std::string(key) + "': expected " + expected};
}

Result<std::int64_t> GgufFile::integer(std::string_view key) const {
  constexpr const char* kExpected = "an integer";
  const auto* v = std::get_if<std::int64_t>(TRY(required(key, kExpected)));
  if (v == nullptr) return wrong_type(key, kExpected);
  return *v;
}

Result<double> GgufFile::number(std::string_view key) const {
  constexpr const char* kExpected = "a number";
  const GgufValue* v = TRY(required(key, kExpected));
  if (const auto* number = std::get_if<double>(v)) return *number;
  if (const auto* whole = std::get_if<std::int64_t>(v)) return static_cast<double>(*whole);
  return wrong_type(key, kExpected);
}

Result<std::string_view> GgufFile::string(std::string_view key) const {
  constexpr const char* kExpected = "a string";
  const auto* v = std::get_if<std::string_view>(TRY(required(key, kExpected)));
  if (v == nullptr) return wrong_type(key, kExpected);
  return *v;
}

Result<const std::vector<std::string_view>*> GgufFile::strings(std::string_view key) const {
  constexpr const char* kExpected = "a list of strings";
  const auto* v = std::get_if<std::vector<std::string_view>>(TRY(required(key, kExpected)));
  if (v == nullptr) return wrong_type(key, kExpected);
  return v;
}

Result<const std::vector<std::int64_t>*> GgufFile::integers(std::string_view key) const {
  constexpr const char* kExpected = "a list of integers";
  const auto* v = std::get_if<std::vector<std::int64_t>>(TRY(required(key, kExpected)));
  if (v == nullptr) return wrong_type(key, kExpected);
  return v;
}

}  // namespace evolora
