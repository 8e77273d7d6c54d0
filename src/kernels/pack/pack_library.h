// A compiled kernel pack inside this process, and the table of kernels with the pack's functions where it has them (interface: evolora_pack.h).
// The pack's code runs with all rights of this process: load only what the user chose to run, or what a sandboxed process of its own contains.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "base/result.h"
#include "kernels/kernel_table.h"
#include "kernels/pack/evolora_pack.h"

namespace evolora {

// Functions that the pack does not define are null; a kernel and its workspace function are both there or both null.
struct PackFunctions {
  void (*lora_linear_forward)(const evolora_lora_linear_forward_args*, evolora_context*) = nullptr;
  std::size_t (*lora_linear_forward_workspace_bytes)(const evolora_lora_linear_forward_args*, int) = nullptr;
  void (*lora_linear_backward)(const evolora_lora_linear_backward_args*, evolora_context*) = nullptr;
  std::size_t (*lora_linear_backward_workspace_bytes)(const evolora_lora_linear_backward_args*, int) = nullptr;

  bool operator==(const PackFunctions&) const = default;
};

// Immutable; unloaded when the last owner is gone, tables with its functions among them.
class PackLibrary {
 public:
  ~PackLibrary();
  PackLibrary(const PackLibrary&) = delete;
  PackLibrary& operator=(const PackLibrary&) = delete;

  const PackFunctions& functions() const { return functions_; }
  const std::string& digest() const { return digest_; }

 private:
  friend Result<std::shared_ptr<const PackLibrary>> load_pack_library(const std::filesystem::path& path, const std::string& digest);
  PackLibrary(void* handle, const PackFunctions& functions, std::string digest)
      : handle_(handle), functions_(functions), digest_(std::move(digest)) {}
  void* handle_;
  PackFunctions functions_;
  std::string digest_;
};

// path: a shared library that compile_pack made. digest: of the pack's sources, for names. kDependency: it cannot be loaded, has another ABI number,
// one function of a pair, or none of all.
Result<std::shared_ptr<const PackLibrary>> load_pack_library(const std::filesystem::path& path, const std::string& digest);

// table with the pack's functions in place of its own; its name is "mixed". The table shares ownership of the pack. Its kernels CHECK that fp32 is
// asked for: a pack has no other arithmetic.
KernelTable with_pack(KernelTable table, const std::shared_ptr<const PackLibrary>& pack);

// Who serves lora_linear, as run.json tells it: "pack:<12 digits of digest>", with " forward" or " backward" behind it if the pack has one direction
// only.
std::string pack_service_name(const std::string& digest, bool forward, bool backward);
inline std::string pack_service_name(const PackLibrary& pack) {
  return pack_service_name(pack.digest(), pack.functions().lora_linear_forward != nullptr, pack.functions().lora_linear_backward != nullptr);
}

}  // namespace evolora
