// Writer: composed header, counted data, atomic replacement.
#include "formats/safetensors_writer.h"

#include <set>

#include <nlohmann/json.hpp>

#include "base/check.h"
#include "formats/safetensors.h"
#include "formats/safetensors_header.h"

namespace evolora {
namespace {

// Passes writes on and counts them.
class CountingFile final : public WritableFile {
 public:
  explicit CountingFile(WritableFile& inner) : inner_(inner) {}
  Status write(std::span<const std::byte> bytes) override {
    count_ += bytes.size();
    return inner_.write(bytes);
  }
  Status sync() override { return inner_.sync(); }
  Status close() override { return inner_.close(); }
  std::uint64_t count() const { return count_; }

 private:
  WritableFile& inner_;
  std::uint64_t count_ = 0;
};

Result<std::uint64_t> planned_bytes(const std::vector<TensorPlan>& tensors) {
  std::uint64_t total = 0;
  for (const TensorPlan& t : tensors) {
    const std::optional<std::uint64_t> size = tensor_byte_size(t.dtype, t.shape);
    const std::optional<std::uint64_t> sum = size ? checked_add(total, *size) : std::nullopt;
    if (!sum) return Error{ErrorCode::kTooLarge, "tensor '" + t.name + "': its size does not fit 63 bits"};
    total = *sum;
  }
  return total;
}

}  // namespace

Result<std::string> compose_safetensors_header(const std::vector<TensorPlan>& tensors,
                                               const std::optional<std::map<std::string, std::string>>& metadata) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (metadata) json["__metadata__"] = *metadata;
  (void)TRY(planned_bytes(tensors));
  std::set<std::string_view> names;
  std::string text = json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.pop_back();
  std::uint64_t position = 0;
  // Entries are appended as text: an ordered_json object looks every new key up linearly.
  for (const TensorPlan& t : tensors) {
    if (!is_safetensors_name(t.name)) {
      return Error{ErrorCode::kUnsupported, "tensor name '" + t.name + "': expected only letters, digits and _ . : / -"};
    }
    CHECK(names.insert(t.name).second);
    const std::uint64_t end = position + *tensor_byte_size(t.dtype, t.shape);
    const nlohmann::ordered_json entry = {{"dtype", dtype_name(t.dtype)}, {"shape", t.shape}, {"data_offsets", {position, end}}};
    text += (text.size() > 1 ? ",\"" : "\"") + t.name + "\":" + entry.dump();
    position = end;
  }
  text += '}';
  text.append((8 - text.size() % 8) % 8, ' ');
  if (text.size() > kMaxSafetensorsHeaderBytes) return Error{ErrorCode::kTooLarge, "safetensors header of " + std::to_string(text.size()) + " bytes"};
  std::string header;
  for (std::size_t i = 0; i < 8; ++i) header += static_cast<char>((text.size() >> (8 * i)) & 0xff);
  return header + text;
}

Status write_planned_safetensors(FileSystem& files, const fs::path& path, const std::vector<TensorPlan>& tensors,
                                 const std::optional<std::map<std::string, std::string>>& metadata,
                                 const std::function<Status(WritableFile&)>& write_data) {
  const std::string header = TRY(compose_safetensors_header(tensors, metadata));
  const std::uint64_t expected = TRY(planned_bytes(tensors));
  return write_file_atomically(files, path, [&](WritableFile& file) -> Status {
    TRY(file.write(std::as_bytes(std::span(header))));
    CountingFile counting(file);
    TRY(write_data(counting));
    CHECK(counting.count() == expected);
    return {};
  });
}

Status write_safetensors(FileSystem& files, const fs::path& path, const std::vector<TensorView>& tensors,
                         const std::optional<std::map<std::string, std::string>>& metadata) {
  std::vector<TensorPlan> plans;
  plans.reserve(tensors.size());
  for (const TensorView& t : tensors) {
    plans.push_back({t.name, t.dtype, t.shape});
    CHECK(tensor_byte_size(t.dtype, t.shape) == t.bytes.size());
  }
  return write_planned_safetensors(files, path, plans, metadata, [&](WritableFile& file) -> Status {
    for (const TensorView& t : tensors) TRY(file.write(t.bytes));
    return {};
  });
}

}  // namespace evolora
