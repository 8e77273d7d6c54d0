// LoRA adapters (Hu et al. 2021, arXiv 2106.09685) on the linears of a model: y = W x + scale * B^T (A^T drop(x)), with lora_a (in, r), lora_b (r,
// out), fp32. DoRA (Liu et al. 2024, arXiv 2402.09353) has a magnitude m (out) besides: y = m / |W + scale * B^T A^T|_row * (the same), + bias.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/file_system.h"
#include "formats/safetensors.h"
#include "model/weights.h"

namespace evolora {

struct AdapterOptions {
  std::int64_t num_layers = 16;  // last N blocks; <= 0: all
  std::int64_t rank = 8;
  float scale = 20.0F;
  float dropout = 0.0F;
  std::optional<std::vector<std::string>> keys;  // block-relative paths; nullopt: all seven linears
  bool dora = false;
};

// One adapted linear. Its parameters lie in the set's flat buffer: lora_a (in, r) at a_offset, then lora_b (r, out) at b_offset, for DoRA then m
// (out).
struct AdapterModule {
  std::int64_t layer = 0;
  Projection projection = Projection::kQ;
  std::string path;  // "model.layers.3.self_attn.q_proj"
  std::int64_t in = 0;
  std::int64_t out = 0;
  std::int64_t rank = 0;
  float scale = 0;
  float dropout = 0;
  std::size_t a_offset = 0;
  std::size_t b_offset = 0;
  std::optional<std::size_t> m_offset;  // DoRA only
};

// Modules in order of (layer, projection). Movable; the flat buffer is stable for the life of the object.
class AdapterSet {
 public:
  AdapterSet() = default;
  // No adapters at all if none match. Errors: kUsage for num_layers above the model's, rank < 1, dropout outside [0, 1), a key that names no linear
  // of the block (the message lists the valid ones; embed_tokens and lm_head are named as not supported).
  static Result<AdapterSet> create(const ModelSpec& spec, const AdapterOptions& options);

  // mlx-lm's initialisation: lora_b = 0, lora_a uniform in +-1/sqrt(in) from mx.random.seed(seed), same draw order, bit-exact (contract 1.4).
  void initialize(std::uint64_t seed);
  // DoRA: m becomes the row norms of the frozen weights, as mlx-lm's DoRALinear.set_linear (in fp64, rounded once). Nothing without DoRA.
  void initialize_magnitudes(const ModelWeights& weights);

  const std::vector<AdapterModule>& modules() const { return modules_; }
  const AdapterModule* find(std::int64_t layer, Projection projection) const;  // nullptr: not adapted
  std::int64_t first_layer() const;                                            // lowest adapted layer; spec.num_layers if there is none
  bool has_dropout() const;                                                    // on any of them
  const AdapterOptions& options() const { return options_; }

  std::size_t parameter_count() const { return parameters_.size(); }
  float* parameters() { return parameters_.data(); }
  const float* parameters() const { return parameters_.data(); }

  // Names and shapes as mlx-lm stores them: "<path>.lora_a", "<path>.lora_b", "<path>.m", ordered by name. Views into parameters().
  std::vector<TensorView> tensors() const;
  // Same, of another flat buffer with the same layout (gradients, optimizer moments).
  std::vector<TensorView> tensors_of(const float* flat) const;
  // Copies tensors of a file into parameters(). kBadData naming the tensor: unknown name, wrong shape or dtype. A subset is allowed, as in mlx-lm.
  Status load(const SafetensorsFile& file, const std::string& source);
  // Writes adapters.safetensors-style file, bytes as mlx-lm orders names (sorted) and metadata.
  Status save(FileSystem& files, const fs::path& path) const;

 private:
  AdapterOptions options_;
  std::int64_t model_layers_ = 0;
  std::vector<AdapterModule> modules_;
  std::vector<float> parameters_;
};

// An adapter folder (adapter_config.json + adapters.safetensors) for this model.
Result<AdapterSet> load_adapter_folder(FileSystem& files, const fs::path& folder, const ModelSpec& spec);

}  // namespace evolora
