// JSON and files.
#include "kernels/pack/pack_folder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/json.h"
#include "base/sha256.h"
#include "base/suggest.h"
#include "kernels/pack/pack_library.h"
#include "kernels/pack/pack_rules.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxFiles = 8;

Error bad(const std::string& source, const std::string& what) { return Error{ErrorCode::kBadData, fmt::format("{}: {}", source, what)}; }

// Letters, digits, '_' and '-', then ".cpp": no path can hide in it.
bool is_file_name(const std::string& name) {
  const std::string_view stem = std::string_view(name).substr(0, name.size() - std::min<std::size_t>(4, name.size()));
  return name.ends_with(".cpp") && !stem.empty() && stem[0] != '-' && name.size() <= 64 &&
         std::all_of(stem.begin(), stem.end(), [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-'; });
}

Result<std::vector<std::string>> texts(const Json& json, const char* field, const std::string& source) {
  const Json list = json.value(field, Json());
  if (!list.is_array() || list.empty()) return bad(source, fmt::format("{}: expected a list of texts, got {}", field, list.dump()));
  std::vector<std::string> out;
  for (const Json& entry : list) {
    if (!entry.is_string()) return bad(source, fmt::format("{}: expected texts, got {}", field, entry.dump()));
    out.push_back(entry.get<std::string>());
  }
  std::sort(out.begin(), out.end());
  const auto twice = std::adjacent_find(out.begin(), out.end());
  if (twice != out.end()) return bad(source, fmt::format("{}: '{}' stands there twice", field, *twice));
  return out;
}

}  // namespace

const std::vector<std::string>& pack_slots(PackTarget target) {
  static const std::vector<std::string> cpu = {"lora_linear_backward", "lora_linear_forward"};
  static const std::vector<std::string> mlx = {"dora_linear", "lora_linear"};
  return target == PackTarget::kCpu ? cpu : mlx;
}

bool PackManifest::serves(const std::string& slot) const { return std::find(slots.begin(), slots.end(), slot) != slots.end(); }

std::string KernelPack::digest() const {
  Json json = {{"slots", manifest.slots}, {"sources", Json::object()}};
  if (manifest.target != PackTarget::kCpu) json["target"] = word(manifest.target);
  for (const auto& [name, text] : sources) json["sources"][name] = sha256_hex(text);
  return sha256_hex(json.dump());
}

std::string KernelPack::service_name() const {
  if (manifest.target == PackTarget::kMlx) return pack_service_name(digest(), true, true);
  return pack_service_name(digest(), manifest.serves("lora_linear_forward"), manifest.serves("lora_linear_backward"));
}

Json manifest_to_json(const PackManifest& manifest) {
  return {{"name", manifest.name}, {"target", word(manifest.target)}, {"slots", manifest.slots}, {"files", manifest.files}};
}

Result<PackManifest> manifest_from_json(const Json& json, const std::string& source) {
  static const std::vector<std::string> known = {"name", "target", "slots", "files"};
  if (!json.is_object()) return bad(source, "expected an object that describes a kernel pack");
  for (const auto& [key, value] : json.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end())
      return bad(source, fmt::format("unknown key '{}'{}", key, did_you_mean(key, known)));
  }
  const Json name = json.value("name", Json());
  if (!name.is_string() || name.get<std::string>().empty()) return bad(source, fmt::format("name: expected a text, got {}", name.dump()));
  const Json target = json.value("target", Json());
  if (target != "cpu" && target != "mlx") return bad(source, fmt::format("target: expected \"cpu\" or \"mlx\", got {}", target.dump()));
  std::vector<std::string> wanted = TRY(texts(json, "slots", source));
  std::vector<std::string> files = TRY(texts(json, "files", source));
  PackManifest manifest{.name = name.get<std::string>(),
                        .target = target == "cpu" ? PackTarget::kCpu : PackTarget::kMlx,
                        .slots = std::move(wanted),
                        .files = std::move(files)};
  const std::vector<std::string>& slots = pack_slots(manifest.target);
  for (const std::string& slot : manifest.slots) {
    if (std::find(slots.begin(), slots.end(), slot) == slots.end())
      return bad(source, fmt::format("slots: expected some of {}, got '{}'{}", fmt::join(slots, ", "), slot, did_you_mean(slot, slots)));
  }
  if (manifest.files.size() > kMaxFiles) return bad(source, fmt::format("files: expected at most {}, got {}", kMaxFiles, manifest.files.size()));
  for (const std::string& file : manifest.files) {
    if (!is_file_name(file))
      return bad(source, fmt::format("files: expected names of letters, digits, '_' and '-' that end in .cpp, in the pack's folder; got '{}'", file));
  }
  return manifest;
}

Result<KernelPack> read_pack(FileSystem& files, const fs::path& folder) {
  const fs::path path = folder / kPackManifest;
  if (!files.exists(path))
    return Error{ErrorCode::kNotFound,
                 fmt::format("{}: no such file; a kernel pack is a folder with {} and its sources", path.string(), kPackManifest)};
  KernelPack pack;
  const Json manifest = TRY(read_settings_object(files, path));
  pack.manifest = TRY(manifest_from_json(manifest, path.string()));
  for (const std::string& name : pack.manifest.files) {
    std::string text = TRY(files.read(folder / name));
    TRY(check_pack_source(text, (folder / name).string(), pack.manifest.target));
    pack.sources[name] = std::move(text);
  }
  return pack;
}

Status write_pack(FileSystem& files, const fs::path& folder, const KernelPack& pack) {
  TRY(files.create_directories(folder));
  for (const auto& [name, text] : pack.sources) TRY(write_file_atomically(files, folder / name, text));
  return write_file_atomically(files, folder / kPackManifest, manifest_to_json(pack.manifest).dump(2) + "\n");
}

}  // namespace evolora
