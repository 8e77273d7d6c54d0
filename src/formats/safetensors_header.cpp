// A SAX parser that knows which JSON event may come next: duplicate keys and non-integers are seen, and nesting costs no memory.
#include "formats/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <set>

#include <nlohmann/json.hpp>

#include "base/check.h"

namespace evolora {
namespace {

using SortedJson = nlohmann::json;

std::string shown(std::string_view text) {
  // Names come from the file and go into a one-line message: keep them short and printable.
  std::string out = "'";
  for (const char c : text.substr(0, 80)) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return out + (text.size() > 80 ? "...'" : "'");
}

class HeaderHandler final : public nlohmann::json_sax<SortedJson> {
 public:
  std::vector<SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;
  Error error{ErrorCode::kCorrupt, {}};

  bool null() override {
    if (state_ != State::kMetadataValue) return unexpected("null");
    state_ = State::kRoot;  // mlx writes "__metadata__": null
    return true;
  }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_float(double, const std::string& text) override { return unexpected("the number " + text); }
  // Also "-0", which is no natural number in JSON's spelling.
  bool number_integer(std::int64_t value) override { return unexpected("the signed number " + std::to_string(value)); }

  bool number_unsigned(std::uint64_t value) override {
    if (state_ == State::kShape) {
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
        return fail("dimension " + std::to_string(value) + " is too large");
      entries.back().shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (state_ == State::kOffsets && offsets_seen_ < 2) {
      (offsets_seen_ == 0 ? entries.back().begin : entries.back().end) = value;
      ++offsets_seen_;
      return true;
    }
    return unexpected("the number " + std::to_string(value));
  }

  bool string(std::string& value) override {
    if (state_ == State::kMetadata && metadata_key_) {
      metadata.emplace(std::move(*metadata_key_), std::move(value));
      metadata_key_.reset();
      return true;
    }
    if (state_ != State::kDType) return unexpected("the string " + shown(value));
    const std::optional<DType> dtype = dtype_from_name(value);
    if (!dtype) {
      fail("dtype " + shown(value) + " is not supported");
      error.code = ErrorCode::kUnsupported;
      return false;
    }
    entries.back().dtype = *dtype;
    state_ = State::kTensor;
    return true;
  }

  bool binary(SortedJson::binary_t&) override { return unexpected("binary data"); }

  bool start_object(std::size_t) override {
    switch (state_) {
      case State::kStart: state_ = State::kRoot; return true;
      case State::kMetadataValue: state_ = State::kMetadata; return true;
      case State::kTensorValue: state_ = State::kTensor; return true;
      default: return unexpected("an object");
    }
  }

  bool key(std::string& name) override {
    if (state_ == State::kRoot) return root_key(name);
    if (state_ == State::kMetadata) {
      if (metadata.contains(name)) return fail("key " + shown(name) + " appears twice in __metadata__");
      metadata_key_ = name;
      return true;
    }
    return tensor_key(name);
  }

  bool end_object() override {
    if (state_ == State::kTensor) {
      if (!has_dtype_ || !has_shape_ || !has_offsets_) return fail("expected dtype, shape and data_offsets, one of them is missing");
      tensor_name_.clear();
    }
    state_ = State::kRoot;
    return true;
  }

  bool start_array(std::size_t) override {
    if (state_ == State::kShapeValue) {
      state_ = State::kShape;
      return true;
    }
    if (state_ != State::kOffsetsValue) return unexpected("an array");
    state_ = State::kOffsets;
    offsets_seen_ = 0;
    return true;
  }

  bool end_array() override {
    if (state_ == State::kOffsets && offsets_seen_ != 2) return fail("expected two data_offsets, got " + std::to_string(offsets_seen_));
    state_ = State::kTensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const SortedJson::exception&) override {
    error.message = "the header is not valid JSON at byte " + std::to_string(position);
    return false;
  }

 private:
  // What has been read last, that is, what may come next.
  enum class State { kStart, kRoot, kMetadataValue, kMetadata, kTensorValue, kTensor, kDType, kShapeValue, kShape, kOffsetsValue, kOffsets };

  bool root_key(const std::string& name) {
    if (name == "__metadata__") {
      if (has_metadata_) return fail("key '__metadata__' appears twice");
      has_metadata_ = true;
      state_ = State::kMetadataValue;
      return true;
    }
    if (!is_safetensors_name(name)) return fail("tensor name " + shown(name) + " is not made of letters, digits and _ . : / -");
    if (!names_.insert(name).second) return fail("tensor " + shown(name) + " appears twice");
    tensor_name_ = name;
    entries.push_back({.name = name, .shape = {}});
    has_dtype_ = has_shape_ = has_offsets_ = false;
    state_ = State::kTensorValue;
    return true;
  }

  bool tensor_key(const std::string& name) {
    bool* seen = nullptr;
    if (name == "dtype") {
      seen = &has_dtype_;
      state_ = State::kDType;
    } else if (name == "shape") {
      seen = &has_shape_;
      state_ = State::kShapeValue;
    } else if (name == "data_offsets") {
      seen = &has_offsets_;
      state_ = State::kOffsetsValue;
    } else {
      return fail("unknown field " + shown(name));
    }
    if (*seen) return fail("field " + shown(name) + " appears twice");
    *seen = true;
    return true;
  }

  bool fail(const std::string& message) {
    error.message = tensor_name_.empty() ? message : "tensor " + shown(tensor_name_) + ": " + message;
    return false;
  }

  bool unexpected(const std::string& got) { return fail(std::string("expected ") + expectation() + ", got " + got); }

  const char* expectation() const {
    switch (state_) {
      case State::kStart: return "an object";
      case State::kMetadataValue: return "an object of strings or null";
      case State::kMetadata: return "a string";
      case State::kTensorValue: return "an object";
      case State::kDType: return "a string for dtype";
      case State::kShapeValue: return "an array for shape";
      case State::kShape: return "a non-negative integer as dimension";
      case State::kOffsetsValue: return "an array for data_offsets";
      case State::kOffsets: return "two non-negative integers as data_offsets";
      default: return "a key";
    }
  }

  State state_ = State::kStart;
  std::set<std::string, std::less<>> names_;
  std::string tensor_name_;
  std::optional<std::string> metadata_key_;
  bool has_metadata_ = false;
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  int offsets_seen_ = 0;
};

// Sorts by offset and checks that the tensors cover the data exactly.
Status check_layout(std::vector<SafetensorsEntry>& entries, std::uint64_t data_start, std::uint64_t data_bytes, const std::string& where) {
  const auto corrupt = [&](const std::string& message) { return Error{ErrorCode::kCorrupt, where + ": " + message}; };
  std::stable_sort(entries.begin(), entries.end(),
                   [](const auto& a, const auto& b) { return a.begin != b.begin ? a.begin < b.begin : a.end < b.end; });
  std::uint64_t position = 0;
  for (const SafetensorsEntry& e : entries) {
    const std::string tensor = "tensor " + shown(e.name);
    if (e.begin != position) {
      return corrupt(tensor + (e.begin > position ? ": a hole before it" : ": overlaps the one before it") + ", expected to begin at offset " +
                     std::to_string(position) + ", got " + std::to_string(e.begin));
    }
    const std::optional<std::uint64_t> size = tensor_byte_size(e.dtype, e.shape);
    if (!size) return corrupt(tensor + ": the product of its dimensions does not fit 63 bits");
    if (e.end < e.begin || e.end - e.begin != *size) {
      return corrupt(tensor + ": dtype and shape need " + std::to_string(*size) + " bytes, data_offsets say [" + std::to_string(e.begin) + ", " +
                     std::to_string(e.end) + "]");
    }
    position = e.end;
  }
  if (position == data_bytes) return {};
  const auto file_bytes = [&](std::uint64_t data) {
    const std::optional<std::uint64_t> total = checked_add(data_start, data);
    return total ? std::to_string(*total) : std::string("more than 2^64");
  };
  return corrupt((position > data_bytes ? "truncated: expected " : "trailing bytes: expected ") + file_bytes(position) + " bytes, got " +
                 file_bytes(data_bytes));
}

}  // namespace

std::optional<std::uint64_t> tensor_byte_size(DType dtype, const std::vector<std::int64_t>& shape) {
  // Zero dimensions count as one in the bound: strides of the others must fit as well.
  std::int64_t bound = static_cast<std::int64_t>(dtype_size_bytes(dtype));
  bool empty = false;
  for (const std::int64_t dimension : shape) {
    if (dimension < 0) return std::nullopt;
    empty = empty || dimension == 0;
    const std::optional<std::int64_t> product = checked_mul(bound, std::max<std::int64_t>(dimension, 1));
    if (!product) return std::nullopt;
    bound = *product;
  }
  return empty ? 0 : static_cast<std::uint64_t>(bound);
}

bool is_safetensors_name(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || std::string_view("_.:/-").find(c) != std::string_view::npos;
  };
  return !name.empty() && name != "__metadata__" && std::all_of(name.begin(), name.end(), allowed);
}

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI8, DType::kU8, DType::kI16, DType::kU16, DType::kI32,
                            DType::kU32, DType::kI64, DType::kU64, DType::kBool}) {
    if (dtype_name(dtype) == name) return dtype;
  }
  return std::nullopt;
}

Result<SafetensorsHeader> parse_safetensors_header(std::string_view file, std::string_view where_view) {
  const std::string where(where_view);
  const auto corrupt = [&](const std::string& message) { return Error{ErrorCode::kCorrupt, where + ": " + message}; };
  if (file.size() < 8) return corrupt("truncated: expected at least 8 bytes, got " + std::to_string(file.size()));
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < 8; ++i) length |= std::uint64_t{static_cast<unsigned char>(file[i])} << (8 * i);
  if (length > kMaxSafetensorsHeaderBytes) {
    return corrupt("header length " + std::to_string(length) + " is above the format's limit of " + std::to_string(kMaxSafetensorsHeaderBytes) +
                   " bytes; this is not a safetensors file");
  }
  if (file.size() - 8 < length) {
    return corrupt("truncated: expected at least " + std::to_string(length + 8) + " bytes (header), got " + std::to_string(file.size()));
  }
  const std::string_view text = file.substr(8, length);
  if (!text.starts_with('{')) return corrupt("the header does not begin with '{'");
  // The JSON lexer would take a zero byte for the end of its input and not see what follows.
  if (text.find('\0') != std::string_view::npos) return corrupt("the header contains a zero byte");

  HeaderHandler handler;
  if (!SortedJson::sax_parse(text.begin(), text.end(), &handler)) return Error{handler.error.code, where + ": " + handler.error.message};
  SafetensorsHeader header{std::move(handler.entries), std::move(handler.metadata), length + 8};
  TRY(check_layout(header.entries, header.data_start, file.size() - header.data_start, where));
  return header;
}

}  // namespace evolora
