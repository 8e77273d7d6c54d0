// Builds the program for a batch's shape, keeps the last few, and runs it over the arena.
#include "engine/training_engine.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "base/check.h"
#include "engine/batch_split.h"
#include "engine/cost_model.h"
#include "engine/step_program.h"
#include "engine/supervised_rows.h"

namespace evolora {
namespace {

enum class ProgramKind { kTraining, kLoss };

// Two batches with equal keys have the same program.
struct ProgramKey {
  ProgramKind kind;
  PrefixUse prefix;
  std::int64_t supervised;
  std::int32_t shared;
  std::vector<std::int32_t> segment_starts;
  auto operator<=>(const ProgramKey&) const = default;
};

ProgramKey key_of(ProgramKind kind, PrefixUse prefix, const Batch& batch) {
  return {
      .kind = kind, .prefix = prefix, .supervised = batch.supervised_count(), .shared = batch.shared_tokens, .segment_starts = batch.segment_starts};
}

// A fixed batch size cycles through few shapes when rows have one length, and never repeats when they do not: a small cache serves both.
constexpr std::size_t kCachedPrograms = 16;

// Builds programs: all that does not change from batch to batch.
struct ProgramFactory {
  const ModelWeights& weights;
  const AdapterSet& adapters;
  Recipe recipe;
  KernelTable kernels;
  int threads;

  ProgramInputs inputs(const Batch& batch, std::span<const AttentionSegment> segments) const {
    return {.weights = weights,
            .adapters = &adapters,
            .recipe = recipe,
            .kernels = kernels,
            .threads = threads,
            .batch = batch,
            .planning_bindings = {.batch = &batch, .segments = segments}};
  }

  std::vector<Batch> pieces(const Batch& batch) const { return split_batch(batch, recipe.micro_batch_tokens, shares_prefixes(recipe, adapters)); }

  Program build(ProgramKind kind, PrefixUse prefix, const Batch& batch) const {
    const std::vector<AttentionSegment> segments = training_segments(batch);
    ProgramInputs in = inputs(batch, segments);
    in.prefix = prefix;
    in.apply_dropout = kind == ProgramKind::kTraining;
    in.supervised_rows_only = picks_supervised_rows(batch, adapters);
    return kind == ProgramKind::kTraining ? build_training_program(in) : build_loss_program(in);
  }
};

ProgramFactory factory(const ModelWeights& weights, const AdapterSet& adapters, const Recipe& recipe, int threads) {
  return {
      .weights = weights, .adapters = adapters, .recipe = recipe, .kernels = select_kernels(recipe.kernels, recipe.pack.library), .threads = threads};
}

}  // namespace

struct ArenaPlanner::Impl {
  ProgramFactory programs;
  bool use_prefix_store;
  std::set<std::int64_t> seen{};  // samples that the prefix cache has
  std::set<ProgramKey> built{};   // shapes already looked at
  std::size_t arena_bytes = 0;

  PrefixUse prefix_of(const Batch& piece) {
    if (!use_prefix_store || !PrefixStore::can_hold(piece)) return PrefixUse::kCompute;
    const auto known = [&](std::int64_t sample) { return seen.contains(sample); };
    if (std::all_of(piece.segment_samples.begin(), piece.segment_samples.end(), known)) return PrefixUse::kLoad;
    seen.insert(piece.segment_samples.begin(), piece.segment_samples.end());
    return PrefixUse::kStore;
  }
};

ArenaPlanner::ArenaPlanner(const ModelWeights& weights, const AdapterSet& adapters, const Recipe& recipe, int threads, bool use_prefix_store)
    : impl_(new Impl{.programs = factory(weights, adapters, recipe, threads), .use_prefix_store = use_prefix_store}) {}

ArenaPlanner::~ArenaPlanner() = default;

void ArenaPlanner::add(const Batch& batch, bool training) {
  const ProgramKind kind = training ? ProgramKind::kTraining : ProgramKind::kLoss;
  for (const Batch& piece : impl_->programs.pieces(batch)) {
    const PrefixUse prefix = impl_->prefix_of(piece);
    if (!impl_->built.insert(key_of(kind, prefix, piece)).second) continue;
    impl_->arena_bytes = std::max(impl_->arena_bytes, impl_->programs.build(kind, prefix, piece).arena_bytes());
  }
}

std::size_t ArenaPlanner::arena_bytes() const { return impl_->arena_bytes; }

struct TrainingEngine::Impl {
  ProgramFactory factory;
  Threads& threads;
  Arena arena{};
  CallCounts counts{};
  RunOptions options{};
  std::size_t peak_arena_bytes = 0;
  double necessary_flops = 0;
  std::map<ProgramKey, Program> programs{};
  std::optional<PrefixStore> prefix{};

  const Program& program_for(ProgramKind kind, PrefixUse use, const Batch& batch) {
    ProgramKey key = key_of(kind, use, batch);
    const auto found = programs.find(key);
    if (found != programs.end()) return found->second;
    if (programs.size() >= kCachedPrograms) programs.clear();
    return programs.emplace(std::move(key), factory.build(kind, use, batch)).first->second;
  }

  PrefixUse prefix_use(const Batch& batch) const {
    if (!prefix || !prefix->accepts(batch)) return PrefixUse::kCompute;
    return prefix->covers(batch) ? PrefixUse::kLoad : PrefixUse::kStore;
  }

  void run(const Program& program, const Bindings& bindings) {
    arena.reserve(program.arena_bytes());
    peak_arena_bytes = std::max(peak_arena_bytes, program.run(bindings, arena, threads, counts, options));
  }

  double run_piece(ProgramKind kind, const Batch& piece, Bindings bindings) {
    const std::vector<AttentionSegment> segments = training_segments(piece);
    double loss = 0;
    bindings.batch = &piece;
    bindings.segments = segments;
    bindings.loss_sum = &loss;
    bindings.prefix = prefix ? &*prefix : nullptr;
    const PrefixUse use = prefix_use(piece);
    run(program_for(kind, use, piece), bindings);
    if (kind == ProgramKind::kTraining) {
      necessary_flops += cost_of_pass(factory.weights, factory.adapters, factory.recipe, piece, true, use == PrefixUse::kLoad).necessary;
    }
    return loss;
  }
};

TrainingEngine::TrainingEngine(const ModelWeights& weights, AdapterSet& adapters, const Recipe& recipe, Threads& threads)
    : impl_(new Impl{.factory = factory(weights, adapters, recipe, threads.count()), .threads = threads}),
      gradients_(adapters.parameter_count(), 0.0F) {}

TrainingEngine::~TrainingEngine() = default;

void TrainingEngine::use_prefix_store(PrefixStore store) { impl_->prefix.emplace(std::move(store)); }
const PrefixStore* TrainingEngine::prefix_store() const { return impl_->prefix ? &*impl_->prefix : nullptr; }

std::size_t TrainingEngine::arena_bytes_for(const Batch& batch, bool training) const {
  const ProgramFactory& programs = impl_->factory;
  ArenaPlanner planner(programs.weights, programs.adapters, programs.recipe, programs.threads, impl_->prefix.has_value());
  planner.add(batch, training);
  return planner.arena_bytes();
}

void TrainingEngine::reserve(std::size_t arena_bytes) {
  planned_arena_bytes_ = std::max(planned_arena_bytes_, arena_bytes);
  impl_->arena.reserve(arena_bytes);
}

double TrainingEngine::forward_backward(const Batch& batch, double loss_scale, std::uint64_t dropout_seed) {
  CHECK(batch.supervised_count() > 0);
  double total = 0;
  std::uint64_t piece_seed = dropout_seed;
  for (const Batch& piece : impl_->factory.pieces(batch)) {
    total += impl_->run_piece(ProgramKind::kTraining, piece,
                              {.loss_scale = static_cast<float>(loss_scale), .dropout_seed = piece_seed++, .gradients = gradients_.data()});
  }
  return total;
}

double TrainingEngine::loss_sum(const Batch& batch) {
  CHECK(batch.supervised_count() > 0);
  double total = 0;
  for (const Batch& piece : impl_->factory.pieces(batch)) total += impl_->run_piece(ProgramKind::kLoss, piece, {});
  return total;
}

void TrainingEngine::logits(const Batch& batch, std::span<const std::int32_t> rows, float* out) {
  const std::vector<AttentionSegment> segments = training_segments(batch);
  const Program program = build_logits_program(impl_->factory.inputs(batch, segments), static_cast<std::int64_t>(rows.size()));
  impl_->run(program, {.batch = &batch, .segments = segments, .logits_rows = rows, .logits = out});
}

void TrainingEngine::zero_gradients() { std::fill(gradients_.begin(), gradients_.end(), 0.0F); }

std::size_t TrainingEngine::peak_arena_bytes() const { return impl_->peak_arena_bytes; }
double TrainingEngine::necessary_flops() const { return impl_->necessary_flops; }
const CallCounts& TrainingEngine::call_counts() const { return impl_->counts; }
void TrainingEngine::poison_buffers(bool on) { impl_->options.poison = on; }

}  // namespace evolora
