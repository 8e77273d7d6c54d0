// The engine against golden files from mlx-lm (float32, MLX autodiff; written by tests/oracle/make_golden.py): logits, loss, every adapter gradient,
// and the losses of a short --compat mlx-lm training run. The quick part of the oracles, without Python.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/file_system.h"
#include "base/process.h"
#include "base/test_folder.h"
#include "engine/training_engine.h"
#include "formats/safetensors.h"
#include "model/adapter.h"
#include "model/weights.h"

namespace evolora {
namespace {

using nlohmann::json;

struct Golden {
  std::string name;
  Recipe recipe;
  std::string recipe_name;
};

std::vector<Golden> all_cases() {
  std::vector<Golden> cases;
  const Recipe reference = {.threads = 1, .kernels = KernelSet::kReference};
  const Recipe cpu = {.threads = 1};
  const Recipe split = {.threads = 2, .recompute = Recompute::kBlock, .micro_batch_tokens = 8, .head_rows_per_chunk = 3};
  for (const std::string name : {"tiny_llama_golden", "tiny_qwen2_golden"}) {
    cases.push_back({name, reference, "reference"});
    cases.push_back({name, cpu, "cpu"});
    cases.push_back({name, split, "cpu_split_and_checkpointed"});
  }
  return cases;
}

fs::path folder_of(const Golden& golden) { return fs::path(EVOLORA_SOURCE_DIR) / "tests" / "data" / golden.name; }

template <typename T>
T value_of(Result<T> result) {
  if (!result.ok()) throw std::runtime_error(result.error().message);
  return std::move(result).value();
}

json expected_of(const Golden& golden) { return json::parse(value_of(real_file_system().read(folder_of(golden) / "expected.json"))); }

std::vector<float> floats_of(const TensorView& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.element_count()));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

// A model, its adapter and the batch of expected.json.
class GoldenTest : public testing::TestWithParam<Golden> {
 protected:
  GoldenTest()
      : expected_(expected_of(GetParam())),
        tensors_(value_of(SafetensorsFile::open(real_file_system(), folder_of(GetParam()) / "adapter" / "expected.safetensors"))),
        weights_(value_of(ModelWeights::load(value_of(MlxFolder::open(real_file_system(), folder_of(GetParam()) / "model"))))),
        adapters_(value_of(load_adapter_folder(real_file_system(), folder_of(GetParam()) / "adapter", weights_.spec()))),
        threads_(GetParam().recipe.threads),
        engine_(weights_, adapters_, GetParam().recipe, threads_) {
    const json& batch = expected_.at("batch");
    batch.at("tokens").get_to(batch_.tokens);
    batch.at("positions").get_to(batch_.positions);
    batch.at("segment_starts").get_to(batch_.segment_starts);
    batch.at("loss_rows").get_to(batch_.loss_rows);
    batch.at("targets").get_to(batch_.targets);
  }

  json expected_;
  SafetensorsFile tensors_;
  ModelWeights weights_;
  AdapterSet adapters_;
  Threads threads_;
  TrainingEngine engine_;
  Batch batch_;
};

TEST_P(GoldenTest, LossAndGradientsAreThoseOfMlxAutodiff) {
  const std::size_t planned = engine_.arena_bytes_for(batch_, true);
  engine_.reserve(planned);
  const double loss = engine_.forward_backward(batch_, 1.0, 0);
  EXPECT_NEAR(loss, expected_.at("loss").get<double>(), expected_.at("loss_tolerance").get<double>());
  EXPECT_LE(engine_.peak_arena_bytes(), planned);

  std::size_t compared = 0;
  for (const TensorView& gradient : adapters_.tensors_of(engine_.gradients())) {
    const TensorView* wanted = tensors_.find("gradient." + gradient.name);
    ASSERT_NE(wanted, nullptr) << gradient.name;
    ASSERT_EQ(gradient.shape, wanted->shape) << gradient.name;
    const std::vector<float> ours = floats_of(gradient);
    const std::vector<float> theirs = floats_of(*wanted);
    double squares = 0;
    for (std::size_t i = 0; i < ours.size(); ++i) squares += std::pow(static_cast<double>(ours[i]) - static_cast<double>(theirs[i]), 2);
    EXPECT_LE(std::sqrt(squares), expected_.at("gradient_norm_tolerance").at(gradient.name).get<double>()) << gradient.name;
    ++compared;
  }
  EXPECT_EQ(compared + 1, tensors_.tensors().size()) << "gradients, and the logits";
}

TEST_P(GoldenTest, LossWithoutGradientsIsTheSame) {
  EXPECT_NEAR(engine_.loss_sum(batch_), expected_.at("loss").get<double>(), expected_.at("loss_tolerance").get<double>());
}

TEST_P(GoldenTest, LogitsAreThoseOfMlxLm) {
  const TensorView* wanted = tensors_.find("logits");
  ASSERT_NE(wanted, nullptr);
  const std::vector<float> theirs = floats_of(*wanted);
  std::vector<std::int32_t> rows(static_cast<std::size_t>(wanted->shape[0]));
  std::iota(rows.begin(), rows.end(), static_cast<std::int32_t>(batch_.token_count() - wanted->shape[0]));
  std::vector<float> ours(theirs.size());
  engine_.logits(batch_, rows, ours.data());
  const auto tolerance = expected_.at("logits_tolerance").get<float>();
  for (std::size_t i = 0; i < ours.size(); ++i) ASSERT_NEAR(ours[i], theirs[i], tolerance) << "logit " << i;
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTest, testing::ValuesIn(all_cases()),
                         [](const auto& tested) { return tested.param.name + "_" + tested.param.recipe_name; });

// The whole program: tokenizer, template, mask, batch order, adapter initialisation, AdamW, validation.
class GoldenTrainingTest : public testing::TestWithParam<std::string> {};

void expect_losses(const std::vector<double>& ours, const json& training, const std::string& losses, const std::string& tolerances) {
  const auto theirs = training.at(losses).get<std::vector<double>>();
  const auto allowed = training.at(tolerances).get<std::vector<double>>();
  ASSERT_EQ(ours.size(), theirs.size()) << losses;
  for (std::size_t i = 0; i < ours.size(); ++i) EXPECT_NEAR(ours[i], theirs[i], allowed[i]) << losses << ", point " << i + 1;
}

TEST_P(GoldenTrainingTest, LossesAreThoseOfMlxLm) {
  const Golden golden{GetParam(), {}, ""};
  const fs::path folder = folder_of(golden);
  const TestFolder out;
  FileSystem& files = real_file_system();
  ASSERT_TRUE(write_file_atomically(files, out / "config.yaml", "lora_parameters: {rank: 4, scale: 20.0, dropout: 0.0}\n").ok());
  const ProcessRequest request{.argv = {EVOLORA_BINARY,
                                        "train",
                                        "--train",
                                        "--compat",
                                        "mlx-lm",
                                        "--model",
                                        folder / "model",
                                        "--data",
                                        folder / "data",
                                        "--mask-prompt",
                                        "--num-layers",
                                        "-1",
                                        "--iters",
                                        "10",
                                        "--batch-size",
                                        "2",
                                        "--steps-per-report",
                                        "1",
                                        "--steps-per-eval",
                                        "5",
                                        "--val-batches",
                                        "1",
                                        "--learning-rate",
                                        "1e-3",
                                        "--optimizer",
                                        "adamw",
                                        "-c",
                                        out / "config.yaml",
                                        "--adapter-path",
                                        out / "adapters"},
                               .standard_output = ProcessOutput::kCapture,
                               .standard_error = ProcessOutput::kCapture};
  const ProcessResult result = value_of(run_process(request));
  ASSERT_EQ(result.exit_status, 0) << result.standard_error;

  std::vector<double> train;
  std::vector<double> val;
  std::istringstream lines(value_of(files.read(out / "adapters" / "metrics.jsonl")));
  for (std::string line; std::getline(lines, line);) {
    const json report = json::parse(line);
    if (report.contains("train_loss") && report["train_loss"].is_number()) train.push_back(report["train_loss"]);
    if (report.contains("val_loss") && report["val_loss"].is_number()) val.push_back(report["val_loss"]);
  }
  const json training = expected_of(golden).at("training");
  expect_losses(train, training, "train_losses", "train_loss_tolerances");
  expect_losses(val, training, "val_losses", "val_loss_tolerances");
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTrainingTest, testing::Values("tiny_llama_golden", "tiny_qwen2_golden"),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace evolora
