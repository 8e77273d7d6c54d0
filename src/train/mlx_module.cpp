// dlopen and one symbol.
#include "train/mlx_module.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <filesystem>
#include <string_view>
#include <system_error>

namespace evolora {
namespace {

constexpr const char* kModule = "evolora_mlx_engine.so";

std::filesystem::path beside_the_program() {
  std::error_code ignored;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", ignored);
  return program.parent_path() / kModule;
}

}  // namespace

Result<const MlxModuleEntry*> load_mlx_module() {
  std::error_code ignored;
  const std::filesystem::path beside = beside_the_program();
  const bool found = std::filesystem::exists(beside, ignored);
  // Local: the module has its own copies of this program's code, and they must not be mixed.
  void* const handle = dlopen(found ? beside.c_str() : kModule, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr && !found) {
    return Error{ErrorCode::kDependency,
                 fmt::format("--engine mlx: this build has no MLX engine ({} is missing): run tools/bootstrap.sh build, which installs MLX into "
                             "build/mlx, then build again",
                             beside.string())};
  }
  if (handle == nullptr) return Error{ErrorCode::kDependency, fmt::format("--engine mlx: {} cannot be loaded: {}", beside.string(), dlerror())};
  using EntryFunction = const MlxModuleEntry* (*)();
  const auto entry_function = reinterpret_cast<EntryFunction>(dlsym(handle, "evolora_mlx_engine_entry"));
  if (entry_function == nullptr) return Error{ErrorCode::kDependency, fmt::format("--engine mlx: {} is not an engine of this program", kModule)};
  const MlxModuleEntry* entry = entry_function();
  if (std::string_view(EVOLORA_VERSION) != entry->version) {
    return Error{ErrorCode::kDependency,
                 fmt::format("--engine mlx: {} is of version {}, this program of {}: build both together", kModule, entry->version, EVOLORA_VERSION)};
  }
  return entry;
}

}  // namespace evolora
