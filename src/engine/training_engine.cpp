// Builds the program for a batch's shape, keeps the last few, and runs it over the arena.
#include "engine/training_engine.h"

#include <algorithm>
#include <map>

#include "base/check.h"
#include "engine/batch_split.h"
#include "engine/step_program.h"

namespace evolora {
namespace {

enum class ProgramKind { kTraining, kLoss };

// Two batches with equal keys have the same program.
struct ProgramKey {
  ProgramKind kind;
  std::int64_t supervised;
  std::vector<std::int32_t> segment_starts;
  auto operator<=>(const ProgramKey&) const = default;
};

// A fixed batch size cycles through few shapes when rows have one length, and never repeats when they do not: a small cache serves both.
constexpr std::size_t kCachedPrograms = 16;

const KernelTable& kernels_of(const Recipe& recipe) { return recipe.kernels == KernelSet::kReference ? reference_kernels() : cpu_kernels(); }

}  // namespace

struct TrainingEngine::Impl {
  const ModelWeights& weights;
  AdapterSet& adapters;
  Recipe recipe;
  Threads& threads;
  Arena arena{};
  CallCounts counts{};
  RunOptions options{};
  std::size_t peak_arena_bytes = 0;
  std::map<ProgramKey, Program> programs{};

  ProgramInputs inputs(const Batch& batch, std::span<const AttentionSegment> segments, bool training) const {
    return {.weights = weights,
            .adapters = &adapters,
            .kernels = kernels_of(recipe),
            .threads = threads.count(),
            .batch = batch,
            .planning_bindings = {.batch = &batch, .segments = segments},
            .apply_dropout = training};
  }

  Program build(ProgramKind kind, const Batch& batch) const {
    const std::vector<AttentionSegment> segments = training_segments(batch);
    const bool training = kind == ProgramKind::kTraining;
    const ProgramInputs in = inputs(batch, segments, training);
    return training ? build_training_program(in, recipe) : build_loss_program(in, recipe);
  }

  const Program& program_for(ProgramKind kind, const Batch& batch) {
    const ProgramKey key{.kind = kind, .supervised = batch.supervised_count(), .segment_starts = batch.segment_starts};
    const auto found = programs.find(key);
    if (found != programs.end()) return found->second;
    if (programs.size() >= kCachedPrograms) programs.clear();
    return programs.emplace(key, build(kind, batch)).first->second;
  }

  void run(const Program& program, const Bindings& bindings) {
    arena.reserve(program.arena_bytes());
    peak_arena_bytes = std::max(peak_arena_bytes, program.run(bindings, arena, threads, counts, options));
  }
};

BatchShape shape_of(const Batch& batch) {
  BatchShape shape{.tokens = batch.token_count(), .supervised = batch.supervised_count(), .segments = batch.segment_count()};
  for (std::size_t s = 0; s + 1 < batch.segment_starts.size(); ++s) {
    shape.longest_segment = std::max<std::int64_t>(shape.longest_segment, batch.segment_starts[s + 1] - batch.segment_starts[s]);
  }
  return shape;
}

TrainingEngine::TrainingEngine(const ModelWeights& weights, AdapterSet& adapters, const Recipe& recipe, Threads& threads)
    : impl_(new Impl{.weights = weights, .adapters = adapters, .recipe = recipe, .threads = threads}), gradients_(adapters.parameter_count(), 0.0F) {}

TrainingEngine::~TrainingEngine() = default;

std::size_t TrainingEngine::arena_bytes_for(const Batch& batch, bool training) {
  std::size_t bytes = 0;
  for (const Batch& piece : split_batch(batch, impl_->recipe.micro_batch_tokens)) {
    bytes = std::max(bytes, impl_->build(training ? ProgramKind::kTraining : ProgramKind::kLoss, piece).arena_bytes());
  }
  return bytes;
}

void TrainingEngine::reserve(std::size_t arena_bytes) {
  planned_arena_bytes_ = std::max(planned_arena_bytes_, arena_bytes);
  impl_->arena.reserve(arena_bytes);
}

double TrainingEngine::forward_backward(const Batch& batch, double loss_scale, std::uint64_t dropout_seed) {
  CHECK(batch.supervised_count() > 0);
  double total = 0;
  std::uint64_t piece_seed = dropout_seed;
  for (const Batch& piece : split_batch(batch, impl_->recipe.micro_batch_tokens)) {
    const std::vector<AttentionSegment> segments = training_segments(piece);
    double loss = 0;
    const Bindings bindings{.batch = &piece,
                            .segments = segments,
                            .loss_scale = static_cast<float>(loss_scale),
                            .dropout_seed = piece_seed++,
                            .gradients = gradients_.data(),
                            .loss_sum = &loss};
    impl_->run(impl_->program_for(ProgramKind::kTraining, piece), bindings);
    total += loss;
  }
  return total;
}

double TrainingEngine::loss_sum(const Batch& batch) {
  CHECK(batch.supervised_count() > 0);
  double total = 0;
  for (const Batch& piece : split_batch(batch, impl_->recipe.micro_batch_tokens)) {
    const std::vector<AttentionSegment> segments = training_segments(piece);
    double loss = 0;
    impl_->run(impl_->program_for(ProgramKind::kLoss, piece), {.batch = &piece, .segments = segments, .loss_sum = &loss});
    total += loss;
  }
  return total;
}

void TrainingEngine::logits(const Batch& batch, std::span<const std::int32_t> rows, float* out) {
  const std::vector<AttentionSegment> segments = training_segments(batch);
  const ProgramInputs in = impl_->inputs(batch, segments, false);
  const Program program = build_logits_program(in, static_cast<std::int64_t>(rows.size()));
  impl_->run(program, {.batch = &batch, .segments = segments, .logits_rows = rows, .logits = out});
}

void TrainingEngine::zero_gradients() { std::fill(gradients_.begin(), gradients_.end(), 0.0F); }

std::size_t TrainingEngine::peak_arena_bytes() const { return impl_->peak_arena_bytes; }
const CallCounts& TrainingEngine::call_counts() const { return impl_->counts; }
void TrainingEngine::poison_buffers(bool on) { impl_->options.poison = on; }

}  // namespace evolora
