// The MLX engine against the fused engine's plain loops (which the gradient oracles hold to mlx-lm and to fp64), and its replacements against its
// standard set. All in fp32.
#include "reference/mlx_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/test_folder.h"
#include "engine/training_engine_test_support.h"
#include "kernels/kernel_table.h"
#include "reference/mlx_graph.h"

namespace evolora {
namespace {

using ::testing::HasSubstr;

MlxRecipe with(MlxLoraLinear lora, MlxSwiglu swiglu, MlxHeadLoss head) {
  MlxRecipe recipe;
  recipe.lora_linear = lora;
  recipe.swiglu = swiglu;
  recipe.head_loss = head;
  return recipe;
}

MlxRecipe everything_replaced() { return with(MlxLoraLinear::kGrouped, MlxSwiglu::kOptimized, MlxHeadLoss::kOptimized); }

const std::vector<std::pair<const char*, MlxRecipe>> kRecipes = {
    {"standard", standard_mlx_recipe()},
    {"optimized lora_linear", with(MlxLoraLinear::kOptimized, MlxSwiglu::kStandard, MlxHeadLoss::kStandard)},
    {"grouped lora_linear", with(MlxLoraLinear::kGrouped, MlxSwiglu::kStandard, MlxHeadLoss::kStandard)},
    {"optimized swiglu", with(MlxLoraLinear::kOptimized, MlxSwiglu::kOptimized, MlxHeadLoss::kStandard)},
    {"optimized head_loss", with(MlxLoraLinear::kStandard, MlxSwiglu::kStandard, MlxHeadLoss::kOptimized)},
    {"optimized", optimized_mlx_recipe()},
    {"everything replaced", everything_replaced()},
};

std::unique_ptr<StepEngine> make_engine(const ModelWeights& weights, AdapterSet& adapters, MlxEngineOptions options = {}) {
  Result<std::unique_ptr<StepEngine>> engine = make_mlx_engine(options, weights, adapters);
  EXPECT_TRUE(engine.ok()) << (engine.ok() ? "" : engine.error().message);
  return std::move(engine).value();
}

StepResult mlx_step(const ModelWeights& weights, AdapterSet& adapters, const MlxEngineOptions& options, const Batch& batch) {
  const auto engine = make_engine(weights, adapters, options);
  StepResult result;
  result.loss = *engine->train_on(batch, 1.0 / static_cast<double>(batch.supervised_count()), 5, std::nullopt);
  result.gradients = *engine->gradients();
  return result;
}

MlxEngineOptions options_of(const MlxRecipe& recipe) {
  MlxEngineOptions options;
  options.recipe = recipe;
  options.head_rows_per_chunk = 7;  // several chunks, the last one smaller
  return options;
}

class MlxEngineTest : public ::testing::Test {
 protected:
  ModelWeights load(const TestModel& model) { return load_test_model(model, folder_.path()); }
  TestFolder folder_;
};

std::vector<TestModel> models() {
  TestModel llama;
  TestModel qwen;
  qwen.model_type = "qwen2";
  qwen.quantization = AffineQuantization{.bits = 8, .group_size = 32};
  TestModel dense;
  dense.model_type = "qwen2";
  dense.quantization.reset();
  dense.tied = false;
  TestModel biased;
  biased.attention_bias = true;
  return {llama, qwen, dense, biased};
}

TEST_F(MlxEngineTest, LossAndGradientsAreThoseOfThePlainLoopsWithEveryRecipe) {
  for (const TestModel& model : models()) {
    const ModelWeights weights = load(model);
    const Batch batch = make_batch({17, 9, 33}, model.vocab_size, 3);
    AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 2, .rank = 5, .scale = 2.0F});
    const StepResult expected = run_step(weights, adapters, kReference, batch);
    for (const auto& [name, recipe] : kRecipes) {
      expect_same(expected, mlx_step(weights, adapters, options_of(recipe), batch), weights.spec(), name);
    }
  }
}

TEST_F(MlxEngineTest, WeightsOfTwoToSixBitsAreThoseOfThePlainLoops) {
  for (const int bits : {2, 3, 5, 6}) {
    TestModel model;
    model.quantization = AffineQuantization{.bits = bits, .group_size = 32};
    const ModelWeights weights = load(model);
    const Batch batch = make_batch({17, 9}, model.vocab_size, 14);
    AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 2, .rank = 4, .scale = 2.0F});
    const StepResult expected = run_step(weights, adapters, kReference, batch);
    for (const MlxRecipe& recipe : {standard_mlx_recipe(), optimized_mlx_recipe()}) {
      expect_same(expected, mlx_step(weights, adapters, options_of(recipe), batch), weights.spec(), "few bits");
    }
  }
}

// Windows in some layers, longer than one row and shorter than the others.
TEST_F(MlxEngineTest, SlidingWindowsAreThoseOfThePlainLoops) {
  const auto with_windows = [&](std::int64_t window) {
    write_test_model({}, folder_.path());
    nlohmann::json config = std::move(MlxFolder::open(real_file_system(), folder_.path())).value().config();
    config["layer_types"] = {"sliding_attention", "full_attention", "sliding_attention"};
    config["sliding_window"] = window;
    EXPECT_TRUE(write_file_atomically(real_file_system(), folder_.path() / "config.json", config.dump()).ok());
    return std::move(ModelWeights::load(std::move(MlxFolder::open(real_file_system(), folder_.path())).value())).value();
  };
  const ModelWeights plain = load({});
  const Batch batch = make_batch({17, 9, 33}, plain.spec().vocab_size, 3);
  AdapterSet adapters = make_adapters(plain.spec(), {.num_layers = 0, .rank = 5, .scale = 2.0F});
  const double without = run_step(plain, adapters, kReference, batch).loss;
  for (const std::int64_t window : {1, 6, 16, 64}) {
    const ModelWeights weights = with_windows(window);
    ASSERT_EQ(weights.spec().attention_window(2), window);
    const StepResult expected = run_step(weights, adapters, kReference, batch);
    EXPECT_EQ(std::abs(expected.loss - without) > rounding_bound(weights.spec(), without), window < 33) << "the window is seen in the loss";
    for (const auto& [name, recipe] : kRecipes) {
      MlxEngineOptions options = options_of(recipe);
      expect_same(expected, mlx_step(weights, adapters, options, batch), weights.spec(), name);
      options.grad_checkpoint = true;
      expect_same(expected, mlx_step(weights, adapters, options, batch), weights.spec(), "checkpointed");
    }
  }
}

// Seven linears in three blocks, of which the first has no adapter; two passes forward, one backward.
TEST_F(MlxEngineTest, CallsAreCountedWhereTheyHappen) {
  const ModelWeights weights = load({});
  AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 2, .rank = 4, .scale = 2.0F});
  const Batch batch = make_batch({20, 12}, weights.spec().vocab_size, 4);
  using Json = nlohmann::ordered_json;
  for (const MlxStep step : {MlxStep::kEager, MlxStep::kCompiled}) {
    for (const auto& [name, recipe] : kRecipes) {
      const bool once = recipe == standard_mlx_recipe() || recipe == optimized_mlx_recipe();
      if (step == MlxStep::kCompiled && !once) continue;  // a compilation takes seconds
      MlxEngineOptions options = options_of(recipe);
      options.recipe.step = step;
      const auto engine = make_engine(weights, adapters, options);
      ASSERT_TRUE(engine->loss_sum(batch).ok());
      for (int i = 0; i < 3; ++i) ASSERT_TRUE(engine->train_on(batch, 1.0, 0, std::nullopt).ok());
      const Json calls = engine->calls();
      EXPECT_EQ(calls["layers"][0]["lora_linear"], (Json{28, 0})) << name;
      EXPECT_EQ(calls["layers"][1], calls["layers"][2]) << name;
      EXPECT_EQ(calls["layers"][2]["lora_linear"], (Json{28, 21})) << name << calls.dump(1);
      EXPECT_EQ(calls["layers"][2]["swiglu"], (Json{4, 3})) << name;
      EXPECT_EQ(calls["calls"]["head_loss"]["backward"], 3) << name;
      // The first block's swiglu has no backward pass that anybody needs.
      EXPECT_EQ(calls["layers"][0]["swiglu"][1], 0) << name;
      const Json expected_linears = recipe.lora_linear == MlxLoraLinear::kGrouped     ? Json{{"optimized", 2}, {"grouped", 2}}
                                    : recipe.lora_linear == MlxLoraLinear::kOptimized ? Json{{"optimized", 2}}
                                                                                      : Json{{"standard", 2}};
      EXPECT_EQ(calls["served"]["lora_linear"], expected_linears) << name;
      EXPECT_EQ(calls["served"]["swiglu"], (Json{{word(recipe.swiglu), 2}})) << name;
      EXPECT_EQ(calls["served"]["head_loss"], (Json{{word(recipe.head_loss), 1}})) << name;
    }
  }
}

TEST_F(MlxEngineTest, CheckpointingChangesNothingButRounding) {
  const ModelWeights weights = load({});
  const Batch batch = make_batch({20, 12}, weights.spec().vocab_size, 4);
  AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 0, .rank = 4, .scale = 2.0F});
  for (const auto& [name, recipe] : kRecipes) {
    MlxEngineOptions options = options_of(recipe);
    const StepResult plain = mlx_step(weights, adapters, options, batch);
    options.grad_checkpoint = true;
    expect_same(plain, mlx_step(weights, adapters, options, batch), weights.spec(), name);
  }
}

TEST_F(MlxEngineTest, AdaptersOnSomeKeysOnly) {
  const ModelWeights weights = load({});
  const Batch batch = make_batch({20, 12}, weights.spec().vocab_size, 5);
  const std::vector<std::vector<std::string>> choices = {
      {"self_attn.q_proj", "self_attn.v_proj"}, {"mlp.up_proj"}, {"mlp.gate_proj", "mlp.up_proj"}, {"self_attn.o_proj"}, {"mlp.down_proj"}};
  for (const std::vector<std::string>& keys : choices) {
    AdapterOptions adapter{.num_layers = 2, .rank = 3, .scale = 4.0F};
    adapter.keys = keys;
    AdapterSet adapters = make_adapters(weights.spec(), adapter);
    const StepResult expected = run_step(weights, adapters, kReference, batch);
    for (const auto& [name, recipe] : kRecipes) {
      expect_same(expected, mlx_step(weights, adapters, options_of(recipe), batch), weights.spec(), name);
    }
  }
}

TEST_F(MlxEngineTest, LossWithoutGradients) {
  const ModelWeights weights = load({});
  const Batch batch = make_batch({20, 12}, weights.spec().vocab_size, 6);
  AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 2, .rank = 4, .scale = 2.0F});
  const double expected = run_step(weights, adapters, kReference, batch).loss;
  for (const auto& [name, recipe] : kRecipes) {
    EXPECT_NEAR(*make_engine(weights, adapters, options_of(recipe))->loss_sum(batch), expected, rounding_bound(weights.spec(), expected)) << name;
  }
}

// Gathering over two batches, the division, both moments, decay and bias correction: parameters after three updates are those of the fused optimizer.
TEST_F(MlxEngineTest, UpdatesAreThoseOfTheFusedOptimizer) {
  const ModelWeights weights = load({});
  const std::vector<Batch> batches = {make_batch({20, 12}, weights.spec().vocab_size, 7), make_batch({9, 31}, weights.spec().vocab_size, 8)};
  for (const bool corrected : {false, true}) {
    AdamOptions adam;
    adam.eps = 1e-3F;  // above the gradients' own rounding, which a division by sqrt(v) ~ |g| would blow up
    adam.weight_decay = 0.1F;
    adam.bias_correction = corrected;
    for (const auto& [name, recipe] : kRecipes) {
      AdapterSet mine = make_adapters(weights.spec(), {.num_layers = 1, .rank = 3, .scale = 2.0F});
      AdapterSet theirs = make_adapters(weights.spec(), {.num_layers = 1, .rank = 3, .scale = 2.0F});
      MlxEngineOptions options = options_of(recipe);
      options.adam = adam;
      const auto engine = make_engine(weights, mine, options);
      std::vector<double> m(theirs.parameter_count(), 0.0);
      std::vector<double> v(m);
      for (int update = 1; update <= 3; ++update) {
        const float rate = 0.01F * static_cast<float>(update);
        ASSERT_TRUE(engine->train_on(batches[0], 1.0 / 21, 0, std::nullopt).ok());
        ASSERT_TRUE(engine->train_on(batches[1], 1.0 / 27, 0, StepUpdate{.gradient_scale = 0.5F, .learning_rate = rate}).ok());
        Threads threads(1);
        TrainingEngine fused(weights, theirs, kReference, threads);
        fused.forward_backward(batches[0], 1.0 / 21, 0);
        fused.forward_backward(batches[1], 1.0 / 27, 0);
        for (std::size_t i = 0; i < m.size(); ++i) {
          const double g = 0.5 * static_cast<double>(fused.gradients()[i]);
          m[i] = 0.9 * m[i] + 0.1 * g;
          v[i] = 0.999 * v[i] + 0.001 * g * g;
          const double c1 = corrected ? 1.0 / (1.0 - std::pow(0.9, update)) : 1.0;
          const double c2 = corrected ? 1.0 / std::sqrt(1.0 - std::pow(0.999, update)) : 1.0;
          const double step = c1 * m[i] / (c2 * std::sqrt(v[i]) + 1e-3);
          theirs.parameters()[i] = static_cast<float>(static_cast<double>(theirs.parameters()[i]) * (1.0 - static_cast<double>(rate) * 0.1) -
                                                      static_cast<double>(rate) * step);
        }
      }
      EXPECT_EQ(engine->updates_done(), 3);
      ASSERT_TRUE(engine->store_parameters().ok());
      // A step is at most rate * |g| / eps with |g| known to rounding_bound of the largest; three of them.
      double largest = 0;
      for (std::size_t i = 0; i < m.size(); ++i) largest = std::max(largest, std::abs(m[i]) / 0.1);
      const double bound = 3 * 0.03 * rounding_bound(weights.spec(), largest) / 1e-3 + 1e-6;
      for (std::size_t i = 0; i < m.size(); ++i) ASSERT_NEAR(mine.parameters()[i], theirs.parameters()[i], bound) << name << " " << i;
    }
  }
}

// The default on GPUs. On a CPU MLX calls g++ for it, which a machine that built this has.
TEST_F(MlxEngineTest, ACompiledStepIsTheEagerStep) {
  TestModel model;
  model.num_layers = 1;
  const ModelWeights weights = load(model);
  const std::vector<Batch> batches = {make_batch({20, 12}, model.vocab_size, 7), make_batch({9, 31}, model.vocab_size, 8)};
  for (MlxRecipe recipe : {standard_mlx_recipe(), optimized_mlx_recipe()}) {
    std::vector<std::vector<float>> results;
    for (const MlxStep step : {MlxStep::kEager, MlxStep::kCompiled}) {
      recipe.step = step;
      AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 1, .rank = 3, .scale = 2.0F});
      MlxEngineOptions options = options_of(recipe);
      options.adam.eps = 1.0F;  // updates proportional to the gradients, so that their rounding stays what it is
      const auto engine = make_engine(weights, adapters, options);
      ASSERT_TRUE(engine->train_on(batches[0], 1.0 / 21, 0, std::nullopt).ok());
      ASSERT_TRUE(engine->train_on(batches[1], 1.0 / 27, 0, StepUpdate{.gradient_scale = 0.5F, .learning_rate = 1.0F}).ok());
      EXPECT_EQ(engine->record()["step"], step == MlxStep::kCompiled ? "compiled" : "eager");
      ASSERT_TRUE(engine->store_parameters().ok());
      results.emplace_back(adapters.parameters(), adapters.parameters() + adapters.parameter_count());
    }
    AdapterSet start = make_adapters(weights.spec(), {.num_layers = 1, .rank = 3, .scale = 2.0F});
    std::vector<float> moved(results[0]);
    for (std::size_t i = 0; i < moved.size(); ++i) {
      moved[i] -= start.parameters()[i];
      results[1][i] -= results[0][i];
    }
    EXPECT_GT(norm(moved), 0.0);
    EXPECT_LT(norm(results[1]), rounding_bound(weights.spec(), norm(moved)) + std::numeric_limits<float>::epsilon() * norm(results[0]));
  }
}

TEST_F(MlxEngineTest, ALossThatIsNotFiniteChangesNothing) {
  const ModelWeights weights = load({});
  AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 1, .rank = 3, .scale = 2.0F});
  adapters.parameters()[0] = std::numeric_limits<float>::infinity();
  const std::vector<float> before(adapters.parameters(), adapters.parameters() + adapters.parameter_count());
  const auto engine = make_engine(weights, adapters);
  const Batch batch = make_batch({20}, weights.spec().vocab_size, 9);
  EXPECT_FALSE(std::isfinite(*engine->train_on(batch, 1.0, 0, StepUpdate{.gradient_scale = 1.0F, .learning_rate = 0.1F})));
  ASSERT_TRUE(engine->store_parameters().ok());
  EXPECT_EQ(before, std::vector<float>(adapters.parameters(), adapters.parameters() + adapters.parameter_count()));
  EXPECT_EQ(engine->updates_done(), 0);
}

AdapterSet dora_adapters(const ModelWeights& weights) {
  AdapterOptions options{.num_layers = 2, .rank = 5, .scale = 2.0F};
  options.dora = true;
  AdapterSet adapters = make_adapters(weights.spec(), options);
  adapters.initialize_magnitudes(weights);
  for (const AdapterModule& module : adapters.modules()) {
    for (std::int64_t i = 0; i < module.out; ++i)
      adapters.parameters()[*module.m_offset + static_cast<std::size_t>(i)] *= 1.0F + 0.01F * static_cast<float>(i % 7);
  }
  return adapters;
}

TEST_F(MlxEngineTest, DoraWithoutDequantizingIsTheStandardDora) {
  for (const TestModel& model : models()) {
    const ModelWeights weights = load(model);
    AdapterSet adapters = dora_adapters(weights);
    const Batch batch = make_batch({17, 9, 33}, model.vocab_size, 10);
    const StepResult standard = mlx_step(weights, adapters, options_of(standard_mlx_recipe()), batch);
    for (const auto& [name, recipe] : kRecipes) {
      expect_same(standard, mlx_step(weights, adapters, options_of(recipe), batch), weights.spec(), name);
    }
  }
}

// Independent of both: moving m alone does not change the norm, so the gradient along m is a difference of losses. Along the gradient itself, where
// the difference is largest.
TEST_F(MlxEngineTest, DoraMagnitudeGradientIsTheDifferenceOfLosses) {
  const ModelWeights weights = load({});
  AdapterSet adapters = dora_adapters(weights);
  const Batch batch = make_batch({17, 9}, weights.spec().vocab_size, 11);
  const StepResult step = mlx_step(weights, adapters, options_of(everything_replaced()), batch);
  std::vector<float> direction(adapters.parameter_count(), 0.0F);
  for (const AdapterModule& module : adapters.modules()) {
    const auto first = static_cast<std::ptrdiff_t>(*module.m_offset);
    std::copy_n(step.gradients.begin() + first, module.out, direction.begin() + first);
  }
  const double length = norm(direction);
  const auto loss_at = [&](double t) {
    AdapterSet moved = adapters;
    for (std::size_t i = 0; i < direction.size(); ++i) {
      moved.parameters()[i] = static_cast<float>(static_cast<double>(moved.parameters()[i]) + t * static_cast<double>(direction[i]) / length);
    }
    return *make_engine(weights, moved)->loss_sum(batch) / static_cast<double>(batch.supervised_count());
  };
  const double h = 0.1;
  const double fine = (loss_at(h) - loss_at(-h)) / (2 * h);
  const double coarse = (loss_at(2 * h) - loss_at(-2 * h)) / (4 * h);
  // The difference's own error: what halving h changed, and the rounding of two losses.
  const double error =
      std::abs(fine - coarse) + 2 * rounding_bound(weights.spec(), step.loss / static_cast<double>(batch.supervised_count())) / (2 * h);
  EXPECT_NEAR(length, fine, error);
  EXPECT_GT(length, 10 * error);
}

TEST_F(MlxEngineTest, MagnitudesStartAsTheRowNormsOfMlx) {
  for (const TestModel& model : models()) {
    const ModelWeights weights = load(model);
    AdapterOptions options{.num_layers = 1};
    options.dora = true;
    AdapterSet adapters = std::move(AdapterSet::create(weights.spec(), options)).value();
    adapters.initialize(3);
    adapters.initialize_magnitudes(weights);
    const MlxModel mlx = make_mlx_model(weights, MlxArithmetic::kStored);
    for (const AdapterModule& module : adapters.modules()) {
      const MlxWeight& weight = mlx.layers[static_cast<std::size_t>(module.layer)][module.projection].weight;
      std::vector<float> norms(static_cast<std::size_t>(module.out));
      copy_floats(mlx::core::sqrt(mlx::core::sum(mlx::core::square(dense_weight(weight)), 1)), norms.data());
      // One sum of `in` squares in fp32.
      const float bound = static_cast<float>(module.in) * std::numeric_limits<float>::epsilon();
      for (std::size_t i = 0; i < norms.size(); ++i) ASSERT_NEAR(adapters.parameters()[*module.m_offset + i], norms[i], bound * norms[i]);
    }
  }
}

TEST_F(MlxEngineTest, ALayerThatCannotBeGroupedSaysWhyAndIsStillRight) {
  TestModel model;
  const ModelWeights plain = load(model);
  // Layer 2 gets an 8-bit gate: it cannot be one product with its 4-bit up.
  TestFolder other;
  TestModel eight = model;
  eight.quantization = AffineQuantization{.bits = 8, .group_size = 32};
  const ModelWeights wide = load_test_model(eight, other.path());
  std::vector<TensorView> tensors;
  for (const std::string& name : plain.folder().tensor_names()) {
    const bool gate = name.starts_with("model.layers.2.mlp.gate_proj");
    tensors.push_back(*(gate ? wide : plain).folder().find(name));
  }
  TestFolder mixed;
  nlohmann::json config = plain.folder().config();
  config["quantization"]["model.layers.2.mlp.gate_proj"] = {{"group_size", 32}, {"bits", 8}};
  ASSERT_TRUE(write_file_atomically(real_file_system(), mixed.path() / "config.json", config.dump()).ok());
  ASSERT_TRUE(write_safetensors(real_file_system(), mixed.path() / "model.safetensors", tensors, std::nullopt).ok());
  const ModelWeights weights = std::move(ModelWeights::load(std::move(MlxFolder::open(real_file_system(), mixed.path())).value())).value();

  AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 2, .rank = 4, .scale = 2.0F});
  const Batch batch = make_batch({17, 9}, weights.spec().vocab_size, 12);
  const auto engine = make_engine(weights, adapters, options_of(everything_replaced()));
  const nlohmann::ordered_json record = engine->record();
  ASSERT_EQ(record["fallbacks"].size(), 1U) << record.dump(1);
  EXPECT_EQ(record["fallbacks"][0]["layers"], nlohmann::ordered_json::array({2}));
  EXPECT_THAT(record["fallbacks"][0]["reason"].get<std::string>(), HasSubstr("mlp.gate_proj is 8-bit group 32, mlp.up_proj is 4-bit group 32"));
  EXPECT_EQ(record["layers"]["lora_linear"]["grouped"], 2);
  expect_same(run_step(weights, adapters, kReference, batch), mlx_step(weights, adapters, options_of(everything_replaced()), batch), weights.spec(),
              "mixed");
}

TEST_F(MlxEngineTest, AdapterDropoutKeepsTheStandardPathAndItsMasksDependOnTheSeedAlone) {
  const ModelWeights weights = load({});
  AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 2, .rank = 4, .scale = 2.0F, .dropout = 0.3F});
  const Batch batch = make_batch({17, 9}, weights.spec().vocab_size, 13);
  const auto engine = make_engine(weights, adapters, options_of(everything_replaced()));
  EXPECT_THAT(engine->record()["fallbacks"].dump(), HasSubstr("adapter dropout"));
  EXPECT_EQ(engine->record()["layers"]["lora_linear"]["standard"], 2);
  const double first = *engine->train_on(batch, 1.0, 1, std::nullopt);
  EXPECT_EQ(first, *engine->train_on(batch, 1.0, 1, std::nullopt));
  EXPECT_NE(first, *engine->train_on(batch, 1.0, 2, std::nullopt));
  AdapterSet without = make_adapters(weights.spec(), {.num_layers = 2, .rank = 4, .scale = 2.0F});
  EXPECT_NEAR(*engine->loss_sum(batch), run_step(weights, without, kReference, batch).loss, rounding_bound(weights.spec(), first));
}

TEST_F(MlxEngineTest, ADeviceThatMlxDoesNotHaveIsNamed) {
  if (mlx::core::is_available(mlx::core::Device::gpu)) GTEST_SKIP() << "this machine has a GPU for MLX";
  const ModelWeights weights = load({});
  AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 1});
  MlxEngineOptions options;
  options.device = MlxDevice::kGpu;
  const auto engine = make_mlx_engine(options, weights, adapters);
  ASSERT_FALSE(engine.ok());
  EXPECT_EQ(engine.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(engine.error().message, HasSubstr("--device gpu"));
}

}  // namespace
}  // namespace evolora
