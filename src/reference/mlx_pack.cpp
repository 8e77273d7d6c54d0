// dlopen, and the trial of a slot on one linear.
#include "reference/mlx_pack.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <mlx/version.h>

#include "kernels/pack/evolora_mlx_pack.h"

namespace evolora {
namespace {

using Arrays = std::vector<mx::array>;

template <typename Function>
void find(void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(handle, name));
}

evolora_mlx::Weight weight_of(const MlxWeight& weight) {
  return {.values = weight.data,
          .scales = weight.scales,
          .biases = weight.biases,
          .bits = weight.bits,
          .group_size = weight.group_size,
          .out = mlx_dim(weight.out),
          .in = mlx_dim(weight.in)};
}

mx::Dtype type_of(const MlxWeight& weight) { return weight.quantized() ? weight.scales->dtype() : weight.data.dtype(); }

std::string wrong(const char* what, const mx::array& got, const mx::array& expected) {
  if (got.shape() == expected.shape() && got.dtype() == expected.dtype()) return "";
  return fmt::format("its {} has shape ({}) and {} bytes an element, expected ({}) and {}", what,
                     fmt::join(got.shape().begin(), got.shape().end(), ", "), got.itemsize(),
                     fmt::join(expected.shape().begin(), expected.shape().end(), ", "), expected.itemsize());
}

}  // namespace

Result<std::shared_ptr<const MlxPack>> MlxPack::load(const std::filesystem::path& library, const std::string& name) {
  const auto failed = [&](const std::string& why) { return Error{ErrorCode::kDependency, fmt::format("{}: {}", library.string(), why)}; };
  void* const handle = dlopen(std::filesystem::absolute(library).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return failed(fmt::format("the compiled pack cannot be loaded: {}", dlerror()));
  int (*abi)() = nullptr;
  int (*mlx_version)() = nullptr;
  find(handle, "evolora_mlx_pack_abi", abi);
  find(handle, "evolora_mlx_pack_mlx_version", mlx_version);
  if (abi == nullptr || mlx_version == nullptr) return failed("expected a compiled kernel pack for mlx, got another library");
  if (abi() != EVOLORA_MLX_PACK_ABI) {
    return failed(fmt::format("expected pack interface {}, got {}: delete the file, it is compiled again", EVOLORA_MLX_PACK_ABI, abi()));
  }
  if (mlx_version() != MLX_VERSION_NUMERIC) {
    return failed(
        fmt::format("expected a pack compiled against MLX {}, got {}: delete the file, it is compiled again", MLX_VERSION_NUMERIC, mlx_version()));
  }
  Slot lora;
  Slot dora;
  find(handle, "evolora_mlx_lora_linear", lora.function);
  find(handle, "evolora_mlx_lora_linear_prepare", lora.prepare);
  find(handle, "evolora_mlx_dora_linear", dora.function);
  find(handle, "evolora_mlx_dora_linear_prepare", dora.prepare);
  if (lora.function == nullptr && dora.function == nullptr) return failed("the pack defines no function of evolora_mlx_pack.h");
  return std::shared_ptr<const MlxPack>(new MlxPack(name, lora, dora));
}

mx::array MlxPack::traced(const mx::array& x, const MlxLinear& layer, const MlxAdapter& adapter, const MlxPrepared& prepared) const {
  const evolora_mlx::Linear linear{.weight = weight_of(layer.weight),
                                   .bias = layer.bias,
                                   .a = adapter.a,
                                   .b = adapter.b,
                                   .m = adapter.m,
                                   .scale = adapter.scale,
                                   .prepared = prepared};
  return (adapter.m ? dora_ : lora_).function(x, linear);
}

MlxPrepared MlxPack::prepare(const MlxLinear& layer, bool dora) const {
  const Slot& slot = dora ? dora_ : lora_;
  MlxPrepared prepared = slot.prepare == nullptr ? MlxPrepared() : slot.prepare(weight_of(layer.weight));
  mx::eval(prepared);
  return prepared;
}

std::string MlxPack::why_not(const MlxLinear& layer, std::int64_t rank, bool dora, MlxPrepared& prepared) const {
  if (!serves(dora)) return dora ? "it has no dora_linear" : "it has no lora_linear";
  try {
    prepared = prepare(layer, dora);
    const mx::Dtype dtype = type_of(layer.weight);
    const mx::ShapeElem in = mlx_dim(layer.weight.in), out = mlx_dim(layer.weight.out), r = mlx_dim(rank);
    Arrays primals = {mx::zeros({1, 1, in}, dtype), mx::zeros({in, r}, mx::float32), mx::zeros({r, out}, mx::float32)};
    if (dora) primals.push_back(mx::ones({out}, mx::float32));
    const auto run = [&](const Arrays& p) -> Arrays {
      return {traced(p[0], layer, {p[1], p[2], dora ? std::optional(p[3]) : std::nullopt, 1.0F}, prepared)};
    };
    const mx::array y = mx::zeros({1, 1, out}, dtype);
    // Asked for once without gradients: mx::vjp would say less clearly what is wrong with a result.
    if (std::string problem = wrong("result", run(primals)[0], y); !problem.empty()) return problem;
    const auto [results, gradients] = mx::vjp(run, primals, {y});
    for (std::size_t i = 0; i < primals.size(); ++i) {
      constexpr const char* kNames[] = {"gradient of x", "gradient of a", "gradient of b", "gradient of m"};
      if (std::string problem = wrong(kNames[i], gradients[i], primals[i]); !problem.empty()) return problem;
    }
    Arrays all = results;
    all.insert(all.end(), gradients.begin(), gradients.end());
    mx::eval(all);
    return "";
  } catch (const std::exception& e) {
    prepared.clear();
    return fmt::format("MLX: {}", e.what());
  }
}

mx::array MlxPack::call(const mx::array& x, const MlxLinear& layer, const MlxAdapter& adapter, const MlxPrepared& prepared,
                        const std::function<void()>& on_backward) const {
  const auto same = [](const Arrays& in) { return in; };
  const auto pass_on = [on_backward](const Arrays&, const Arrays& cotangents, const Arrays&) {
    on_backward();
    return cotangents;
  };
  return mx::custom_vjp(same, pass_on)(Arrays{traced(x, layer, adapter, prepared)})[0];
}

}  // namespace evolora
