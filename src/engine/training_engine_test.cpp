// The engine on small random models: gradients against finite differences of its own reference kernels, and every way of running a step against the
// plain one.
#include "engine/training_engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/test_folder.h"
#include "engine/decoder.h"
#include "engine/training_engine_test_support.h"

namespace evolora {
namespace {

class TrainingEngineTest : public ::testing::Test {
 protected:
  ModelWeights load(const TestModel& model) { return load_test_model(model, folder_ / std::to_string(++models_)); }
  TestFolder folder_;
  int models_ = 0;
};

TEST_F(TrainingEngineTest, GradientsMatchFiniteDifferencesOfTheLoss) {
  for (const char* type : {"llama", "qwen2"}) {
    const ModelWeights weights = load({.model_type = type, .num_layers = 2, .quantization = std::nullopt});
    AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 2, .rank = 3, .scale = 2.0F});
    const Batch batch = make_batch({9, 5}, weights.spec().vocab_size, 3);
    const StepResult step = run_step(weights, adapters, kReference, batch);
    Threads threads(1);
    TrainingEngine engine(weights, adapters, kReference, threads);
    const auto loss_at = [&](const AdapterModule& m, const std::vector<float>& direction, float h) {
      std::vector<float> saved(adapters.parameters(), adapters.parameters() + adapters.parameter_count());
      for (std::size_t i = 0; i < direction.size(); ++i) adapters.parameters()[m.a_offset + i] += h * direction[i];
      const double loss = engine.loss_sum(batch) / static_cast<double>(batch.supervised_count());
      std::copy(saved.begin(), saved.end(), adapters.parameters());
      return loss;
    };
    // One random direction through each module's lora_a and lora_b together. The loss is fp32-rounded (relative 1e-6) and its third derivative of
    // order 1: with h = 2^-7 the difference quotient is good to about 1e-6 / h + h^2 = 2e-4 of |g| |direction| / sqrt(size); 20x that is still far
    // from any real mistake.
    for (const AdapterModule& m : adapters.modules()) {
      const auto size = static_cast<std::size_t>(m.rank * (m.in + m.out));
      const std::vector<float> direction = test_values(size, 1000 + m.a_offset);
      constexpr float kStep = 0x1p-7F;
      const double numeric = (loss_at(m, direction, kStep) - loss_at(m, direction, -kStep)) / (2.0 * kStep);
      double analytic = 0;
      double gradient_norm = 0;
      for (std::size_t i = 0; i < size; ++i) {
        analytic += static_cast<double>(step.gradients[m.a_offset + i]) * direction[i];
        gradient_norm += std::pow(static_cast<double>(step.gradients[m.a_offset + i]), 2);
      }
      gradient_norm = std::sqrt(gradient_norm);
      EXPECT_GT(gradient_norm, 1e-4) << m.path;
      EXPECT_NEAR(numeric, analytic, 4e-3 * (gradient_norm + 0.05)) << type << " " << m.path;
    }
  }
}

TEST_F(TrainingEngineTest, EveryRecipeGivesTheReferenceStep) {
  for (const bool qwen2 : {false, true}) {
    TestModel model{.model_type = qwen2 ? "qwen2" : "llama", .tied = qwen2, .attention_bias = true};
    if (qwen2) model.dtype = DType::kF16;
    const ModelWeights weights = load(model);
    AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 2, .rank = 4, .scale = 2.0F, .dropout = 0.25F});
    const Batch batch = make_batch({17, 1, 40, 8}, weights.spec().vocab_size, 4);
    const StepResult reference = run_step(weights, adapters, kReference, batch);
    expect_same(reference, run_step(weights, adapters, {.threads = 1}, batch), weights.spec(), "cpu kernels");
    expect_same(reference, run_step(weights, adapters, {.threads = 2}, batch), weights.spec(), "two threads");
    expect_same(reference, run_step(weights, adapters, {.recompute = Recompute::kBlock}, batch), weights.spec(), "checkpointed");
    expect_same(reference, run_step(weights, adapters, {.head_rows_per_chunk = 5}, batch), weights.spec(), "head chunks");
  }
}

TEST_F(TrainingEngineTest, MicroBatchesAddUpToTheBatch) {
  const ModelWeights weights = load({});
  AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 3, .rank = 4});
  const Batch batch = make_batch({17, 12, 40, 8}, weights.spec().vocab_size, 5);
  const StepResult whole = run_step(weights, adapters, {}, batch);
  for (const std::int64_t tokens : {1, 20, 30, 50}) {
    expect_same(whole, run_step(weights, adapters, {.micro_batch_tokens = tokens}, batch), weights.spec(), "micro-batches");
  }
}

TEST_F(TrainingEngineTest, PackedSegmentsDoNotSeeEachOther) {
  const ModelWeights weights = load({});
  AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 3, .rank = 4});
  const Batch packed = make_batch({20, 7, 33}, weights.spec().vocab_size, 6);
  Threads threads(2);
  TrainingEngine engine(weights, adapters, {}, threads);
  const double together = engine.loss_sum(packed);
  std::vector<Batch> rows;
  for (std::size_t s = 0; s < 3; ++s) {
    Batch row;
    const std::int32_t begin = packed.segment_starts[s];
    const std::int32_t end = packed.segment_starts[s + 1];
    for (std::int32_t i = begin; i < end; ++i) {
      row.tokens.push_back(packed.tokens[static_cast<std::size_t>(i)]);
      row.positions.push_back(i - begin);
    }
    row.segment_starts = {0, end - begin};
    for (std::size_t m = 0; m < packed.loss_rows.size(); ++m) {
      if (packed.loss_rows[m] < begin || packed.loss_rows[m] >= end) continue;
      row.loss_rows.push_back(packed.loss_rows[m] - begin);
      row.targets.push_back(packed.targets[m]);
    }
    rows.push_back(row);
  }
  double separate = 0;
  for (const Batch& row : rows) separate += engine.loss_sum(row);
  EXPECT_NEAR(together, separate, rounding_bound(weights.spec(), together));
}

TEST_F(TrainingEngineTest, WorkStopsAtTheLowestAdapter) {
  const ModelWeights weights = load({.num_layers = 4});
  const Batch batch = make_batch({20, 11}, weights.spec().vocab_size, 7);
  AdapterSet all = make_adapters(weights.spec(), {.num_layers = 4, .rank = 2});
  const StepResult full = run_step(weights, all, {}, batch);
  const std::vector<std::vector<std::string>> key_sets = {
      {"self_attn.q_proj", "self_attn.v_proj"}, {"mlp.down_proj"}, {"mlp.up_proj"}, {"self_attn.o_proj"}, {"mlp.gate_proj", "self_attn.k_proj"}};
  for (const auto& keys : key_sets) {
    for (const std::int64_t layers : {1, 2, 4}) {
      AdapterSet some = make_adapters(weights.spec(), {.num_layers = layers, .rank = 2, .keys = keys});
      AdapterSet all_zeroed = make_adapters(weights.spec(), {.num_layers = 4, .rank = 2});
      std::fill_n(all_zeroed.parameters(), all_zeroed.parameter_count(), 0.0F);
      for (const AdapterModule& m : some.modules()) {
        const AdapterModule* same = all_zeroed.find(m.layer, m.projection);
        std::copy_n(some.parameters() + m.a_offset, m.rank * (m.in + m.out), all_zeroed.parameters() + same->a_offset);
      }
      const StepResult got = run_step(weights, some, {}, batch);
      const StepResult expected = run_step(weights, all_zeroed, kReference, batch);
      StepResult expected_subset{.loss = expected.loss, .gradients = {}};
      for (const AdapterModule& m : some.modules()) {
        const AdapterModule* same = all_zeroed.find(m.layer, m.projection);
        const auto* first = expected.gradients.data() + same->a_offset;
        expected_subset.gradients.insert(expected_subset.gradients.end(), first, first + m.rank * (m.in + m.out));
      }
      expect_same(expected_subset, got, weights.spec(), keys.front().c_str());
    }
  }
  Threads threads(1);
  AdapterSet top = make_adapters(weights.spec(), {.num_layers = 1, .rank = 2, .keys = std::vector<std::string>{"mlp.down_proj"}});
  TrainingEngine engine(weights, top, {}, threads);
  engine.forward_backward(batch, 1.0, 0);
  EXPECT_EQ(engine.call_counts().of(Slot::kLoraLinear, Pass::kForward), 4U * 4U);
  EXPECT_EQ(engine.call_counts().of(Slot::kLoraLinear, Pass::kBackward), 1U);
  EXPECT_EQ(engine.call_counts().of(Slot::kAttention, Pass::kBackward), 0U);
}

TEST_F(TrainingEngineTest, SameStepTwiceIsBitwiseEqualAndGradientsAccumulate) {
  const ModelWeights weights = load({});
  AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 3, .rank = 8, .dropout = 0.1F});
  const Batch batch = make_batch({30, 21}, weights.spec().vocab_size, 8);
  const StepResult first = run_step(weights, adapters, {.threads = 2}, batch);
  const StepResult second = run_step(weights, adapters, {.threads = 2}, batch);
  EXPECT_EQ(first.loss, second.loss);
  EXPECT_EQ(first.gradients, second.gradients);
  const StepResult other_mask = run_step(weights, adapters, {.threads = 2}, batch, 6);
  EXPECT_NE(first.gradients, other_mask.gradients);

  Threads threads(2);
  TrainingEngine engine(weights, adapters, {.threads = 2}, threads);
  const double scale = 1.0 / static_cast<double>(batch.supervised_count());
  engine.forward_backward(batch, scale, 5);
  engine.forward_backward(batch, scale, 5);
  for (std::size_t i = 0; i < engine.gradient_count(); ++i) {
    ASSERT_NEAR(engine.gradients()[i], 2.0F * first.gradients[i], 1e-6F * (1.0F + std::abs(first.gradients[i])));
  }
  engine.zero_gradients();
  EXPECT_EQ(engine.gradients()[0], 0.0F);
}

// The data of a safetensors file may begin at any byte.
TEST_F(TrainingEngineTest, UnalignedWeightsGiveTheSameStep) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const std::optional<AffineQuantization>& quantization :
         {std::optional<AffineQuantization>(), std::optional(AffineQuantization{4, 32}), std::optional(AffineQuantization{5, 32})}) {
      const fs::path folder = folder_ / std::to_string(++models_);
      const ModelWeights aligned = load_test_model({.quantization = quantization, .dtype = dtype}, folder);
      std::string file = real_file_system().read(folder / "model.safetensors").value();
      std::uint64_t header_bytes = 0;
      std::memcpy(&header_bytes, file.data(), sizeof(header_bytes));
      file.insert(8 + header_bytes, 1, ' ');
      ++header_bytes;
      std::memcpy(file.data(), &header_bytes, sizeof(header_bytes));
      const fs::path shifted_folder = folder_ / std::to_string(++models_);
      ASSERT_TRUE(real_file_system().create_directories(shifted_folder).ok());
      ASSERT_TRUE(write_file_atomically(real_file_system(), shifted_folder / "model.safetensors", file).ok());
      ASSERT_TRUE(
          write_file_atomically(real_file_system(), shifted_folder / "config.json", real_file_system().read(folder / "config.json").value()).ok());
      const ModelWeights shifted = ModelWeights::load(MlxFolder::open(real_file_system(), shifted_folder).value()).value();
      ASSERT_EQ(reinterpret_cast<std::uintptr_t>(shifted.embedding().data) % 2, 1U);

      AdapterSet adapters = make_adapters(aligned.spec(), {.num_layers = 3, .rank = 4});
      const Batch batch = make_batch({30, 11}, aligned.spec().vocab_size, 11);
      for (const Recipe& recipe : {kReference, Recipe{.threads = 2}}) {
        const StepResult expected = run_step(aligned, adapters, recipe, batch);
        const StepResult got = run_step(shifted, adapters, recipe, batch);
        EXPECT_EQ(expected.loss, got.loss);
        EXPECT_EQ(expected.gradients, got.gradients);
      }
      // One token at a time takes another path through the kernels.
      Threads threads(2);
      Decoder decoder(shifted, &adapters, {}, threads, 4);
      Decoder same(aligned, &adapters, {}, threads, 4);
      const std::int32_t token = 7;
      const std::span<const float> a = decoder.feed({&token, 1});
      const std::span<const float> b = same.feed({&token, 1});
      EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin()));
    }
  }
}

TEST_F(TrainingEngineTest, CheckpointingSavesMemory) {
  const ModelWeights weights = load({.num_layers = 8});
  AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 8, .rank = 2});
  const Batch batch = make_batch({200, 200}, weights.spec().vocab_size, 9);
  Threads threads(1);
  TrainingEngine plain(weights, adapters, {}, threads);
  TrainingEngine checkpointed(weights, adapters, {.recompute = Recompute::kBlock}, threads);
  EXPECT_LT(2 * checkpointed.arena_bytes_for(batch, true), plain.arena_bytes_for(batch, true));
  EXPECT_LT(plain.arena_bytes_for(batch, false), checkpointed.arena_bytes_for(batch, true));
}

TEST_F(TrainingEngineTest, DecodingWithTheCacheGivesTheLogitsOfTheWholeSequence) {
  for (const char* type : {"llama", "qwen2"}) {
    const ModelWeights weights = load({.model_type = type});
    AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 2, .rank = 4, .dropout = 0.5F});
    const Batch batch = make_batch({24}, weights.spec().vocab_size, 10);
    Threads threads(2);
    TrainingEngine engine(weights, adapters, {}, threads);
    std::vector<std::int32_t> rows(24);
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int32_t>(i);
    const auto vocab = static_cast<std::size_t>(weights.spec().vocab_size);
    std::vector<float> expected(rows.size() * vocab);
    engine.logits(batch, rows, expected.data());

    Decoder decoder(weights, &adapters, {}, threads, 30);
    const std::span<const std::int32_t> tokens(batch.tokens);
    for (int round = 0; round < 2; ++round) {
      std::size_t fed = 0;
      for (const std::size_t count : {std::size_t{5}, std::size_t{1}, std::size_t{1}, std::size_t{9}, std::size_t{8}}) {
        const std::span<const float> got = decoder.feed(tokens.subspan(fed, count));
        fed += count;
        std::vector<float> difference(got.begin(), got.end());
        std::vector<float> wanted(expected.begin() + static_cast<std::ptrdiff_t>((fed - 1) * vocab),
                                  expected.begin() + static_cast<std::ptrdiff_t>(fed * vocab));
        for (std::size_t i = 0; i < vocab; ++i) difference[i] -= wanted[i];
        EXPECT_LE(norm(difference), rounding_bound(weights.spec(), norm(wanted))) << type << " after " << fed;
      }
      EXPECT_EQ(decoder.cached_tokens(), 24);
      decoder.reset();
    }
  }
}

}  // namespace
}  // namespace evolora
