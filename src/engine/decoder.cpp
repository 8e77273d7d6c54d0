// Token-by-token generation over the same block program, with keys and values in a cache.
#include "engine/decoder.h"

#include <map>

#include "base/check.h"
#include "engine/step_program.h"

namespace evolora {
namespace {
// Prompts are fed in pieces of this many tokens, so that the arena does not grow with the prompt.
constexpr std::int64_t kPrefillTokens = 512;
}  // namespace

struct Decoder::Impl {
  const ModelWeights& weights;
  const AdapterSet* adapters;
  Recipe recipe;
  KernelTable kernels;
  Threads& threads;
  std::int64_t capacity;
  std::int64_t cached = 0;
  std::vector<float> keys{};
  std::vector<float> values{};
  std::vector<float> logits{};
  Arena arena{};
  CallCounts counts{};
  std::map<std::int64_t, Program> programs{};  // by token count: pieces of a prompt, then 1

  void feed_piece(std::span<const std::int32_t> tokens) {
    const auto n = static_cast<std::int64_t>(tokens.size());
    Batch batch;
    batch.tokens.assign(tokens.begin(), tokens.end());
    for (std::int64_t i = 0; i < n; ++i) batch.positions.push_back(static_cast<std::int32_t>(cached + i));
    batch.segment_starts = {0, static_cast<std::int32_t>(n)};
    const AttentionSegment segment{.q_start = 0, .q_length = n, .kv_start = 0, .kv_length = cached + n};
    const std::int32_t last_row = static_cast<std::int32_t>(n - 1);
    const Bindings bindings{.batch = &batch,
                            .segments = {&segment, 1},
                            .logits_rows = {&last_row, 1},
                            .logits = logits.data(),
                            .key_cache = keys.data(),
                            .value_cache = values.data(),
                            .cache_capacity = capacity,
                            .past_tokens = cached};
    auto found = programs.find(n);
    if (found == programs.end()) {
      // Scratch is sized for the longest context this decoder will see.
      const AttentionSegment longest{.q_start = 0, .q_length = n, .kv_start = 0, .kv_length = capacity};
      Bindings planning = bindings;
      planning.segments = {&longest, 1};
      planning.past_tokens = 0;
      const ProgramInputs inputs{.weights = weights,
                                 .adapters = adapters,
                                 .recipe = recipe,
                                 .kernels = kernels,
                                 .threads = threads.count(),
                                 .batch = batch,
                                 .planning_bindings = planning,
                                 .apply_dropout = false,
                                 .use_cache = true};
      found = programs.emplace(n, build_logits_program(inputs, 1)).first;
    }
    arena.reserve(found->second.arena_bytes());
    found->second.run(bindings, arena, threads, counts, {});
    cached += n;
  }
};

Decoder::Decoder(const ModelWeights& weights, const AdapterSet* adapters, const Recipe& recipe, Threads& threads, std::int64_t capacity_tokens)
    : impl_(new Impl{.weights = weights,
                     .adapters = adapters,
                     .recipe = recipe,
                     .kernels = select_kernels(recipe.kernels, recipe.pack.library),
                     .threads = threads,
                     .capacity = capacity_tokens}) {
  const ModelSpec& spec = weights.spec();
  const auto cache_size = static_cast<std::size_t>(spec.num_layers * capacity_tokens * spec.kv_width());
  impl_->keys.resize(cache_size);
  impl_->values.resize(cache_size);
  impl_->logits.resize(static_cast<std::size_t>(spec.vocab_size));
}

Decoder::~Decoder() = default;

std::span<const float> Decoder::feed(std::span<const std::int32_t> tokens) {
  CHECK(!tokens.empty() && impl_->cached + static_cast<std::int64_t>(tokens.size()) <= impl_->capacity);
  while (!tokens.empty()) {
    const std::size_t count = std::min(tokens.size(), static_cast<std::size_t>(kPrefillTokens));
    impl_->feed_piece(tokens.first(count));
    tokens = tokens.subspan(count);
  }
  return impl_->logits;
}

std::int64_t Decoder::cached_tokens() const { return impl_->cached; }
void Decoder::reset() { impl_->cached = 0; }

}  // namespace evolora
