// Every field of a recipe at every value, alone and in random company, against the reference step.
#include <gtest/gtest.h>

#include <random>

#include "base/test_folder.h"
#include "engine/training_engine_test_support.h"

namespace evolora {
namespace {

class RecipePropertyTest : public ::testing::Test {
 protected:
  ModelWeights load(const TestModel& model) { return load_test_model(model, folder_ / std::to_string(++models_)); }
  TestFolder folder_;
  int models_ = 0;
};

template <typename T>
T pick(std::mt19937& random, std::initializer_list<T> values) {
  return values.begin()[random() % values.size()];
}

Recipe random_recipe(std::mt19937& random) {
  Recipe recipe;
  recipe.threads = pick(random, {1, 2});
  for (int slot = 0; slot < kSlotCount; ++slot) {
    if (random() % 4 == 0) recipe.kernels.set(static_cast<Slot>(slot), KernelSet::kReference);
  }
  recipe.recompute = pick(random, {Recompute::kNothing, Recompute::kMlp, Recompute::kBlock});
  recipe.saved_activations = pick(random, {StorageType::kFp32, StorageType::kBf16});
  recipe.micro_batch_tokens = pick<std::int64_t>(random, {0, 1, 20, 60, 1000});
  recipe.head_rows_per_chunk = pick<std::int64_t>(random, {0, 1, 5, 64});
  recipe.prefix_cache = pick(random, {PrefixCache::kOff, PrefixCache::kMemory, PrefixCache::kFile});
  recipe.share_prefixes = random() % 2 == 0;
  recipe.release_weights = random() % 2 == 0;
  recipe.forward_arithmetic = pick(random, {Arithmetic::kFp32, Arithmetic::kBf16, Arithmetic::kInt8});
  recipe.backward_arithmetic = pick(random, {Arithmetic::kFp32, Arithmetic::kBf16});
  return recipe;
}

// A saved tensor in bf16 is off by at most 2^-9 of each element. A gradient is a sum of products of such elements, through up to 6 saved tensors a
// block, whose errors are independent: sqrt(6 L) 2^-9 of the norm, and as much again for what the softmax and the norms amplify.
double storage_bound(const Recipe& recipe, const ModelSpec& spec) {
  if (recipe.saved_activations == StorageType::kFp32) return 0;
  return 2 * 0x1p-9 * std::sqrt(6.0 * static_cast<double>(spec.num_layers));
}

constexpr double kGroup = 32;  // of all quantized test models

// Relative error of a gradient when each product in low precision has a relative error `each`: independent errors of 8 products a block (4 groups of
// linears, forward and backward) and the head's two, and as much again for what the softmax and the norms amplify, as above.
double of_all_products(double each, const ModelSpec& spec) { return 2 * each * std::sqrt(8.0 * static_cast<double>(spec.num_layers) + 2); }

// Two implementations round the same activations unless these differ by fp32 rounding (relative eps) just where a rounding flips. An element is that
// near with a probability of 2 eps / step, the step relative to the element, and is then off by a step. int8: the smallest step is 1/127 of an
// element, and against a group's norm, which is at least its largest element, all that flip weigh sqrt(kGroup) times as much.
double flip_bound(const Recipe& recipe, const ModelSpec& spec) {
  const double eps = rounding_bound(spec, 1.0);
  const auto flipped = [&](double step, double weight) { return std::sqrt(2 * eps / step) * step * weight; };
  double each = 0;
  if (recipe.forward_arithmetic != Arithmetic::kFp32 || recipe.backward_arithmetic == Arithmetic::kBf16) each = flipped(0x1p-8, 2);
  if (recipe.forward_arithmetic == Arithmetic::kInt8) each += flipped(1.0 / 127, std::sqrt(kGroup));
  return of_all_products(each, spec);
}

// What low precision itself changes. Roundings are uniform within half a step, so their root mean square is 1/sqrt(3) of it. bf16: half a step is at
// most 2^-8 of each of two factors, also those of the head beside int8. int8: 1/254 of the group's largest element for each of kGroup elements.
double lowered_bound(const Recipe& recipe, const ModelSpec& spec) {
  double each = 0;
  if (recipe.forward_arithmetic != Arithmetic::kFp32 || recipe.backward_arithmetic == Arithmetic::kBf16) each = 0x1p-8 * std::sqrt(2.0 / 3);
  if (recipe.forward_arithmetic == Arithmetic::kInt8) each += std::sqrt(kGroup / 3) / 254;
  return of_all_products(each, spec);
}

// The gradient of cross-entropy by the logits is at most sqrt(2) long, so a relative error of the logits moves the loss by sqrt(2) of their length.
double loss_per_error(const ModelWeights& weights, AdapterSet& adapters, const Batch& batch) {
  Threads threads(1);
  TrainingEngine engine(weights, adapters, {.threads = 1}, threads);
  const std::size_t rows = batch.loss_rows.size();
  const auto width = static_cast<std::size_t>(weights.spec().vocab_size);
  std::vector<float> logits(rows * width);
  engine.logits(batch, batch.loss_rows, logits.data());
  double sum = 0;
  for (std::size_t row = 0; row < rows; ++row)
    sum += norm({logits.begin() + static_cast<std::ptrdiff_t>(row * width), logits.begin() + static_cast<std::ptrdiff_t>((row + 1) * width)});
  return std::sqrt(2.0) * sum / static_cast<double>(rows) * static_cast<double>(batch.supervised_count());
}

void expect_step(const StepResult& expected, const StepResult& got, double loss_bound, double gradient_bound) {
  EXPECT_NEAR(expected.loss, got.loss, loss_bound);
  std::vector<float> difference = expected.gradients;
  for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= got.gradients[i];
  EXPECT_LE(norm(difference), gradient_bound * norm(expected.gradients));
}

TEST_F(RecipePropertyTest, RandomRecipesGiveTheReferenceStep) {
  std::mt19937 random(20261124);
  for (int round = 0; round < 60; ++round) {
    TestModel model{.model_type = pick<const char*>(random, {"llama", "qwen2"}), .num_layers = 3, .seed = random()};
    model.quantization = AffineQuantization{pick(random, {0, 2, 3, 4, 5, 6, 8}), 32};
    if (model.quantization->bits == 0) model.quantization = std::nullopt;
    model.dtype = pick(random, {DType::kF32, DType::kF16, DType::kBF16});
    const ModelWeights weights = load(model);
    AdapterOptions options{.num_layers = pick<std::int64_t>(random, {1, 2, 3}), .rank = pick<std::int64_t>(random, {1, 4, 9}), .scale = 2.0F};
    options.dropout = pick(random, {0.0F, 0.25F});
    if (random() % 3 == 0) options.keys = std::vector<std::string>{pick<const char*>(random, {"self_attn.v_proj", "mlp.down_proj", "mlp.gate_proj"})};
    AdapterSet adapters = make_adapters(weights.spec(), options);
    Batch batch = make_batch({17, 5, 40, 8}, weights.spec().vocab_size, random());
    if (random() % 2 == 0) {
      batch = make_batch({31, 27, 45, 30}, weights.spec().vocab_size, random());
      begin_alike(batch, 9);
    }
    batch.segment_samples = {7, 3, 11, 4};
    Recipe recipe = random_recipe(random);
    if (options.dropout > 0) recipe.micro_batch_tokens = 0;  // a mask belongs to a pass: another split draws others
    SCOPED_TRACE("round " + std::to_string(round));

    Recipe reference = kReference;
    reference.forward_arithmetic = recipe.forward_arithmetic;
    reference.backward_arithmetic = recipe.backward_arithmetic;
    const StepResult expected = run_step(weights, adapters, reference, batch);
    const double flips = flip_bound(recipe, weights.spec());
    expect_step(expected, run_step(weights, adapters, recipe, batch),
                rounding_bound(weights.spec(), expected.loss) + flips * loss_per_error(weights, adapters, batch),
                rounding_bound(weights.spec(), 1.0) + storage_bound(recipe, weights.spec()) + flips);
  }
}

TEST_F(RecipePropertyTest, LowPrecisionIsNearFp32AndSaysThatItRan) {
  using enum Arithmetic;
  const ModelWeights weights = load({.num_layers = 3});
  AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 2, .rank = 4});
  const Batch batch = make_batch({60, 37, 90}, weights.spec().vocab_size, 12);
  const StepResult exact = run_step(weights, adapters, {.threads = 2}, batch);
  for (const auto& [forward, backward] : {std::pair(kInt8, kFp32), {kInt8, kBf16}, {kBf16, kFp32}, {kFp32, kBf16}, {kBf16, kBf16}}) {
    SCOPED_TRACE(std::string(arithmetic_name(forward)) + " forward, " + arithmetic_name(backward) + " backward");
    const Recipe recipe{.threads = 2, .forward_arithmetic = forward, .backward_arithmetic = backward};
    const StepResult lowered = run_step(weights, adapters, recipe, batch);
    const double bound = lowered_bound(recipe, weights.spec());
    // Attention over random weights is saturated: gradients move by 20 to 1000 times what activations move by (measured with adapters moved by 1e-3).
    // So a rounded forward pass is judged by its loss; which gradients belong to it is what RandomRecipesGiveTheReferenceStep checks.
    expect_step(exact, lowered, bound * loss_per_error(weights, adapters, batch), forward == kFp32 ? bound : std::numeric_limits<double>::infinity());
    EXPECT_NE(exact.gradients, lowered.gradients);

    Threads threads(2);
    TrainingEngine engine(weights, adapters, recipe, threads);
    engine.forward_backward(batch, 1.0, 5);
    AppliedArithmetic applied;
    applied.forward[static_cast<std::size_t>(forward)] = 21;  // 7 projections in 3 blocks
    applied.backward[static_cast<std::size_t>(backward)] =
        11;  // of the two adapted blocks all but q, k and v of the lower one, below which nothing learns
    EXPECT_EQ(engine.call_counts().arithmetic, applied);
    engine.loss_sum(batch);
    applied.forward[static_cast<std::size_t>(forward)] += 21;
    EXPECT_EQ(engine.call_counts().arithmetic, applied);
  }
}

TEST_F(RecipePropertyTest, Int8ForDenseWeightsIsFp32AndSaysSo) {
  const ModelWeights weights = load({.num_layers = 2, .quantization = std::nullopt});
  AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 2, .rank = 4});
  const Batch batch = make_batch({60, 37}, weights.spec().vocab_size, 12);
  const Recipe recipe{.threads = 2, .forward_arithmetic = Arithmetic::kInt8};
  const StepResult exact = run_step(weights, adapters, {.threads = 2}, batch);
  const StepResult got = run_step(weights, adapters, recipe, batch);
  EXPECT_EQ(exact.loss, got.loss);
  EXPECT_EQ(exact.gradients, got.gradients);
  Threads threads(2);
  TrainingEngine engine(weights, adapters, recipe, threads);
  engine.forward_backward(batch, 1.0, 5);
  EXPECT_EQ(engine.call_counts().arithmetic.forward, (std::array<std::uint64_t, kArithmeticCount>{14, 0, 0}));
}

TEST_F(RecipePropertyTest, SavedInBf16TakesHalfTheMemoryAndLeavesTheLossAlone) {
  const ModelWeights weights = load({.num_layers = 6});
  AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 6, .rank = 4});
  const Batch batch = make_batch({700, 500}, weights.spec().vocab_size, 3);
  const StepResult exact = run_step(weights, adapters, {.threads = 2}, batch);
  const StepResult rounded = run_step(weights, adapters, {.threads = 2, .saved_activations = StorageType::kBf16}, batch);
  EXPECT_EQ(exact.loss, rounded.loss);
  EXPECT_NE(exact.gradients, rounded.gradients);  // it was really rounded
  Threads threads(2);
  const auto bytes = [&](const Recipe& recipe) { return TrainingEngine(weights, adapters, recipe, threads).arena_bytes_for(batch, true); };
  const auto fp32 = static_cast<double>(bytes({}));
  EXPECT_LT(static_cast<double>(bytes({.saved_activations = StorageType::kBf16})), 0.8 * fp32);
  EXPECT_LT(static_cast<double>(bytes({.recompute = Recompute::kMlp})), 0.8 * fp32);
}

// Prompts that begin alike, in all ways of cutting and keeping: the step of the repeated tokens, with less arithmetic; from the cache bit by bit.
TEST_F(RecipePropertyTest, SharedPrefixesGiveTheSameStepForLess) {
  for (const TestModel& model : {TestModel{}, TestModel{.model_type = "qwen2"}, TestModel{.window = 17}}) {
    const ModelWeights weights = load(model);
    AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 2, .rank = 4});
    Batch batch = make_batch({61, 70, 90, 64, 66}, weights.spec().vocab_size, 3);
    begin_alike(batch, 20);
    batch.segment_samples = {0, 1, 2, 3, 4};
    const StepResult expected = run_step(weights, adapters, {.threads = 2}, batch);
    for (const std::int64_t micro_batch : {0, 150, 1}) {
      for (const Recompute recompute : {Recompute::kNothing, Recompute::kMlp, Recompute::kBlock}) {
        const Recipe recipe{.threads = 2, .recompute = recompute, .micro_batch_tokens = micro_batch, .share_prefixes = true};
        expect_same(expected, run_step(weights, adapters, recipe, batch), weights.spec(), "shared");
      }
    }
    Threads threads(2);
    const auto pass = [&](bool share, bool cache) {
      TrainingEngine engine(weights, adapters, {.threads = 2, .share_prefixes = share}, threads);
      engine.poison_buffers(true);
      if (cache) engine.use_prefix_store(PrefixStore::in_memory(weights.spec().hidden_size));
      std::vector<double> losses;
      for (int i = 0; i < 2; ++i) losses.push_back(engine.forward_backward(batch, 0.1, 5));
      losses.push_back(engine.loss_sum(batch));
      return std::tuple(losses, std::vector<float>(engine.gradients(), engine.gradients() + engine.gradient_count()), engine.necessary_flops());
    };
    const auto computed = pass(true, false), cached = pass(true, true);
    EXPECT_EQ(std::get<0>(computed), std::get<0>(cached));
    EXPECT_EQ(std::get<1>(computed), std::get<1>(cached));
    EXPECT_LT(std::get<2>(computed), 0.9 * std::get<2>(pass(false, false)));  // 271 of 351 tokens; as before behind the last attention
    // In other company, where more or less is shared, a sample's rows from the cache are still those that would be computed.
    Batch company = make_batch({61, 70}, weights.spec().vocab_size, 3);
    begin_alike(company, 12);
    company.segment_samples = {0, 5};
    const auto after = [&](bool cache) {
      TrainingEngine engine(weights, adapters, {.threads = 2, .share_prefixes = true}, threads);
      if (cache) engine.use_prefix_store(PrefixStore::in_memory(weights.spec().hidden_size));
      engine.loss_sum(batch);
      return std::pair(engine.loss_sum(company), engine.forward_backward(batch, 0.1, 5));
    };
    EXPECT_EQ(after(false), after(true));
    // Dropout draws other masks for every sample, so nothing is shared.
    adapters = make_adapters(weights.spec(), {.num_layers = 2, .rank = 4, .dropout = 0.2F});
    EXPECT_EQ(run_step(weights, adapters, {.threads = 2, .share_prefixes = true}, batch).gradients,
              run_step(weights, adapters, {.threads = 2}, batch).gradients);
  }
}

TEST_F(RecipePropertyTest, ThePrefixCacheChangesNoBit) {
  for (const PrefixCache where : {PrefixCache::kMemory, PrefixCache::kFile}) {
    for (const StorageType storage : {StorageType::kFp32, StorageType::kBf16}) {
      const ModelWeights weights = load({.num_layers = 4});
      AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 2, .rank = 4, .dropout = 0.2F});
      Batch first = make_batch({20, 33, 9}, weights.spec().vocab_size, 8);
      first.segment_samples = {2, 0, 1};
      // The same samples in another order and company, one of them shorter.
      const auto with = [&](const Recipe& recipe, bool cache) {
        Threads threads(2);
        TrainingEngine engine(weights, adapters, recipe, threads);
        engine.poison_buffers(true);
        if (cache) {
          engine.use_prefix_store(where == PrefixCache::kFile ? PrefixStore::in_file(fs::temp_directory_path(), weights.spec().hidden_size).value()
                                                              : PrefixStore::in_memory(weights.spec().hidden_size));
        }
        std::vector<double> losses;
        for (int pass = 0; pass < 3; ++pass) {
          losses.push_back(engine.forward_backward(first, 0.1, 5));
          losses.push_back(engine.loss_sum(first));
        }
        const std::vector<float> gradients(engine.gradients(), engine.gradients() + engine.gradient_count());
        if (cache) {
          EXPECT_EQ(engine.prefix_store()->stored_bytes(), 62U * 64U * sizeof(float));
          EXPECT_EQ(engine.call_counts().of(Slot::kEmbedding, Pass::kForward), 1U);
        } else {
          EXPECT_EQ(engine.call_counts().of(Slot::kEmbedding, Pass::kForward), 6U);
        }
        return std::pair(losses, gradients);
      };
      const Recipe recipe{.threads = 2, .saved_activations = storage};
      EXPECT_EQ(with(recipe, false), with(recipe, true));
    }
  }
}

TEST_F(RecipePropertyTest, ThePrefixCacheKnowsWhatItHas) {
  const ModelWeights weights = load({.num_layers = 3});
  AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 1, .rank = 2});
  Batch batch = make_batch({6, 8}, weights.spec().vocab_size, 1);
  PrefixStore store = PrefixStore::in_memory(2);
  EXPECT_FALSE(store.accepts(batch));  // nobody said which samples these are
  batch.segment_samples = {5, -1};
  EXPECT_FALSE(store.accepts(batch));
  batch.segment_samples = {5, 6};
  EXPECT_TRUE(store.accepts(batch));
  EXPECT_FALSE(store.covers(batch));
  std::vector<float> hidden(28);
  for (std::size_t i = 0; i < hidden.size(); ++i) hidden[i] = static_cast<float>(i);
  store.store(batch, hidden.data());
  EXPECT_TRUE(store.covers(batch));

  Batch shorter = make_batch({5}, weights.spec().vocab_size, 1);
  shorter.segment_samples = {6};
  EXPECT_TRUE(store.covers(shorter));
  std::vector<float> got(10);
  store.load(shorter, got.data());
  EXPECT_EQ(got, std::vector<float>(hidden.begin() + 12, hidden.begin() + 22));
  Batch handful = make_batch({4}, weights.spec().vocab_size, 1);
  handful.segment_samples = {6};
  EXPECT_FALSE(store.accepts(handful));  // computed by other kernels, which round differently

  Batch longer = make_batch({9}, weights.spec().vocab_size, 1);
  longer.segment_samples = {6};
  EXPECT_FALSE(store.covers(longer));
  store.store(longer, hidden.data());
  EXPECT_TRUE(store.covers(longer));
}

TEST_F(RecipePropertyTest, ChoicesWinOverTheBaseAndTheStrongerOverTheWeaker) {
  RecipeChoices flags;
  flags.threads = 3;
  flags.recompute = Recompute::kMlp;
  RecipeChoices file;
  file.threads = 9;
  file.saved_activations = StorageType::kBf16;
  const Recipe recipe = with_choices({.micro_batch_tokens = 7}, merge_choices(flags, file));
  const Recipe expected{.threads = 3, .recompute = Recompute::kMlp, .saved_activations = StorageType::kBf16, .micro_batch_tokens = 7};
  EXPECT_EQ(recipe, expected);
}

}  // namespace
}  // namespace evolora
