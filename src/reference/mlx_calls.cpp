// Adding up, and the counts as JSON.
#include "reference/mlx_calls.h"

#include "base/check.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array kLinearWords = {MlxLoraLinear::kStandard, MlxLoraLinear::kOptimized, MlxLoraLinear::kGrouped, MlxLoraLinear::kPack};
constexpr std::array kSwigluWords = {MlxSwiglu::kStandard, MlxSwiglu::kOptimized};
constexpr std::array kHeadWords = {MlxHeadLoss::kStandard, MlxHeadLoss::kOptimized};

void add_to(MlxCallCount& sum, const MlxCallCount& more) {
  sum.forward += more.forward;
  sum.backward += more.backward;
}

template <std::size_t N>
void add_to(std::array<MlxCallCount, N>& sums, const std::array<MlxCallCount, N>& more) {
  for (std::size_t i = 0; i < N; ++i) add_to(sums[i], more[i]);
}

bool ran(const MlxCallCount& count) { return count.forward + count.backward > 0; }

}  // namespace

MlxCalls::MlxCalls(std::int64_t layers, const AdapterSet& adapters, std::string pack_name)
    : first_adapted_(adapters.first_layer()), pack_name_(std::move(pack_name)), layers_(static_cast<std::size_t>(layers)) {}

void MlxCalls::add_autodiff_backward() {
  constexpr auto kStandard = static_cast<std::size_t>(MlxLoraLinear::kStandard);
  for (auto i = static_cast<std::size_t>(first_adapted_); i < layers_.size(); ++i) {
    for (auto& kinds : layers_[i].linears) kinds[kStandard].backward += kinds[kStandard].forward > 0 ? 1 : 0;
    MlxCallCount& swiglu = layers_[i].swiglu[static_cast<std::size_t>(MlxSwiglu::kStandard)];
    swiglu.backward += swiglu.forward > 0 ? 1 : 0;
  }
  for (MlxCallCount& count : head_loss_) count.backward += count.forward > 0 ? 1 : 0;
}

void MlxCalls::add(const MlxCalls& traced) {
  CHECK(traced.layers_.size() == layers_.size());
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    for (std::size_t p = 0; p < layers_[i].linears.size(); ++p) add_to(layers_[i].linears[p], traced.layers_[i].linears[p]);
    add_to(layers_[i].swiglu, traced.layers_[i].swiglu);
    layers_[i].frozen += traced.layers_[i].frozen;
  }
  add_to(head_loss_, traced.head_loss_);
}

void MlxCalls::clear() {
  for (Layer& layer : layers_) layer = {};
  head_loss_ = {};
}

Json MlxCalls::to_json() const {
  Json served = {{"lora_linear", Json::object()}, {"swiglu", Json::object()}, {"head_loss", Json::object()}};
  const auto serve = [&](const char* slot, const std::string& name) { served[slot][name] = served[slot].value(name, 0) + 1; };
  Json layers = Json::array();
  MlxCallCount all_linears;
  MlxCallCount all_swiglus;
  MlxCallCount all_heads;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    const bool adapted = static_cast<std::int64_t>(i) >= first_adapted_;
    MlxCallCount linears{.forward = layer.frozen, .backward = 0};
    MlxCallCount swiglus;
    for (std::size_t kind = 0; kind < kLinearKinds; ++kind) {
      MlxCallCount of_kind;
      for (const auto& kinds : layer.linears) add_to(of_kind, kinds[kind]);
      if (adapted && ran(of_kind)) serve("lora_linear", kLinearWords[kind] == MlxLoraLinear::kPack ? pack_name_ : word(kLinearWords[kind]));
      add_to(linears, of_kind);
    }
    for (std::size_t kind = 0; kind < layer.swiglu.size(); ++kind) {
      if (adapted && ran(layer.swiglu[kind])) serve("swiglu", word(kSwigluWords[kind]));
      add_to(swiglus, layer.swiglu[kind]);
    }
    layers.push_back({{"lora_linear", {linears.forward, linears.backward}}, {"swiglu", {swiglus.forward, swiglus.backward}}});
    add_to(all_linears, linears);
    add_to(all_swiglus, swiglus);
  }
  for (std::size_t kind = 0; kind < head_loss_.size(); ++kind) {
    if (ran(head_loss_[kind])) serve("head_loss", word(kHeadWords[kind]));
    add_to(all_heads, head_loss_[kind]);
  }
  const auto calls = [](const MlxCallCount& count) { return Json{{"forward", count.forward}, {"backward", count.backward}}; };
  return {{"served", served},
          {"calls", {{"lora_linear", calls(all_linears)}, {"swiglu", calls(all_swiglus)}, {"head_loss", calls(all_heads)}}},
          {"layers", layers}};
}

}  // namespace evolora
