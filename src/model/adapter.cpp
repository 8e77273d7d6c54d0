// The adapter parameters: layout, mlx-lm's initialisation, and the exchange with adapter files.
#include "model/adapter.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/mlx_random.h"
#include "formats/adapter_files.h"

namespace evolora {
namespace {

constexpr std::int64_t kMaxRank = 4096;

struct LinearShape {
  std::int64_t in;
  std::int64_t out;
};

LinearShape linear_shape(const ModelSpec& spec, Projection projection) {
  switch (projection) {
    case Projection::kQ: return {spec.hidden_size, spec.query_width()};
    case Projection::kK:
    case Projection::kV: return {spec.hidden_size, spec.kv_width()};
    case Projection::kO: return {spec.query_width(), spec.hidden_size};
    case Projection::kGate:
    case Projection::kUp: return {spec.hidden_size, spec.intermediate_size};
    case Projection::kDown: return {spec.intermediate_size, spec.hidden_size};
  }
  CHECK(false);
}

// Which projections the keys select. mlx-lm silently ignores a key that names nothing; we say so, because such a run trains less than was asked for.
Result<std::vector<Projection>> selected_projections(const AdapterOptions& options) {
  std::vector<Projection> all;
  std::vector<std::string> names;
  for (int i = 0; i < kProjectionCount; ++i) {
    all.push_back(static_cast<Projection>(i));
    names.emplace_back(projection_path(static_cast<Projection>(i)));
  }
  if (!options.keys) return all;
  std::vector<Projection> chosen;
  for (const std::string& key : *options.keys) {
    const auto found = std::find(names.begin(), names.end(), key);
    if (found == names.end()) {
      const bool outside = key.find("lm_head") != std::string::npos || key.find("embed_tokens") != std::string::npos;
      return Error{outside ? ErrorCode::kUnsupported : ErrorCode::kUsage,
                   fmt::format("lora_parameters.keys: '{}' {}; valid keys: {}", key,
                               outside ? "is outside the blocks, adapters there are not supported" : "names no linear layer of a block",
                               fmt::join(names, ", "))};
    }
    const auto projection = static_cast<Projection>(found - names.begin());
    if (std::find(chosen.begin(), chosen.end(), projection) == chosen.end()) chosen.push_back(projection);
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

}  // namespace

Result<AdapterSet> AdapterSet::create(const ModelSpec& spec, const AdapterOptions& options) {
  if (options.num_layers > spec.num_layers) {
    return Error{ErrorCode::kUsage,
                 fmt::format("num_layers: requested to train {} layers but the model has only {}", options.num_layers, spec.num_layers)};
  }
  if (options.rank < 1 || options.rank > kMaxRank) {
    return Error{ErrorCode::kUsage, fmt::format("lora_parameters.rank: expected 1 to {}, got {}", kMaxRank, options.rank)};
  }
  if (!(options.dropout >= 0.0F && options.dropout < 1.0F)) {
    return Error{ErrorCode::kUsage, fmt::format("lora_parameters.dropout: expected 0 <= p < 1, got {}", options.dropout)};
  }
  if (!std::isfinite(options.scale)) return Error{ErrorCode::kUsage, "lora_parameters.scale: expected a finite number"};
  const std::vector<Projection> projections = TRY(selected_projections(options));

  AdapterSet set;
  set.options_ = options;
  set.model_layers_ = spec.num_layers;
  const std::int64_t count = options.num_layers <= 0 ? spec.num_layers : options.num_layers;
  std::size_t offset = 0;
  for (std::int64_t layer = spec.num_layers - count; layer < spec.num_layers; ++layer) {
    for (const Projection projection : projections) {
      const LinearShape shape = linear_shape(spec, projection);
      AdapterModule module{.layer = layer,
                           .projection = projection,
                           .path = fmt::format("model.layers.{}.{}", layer, projection_path(projection)),
                           .in = shape.in,
                           .out = shape.out,
                           .rank = options.rank,
                           .scale = options.scale,
                           .dropout = options.dropout,
                           .a_offset = offset,
                           .b_offset = 0,
                           .m_offset = {}};
      offset += static_cast<std::size_t>(shape.in * options.rank);
      module.b_offset = offset;
      offset += static_cast<std::size_t>(options.rank * shape.out);
      if (options.dora) {
        module.m_offset = offset;
        offset += static_cast<std::size_t>(shape.out);
      }
      set.modules_.push_back(std::move(module));
    }
  }
  set.parameters_.assign(offset, 0.0F);
  return set;
}

void AdapterSet::initialize(std::uint64_t seed) {
  std::fill(parameters_.begin(), parameters_.end(), 0.0F);
  // mlx-lm replaces modules in named_modules() order: a depth-first walk that visits the attribute set last first.
  static constexpr Projection kConversionOrder[] = {Projection::kUp, Projection::kDown, Projection::kGate, Projection::kO,
                                                    Projection::kV,  Projection::kK,    Projection::kQ};
  MlxRandom random(seed);
  for (std::int64_t layer = first_layer(); layer < model_layers_; ++layer) {
    for (const Projection projection : kConversionOrder) {
      const AdapterModule* module = find(layer, projection);
      if (module == nullptr) continue;
      random.next_key();  // the weight of the nn.Linear that mlx-lm creates and throws away
      // 1/sqrt(in) is a Python float (double) there; uniform() narrows the bounds to fp32.
      const double bound = 1.0 / std::sqrt(static_cast<double>(module->in));
      mlx_uniform(random.next_key(), static_cast<float>(-bound), static_cast<float>(bound),
                  std::span<float>(parameters_.data() + module->a_offset, static_cast<std::size_t>(module->in * module->rank)));
    }
  }
}

void AdapterSet::initialize_magnitudes(const ModelWeights& weights) {
  for (const AdapterModule& module : modules_) {
    if (!module.m_offset) continue;
    const std::vector<float> norms = row_norms(weights.layer(module.layer)[module.projection].weight);
    std::copy(norms.begin(), norms.end(), parameters_.begin() + static_cast<std::ptrdiff_t>(*module.m_offset));
  }
}

const AdapterModule* AdapterSet::find(std::int64_t layer, Projection projection) const {
  const auto key = std::pair(layer, projection);
  const auto found = std::lower_bound(modules_.begin(), modules_.end(), key,
                                      [](const AdapterModule& m, const auto& wanted) { return std::pair(m.layer, m.projection) < wanted; });
  if (found == modules_.end() || found->layer != layer || found->projection != projection) return nullptr;
  return &*found;
}

bool AdapterSet::has_dropout() const {
  return std::any_of(modules_.begin(), modules_.end(), [](const AdapterModule& module) { return module.dropout > 0; });
}

std::int64_t AdapterSet::first_layer() const { return modules_.empty() ? model_layers_ : modules_.front().layer; }

std::vector<TensorView> AdapterSet::tensors() const { return tensors_of(parameters_.data()); }

std::vector<TensorView> AdapterSet::tensors_of(const float* flat) const {
  std::vector<TensorView> out;
  for (const AdapterModule& m : modules_) {
    const auto view = [&](const char* leaf, std::size_t offset, std::vector<std::int64_t> shape) {
      std::size_t count = 1;
      for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
      const auto bytes = std::as_bytes(std::span<const float>(flat + offset, count));
      out.push_back(TensorView{.name = m.path + leaf, .dtype = DType::kF32, .shape = std::move(shape), .bytes = bytes});
    };
    view(".lora_a", m.a_offset, {m.in, m.rank});
    view(".lora_b", m.b_offset, {m.rank, m.out});
    if (m.m_offset) view(".m", *m.m_offset, {m.out});
  }
  std::sort(out.begin(), out.end(), [](const TensorView& a, const TensorView& b) { return a.name < b.name; });
  return out;
}

Status AdapterSet::load(const SafetensorsFile& file, const std::string& source) {
  const std::vector<TensorView> mine = tensors();
  for (const TensorView& theirs : file.tensors()) {
    const auto found =
        std::lower_bound(mine.begin(), mine.end(), theirs.name, [](const TensorView& t, const std::string& name) { return t.name < name; });
    if (found == mine.end() || found->name != theirs.name) {
      return Error{ErrorCode::kBadData, fmt::format("{}: tensor '{}' belongs to no adapted layer of this configuration", source, theirs.name)};
    }
    if (theirs.shape != found->shape) {
      return Error{ErrorCode::kBadData, fmt::format("{}: tensor '{}': expected shape [{}], got [{}]", source, theirs.name,
                                                    fmt::join(found->shape, ", "), fmt::join(theirs.shape, ", "))};
    }
    if (!dtype_is_float(theirs.dtype)) {
      return Error{ErrorCode::kBadData,
                   fmt::format("{}: tensor '{}': expected F32, F16 or BF16, got {}", source, theirs.name, dtype_name(theirs.dtype))};
    }
    const std::size_t offset = static_cast<std::size_t>(reinterpret_cast<const float*>(found->bytes.data()) - parameters_.data());
    for (std::size_t i = 0; i < static_cast<std::size_t>(found->element_count()); ++i) {
      parameters_[offset + i] = load_float(theirs.dtype, theirs.bytes.data(), i);
    }
  }
  return {};
}

Status AdapterSet::save(FileSystem& files, const fs::path& path) const { return write_safetensors(files, path, tensors(), std::nullopt); }

Result<AdapterSet> load_adapter_folder(FileSystem& files, const fs::path& folder, const ModelSpec& spec) {
  const AdapterFileConfig config = TRY(read_adapter_config(files, folder));
  AdapterOptions options{.num_layers = config.num_layers, .rank = config.rank, .scale = config.scale, .dropout = config.dropout, .keys = config.keys};
  AdapterSet set = TRY(AdapterSet::create(spec, options));
  const SafetensorsFile file = TRY(read_adapter_weights(files, folder));
  TRY(set.load(file, (folder / "adapters.safetensors").string()));
  return set;
}

}  // namespace evolora
