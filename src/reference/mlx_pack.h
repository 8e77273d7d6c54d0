// A compiled kernel pack for target mlx inside this process (interface: kernels/pack/evolora_mlx_pack.h), asked linear by linear whether it applies.
// The pack's code runs with all rights of this process.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "reference/mlx_lora.h"

namespace evolora_mlx {
struct Linear;
struct Weight;
}  // namespace evolora_mlx

namespace evolora {

// What a pack prepared for one linear's frozen weight, evaluated.
using MlxPrepared = std::vector<mx::array>;

// Immutable; stays loaded, because MLX may call functions of the pack as long as graphs live.
class MlxPack {
 public:
  // library: what compile_pack made. name: for records. kDependency: it cannot be loaded, has another ABI number or was compiled against another MLX
  // than the one at hand, or defines no slot.
  static Result<std::shared_ptr<const MlxPack>> load(const std::filesystem::path& library, const std::string& name);

  const std::string& name() const { return name_; }
  // dora: slot dora_linear, else lora_linear.
  bool serves(bool dora) const { return (dora ? dora_ : lora_).function != nullptr; }

  // What the pack wants to keep of a linear's weight, evaluated; empty if it has no such function. The slot must be served. Throws what MLX throws.
  MlxPrepared prepare(const MlxLinear& layer, bool dora) const;

  // Runs the slot forward and backward on zeros of one row. Empty if what comes back has the right shapes and types; else why this linear cannot be
  // the pack's. prepared: what call() wants.
  std::string why_not(const MlxLinear& layer, std::int64_t rank, bool dora, MlxPrepared& prepared) const;

  // x (..., in) -> (..., out). Throws what MLX or the pack throws. on_backward is called whenever MLX asks for the gradient of the result's inputs.
  mx::array call(const mx::array& x, const MlxLinear& layer, const MlxAdapter& adapter, const MlxPrepared& prepared,
                 const std::function<void()>& on_backward) const;

 private:
  using Function = mx::array (*)(const mx::array&, const evolora_mlx::Linear&);
  using Prepare = std::vector<mx::array> (*)(const evolora_mlx::Weight&);
  struct Slot {
    Function function = nullptr;
    Prepare prepare = nullptr;
  };
  MlxPack(std::string name, Slot lora, Slot dora) : name_(std::move(name)), lora_(lora), dora_(dora) {}
  mx::array traced(const mx::array& x, const MlxLinear& layer, const MlxAdapter& adapter, const MlxPrepared& prepared) const;

  std::string name_;
  Slot lora_, dora_;
};

}  // namespace evolora
