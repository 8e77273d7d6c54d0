// dlopen, and the translation of C++ arguments into the C structures of a pack.
#include "kernels/pack/pack_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <array>
#include <span>

#include "base/check.h"

namespace evolora {
namespace {

// q|k|v is the largest group of any model here.
constexpr std::size_t kMaxProjections = 8;

template <typename Function>
void find(void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(handle, name));
}

std::int32_t dtype_code(DType dtype) {
  if (dtype == DType::kF16) return EVOLORA_F16;
  if (dtype == DType::kBF16) return EVOLORA_BF16;
  CHECK(dtype == DType::kF32);
  return EVOLORA_F32;
}

evolora_projection c_projection(const LoraProjection& p) {
  const WeightView& w = p.weight;
  const auto bytes = [](const std::byte* data) { return reinterpret_cast<const std::uint8_t*>(data); };
  return {.weight = {.out = w.out,
                     .in = w.in,
                     .bits = w.bits,
                     .group_size = w.group_size,
                     .dtype = dtype_code(w.dtype),
                     .reserved = 0,
                     .data = bytes(w.data),
                     .scales = bytes(w.scales),
                     .biases = bytes(w.biases)},
          .bias = p.bias,
          .a = p.a,
          .b = p.b,
          .rank = p.rank,
          .scale = p.scale,
          .dropout = p.dropout,
          .dropout_key = p.dropout_key,
          .xa = p.xa,
          .y = p.y,
          .dy = p.dy,
          .da = p.da,
          .db = p.db};
}

struct Projections {
  explicit Projections(std::span<const LoraProjection> from) : count(static_cast<std::int64_t>(from.size())) {
    CHECK(from.size() <= kMaxProjections);
    for (std::size_t i = 0; i < from.size(); ++i) c[i] = c_projection(from[i]);
  }
  std::array<evolora_projection, kMaxProjections> c;
  std::int64_t count;
};

evolora_context c_context(KernelContext& context) {
  return {.threads = context.threads.count(),
          .reserved = 0,
          .workspace = reinterpret_cast<unsigned char*>(context.workspace),
          .workspace_bytes = context.workspace_bytes,
          .pool = &context.threads,
          .for_each = [](void* pool, std::size_t n, void (*body)(void*, std::size_t, int), void* arg) {
            static_cast<Threads*>(pool)->for_each(n, [&](std::size_t index, int worker) { body(arg, index, worker); });
          }};
}

}  // namespace

PackLibrary::~PackLibrary() { dlclose(handle_); }

Result<std::shared_ptr<const PackLibrary>> load_pack_library(const std::filesystem::path& path, const std::string& digest) {
  const auto failed = [&](const std::string& why) { return Error{ErrorCode::kDependency, fmt::format("{}: {}", path.string(), why)}; };
  // Local: the symbols of two packs must not be mixed. Absolute: a bare name would be looked for in the library path.
  void* const handle = dlopen(std::filesystem::absolute(path).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return failed(fmt::format("the compiled pack cannot be loaded: {}", dlerror()));
  PackFunctions f;
  find(handle, "evolora_lora_linear_forward", f.lora_linear_forward);
  find(handle, "evolora_lora_linear_forward_workspace_bytes", f.lora_linear_forward_workspace_bytes);
  find(handle, "evolora_lora_linear_backward", f.lora_linear_backward);
  find(handle, "evolora_lora_linear_backward_workspace_bytes", f.lora_linear_backward_workspace_bytes);
  int (*abi)() = nullptr;
  find(handle, "evolora_pack_abi", abi);
  std::shared_ptr<const PackLibrary> library(new PackLibrary(handle, f, digest));
  if (abi == nullptr) return failed("expected a compiled kernel pack, got a library without evolora_pack_abi");
  if (const int number = abi(); number != EVOLORA_PACK_ABI) {
    return failed(fmt::format("expected pack interface {}, got {}: delete the file, it is compiled again", EVOLORA_PACK_ABI, number));
  }
  const auto half = [](const auto& kernel, const auto& workspace) { return (kernel == nullptr) != (workspace == nullptr); };
  if (half(f.lora_linear_forward, f.lora_linear_forward_workspace_bytes)) {
    return failed("evolora_lora_linear_forward and evolora_lora_linear_forward_workspace_bytes: expected both, got one");
  }
  if (half(f.lora_linear_backward, f.lora_linear_backward_workspace_bytes)) {
    return failed("evolora_lora_linear_backward and evolora_lora_linear_backward_workspace_bytes: expected both, got one");
  }
  if (f == PackFunctions()) return failed("the pack defines no function of evolora_pack.h");
  return library;
}

KernelTable with_pack(KernelTable table, const std::shared_ptr<const PackLibrary>& pack) {
  const PackFunctions& functions = pack->functions();
  if (functions.lora_linear_forward != nullptr) {
    table.lora_linear_forward = [pack](const LoraLinearForward& args, KernelContext& context) {
      CHECK(args.arithmetic == Arithmetic::kFp32);
      const Projections projections(args.projections);
      const evolora_lora_linear_forward_args c{args.x, args.n, projections.c.data(), projections.count};
      evolora_context c_threads = c_context(context);
      pack->functions().lora_linear_forward(&c, &c_threads);
      for (std::int64_t i = 0; i < projections.count && context.applied != nullptr; ++i) context.applied->add_forward(Arithmetic::kFp32);
    };
    table.lora_linear_forward_workspace_bytes = [pack](const LoraLinearForward& args, int threads) {
      const Projections projections(args.projections);
      const evolora_lora_linear_forward_args c{args.x, args.n, projections.c.data(), projections.count};
      return pack->functions().lora_linear_forward_workspace_bytes(&c, threads);
    };
  }
  if (functions.lora_linear_backward != nullptr) {
    table.lora_linear_backward = [pack](const LoraLinearBackward& args, KernelContext& context) {
      CHECK(args.arithmetic == Arithmetic::kFp32);
      const Projections projections(args.projections);
      const evolora_lora_linear_backward_args c{args.x, args.n, projections.c.data(), projections.count, args.dx};
      evolora_context c_threads = c_context(context);
      pack->functions().lora_linear_backward(&c, &c_threads);
      if (args.dx == nullptr || context.applied == nullptr) return;
      for (std::int64_t i = 0; i < projections.count; ++i) context.applied->add_backward(Arithmetic::kFp32);
    };
    table.lora_linear_backward_workspace_bytes = [pack](const LoraLinearBackward& args, int threads) {
      const Projections projections(args.projections);
      const evolora_lora_linear_backward_args c{args.x, args.n, projections.c.data(), projections.count, args.dx};
      return pack->functions().lora_linear_backward_workspace_bytes(&c, threads);
    };
  }
  table.name = "mixed";
  return table;
}

std::string pack_service_name(const std::string& digest, bool forward, bool backward) {
  return "pack:" + digest.substr(0, 12) + (backward ? "" : " forward") + (forward ? "" : " backward");
}

}  // namespace evolora
