// A kernel pack as a folder: pack.json {"name": "...", "target": "cpu", "slots": ["lora_linear_forward", ...], "files": ["kernel.cpp"]} and the
// source files it names, which include the header of their target and define the functions of their slots.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/file_system.h"
#include "kernels/pack/pack_target.h"

namespace evolora {

inline constexpr const char* kPackManifest = "pack.json";

struct PackManifest {
  std::string name;
  PackTarget target = PackTarget::kCpu;
  std::vector<std::string> slots;  // of pack_slots(target), sorted, at least one
  std::vector<std::string> files;  // names without a folder that end in .cpp, sorted, at least one

  bool serves(const std::string& slot) const;
  bool operator==(const PackManifest&) const = default;
};

// cpu: {"lora_linear_backward", "lora_linear_forward"}; mlx: {"dora_linear", "lora_linear"}
const std::vector<std::string>& pack_slots(PackTarget target);

struct KernelPack {
  PackManifest manifest;
  std::map<std::string, std::string> sources;  // file name -> text

  // SHA-256 of target, slots and sources, byte by byte; the name does not count.
  std::string digest() const;
  // Who serves lora_linear when this pack runs, as run.json tells it: pack_library.h; for mlx "pack:<12 digits of digest>".
  std::string service_name() const;
};

nlohmann::ordered_json manifest_to_json(const PackManifest& manifest);
// kBadData "SOURCE: field: expected ..., got ...".
Result<PackManifest> manifest_from_json(const nlohmann::ordered_json& json, const std::string& source);

// kNotFound, kBadData and kTooLarge naming the file. Sources have passed check_pack_source (pack_rules.h).
Result<KernelPack> read_pack(FileSystem& files, const fs::path& folder);
// Creates the folder; files that are there already and not of the pack stay.
Status write_pack(FileSystem& files, const fs::path& folder, const KernelPack& pack);

}  // namespace evolora
