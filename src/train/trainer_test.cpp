// Whole runs on a tiny random model (tests/data/tiny_llama_golden): files, semantics of windows, reproducibility, interrupts, and failures that leave
// nothing behind.
#include <gtest/gtest.h>

#include <cerrno>
#include <cmath>
#include <set>

#include "base/file_system_faults.h"
#include "model/test_model.h"
#include "train/trainer_test_support.h"

namespace evolora {
namespace {

TEST_F(TrainerTest, NativeRunWritesEveryFileAndLearns) {
  TrainRequest train = request();
  train.iters = 20;
  train.save_every = 10;
  train.test = true;
  const TrainResult result = run_ok(train);
  EXPECT_EQ(result.steps, 20);
  EXPECT_EQ(result.train_losses.size(), 10U);
  ASSERT_EQ(result.val_losses.size(), 6U);  // before, 4, 8, 12, 16, 20
  EXPECT_EQ(result.val_losses.front().step, 0);
  EXPECT_EQ(result.val_losses.back().step, 20);
  EXPECT_LT(result.val_losses.back().loss, result.val_losses.front().loss);
  ASSERT_TRUE(result.test_loss.has_value());
  EXPECT_GT(result.tokens_per_second, 0);

  const auto names = files_.list(train.adapter_path);
  ASSERT_TRUE(names.ok());
  EXPECT_EQ(*names,
            (std::vector<std::string>{"0000010_adapters.safetensors", "0000020_adapters.safetensors", "adapter_config.json", "adapters.safetensors",
                                      "best_adapters.safetensors", "metrics.jsonl", "run.json", "training_state.safetensors"}));
  EXPECT_EQ(adapter_bytes("adapter"), read(folder_ / "adapter" / "0000020_adapters.safetensors"));
}

TEST_F(TrainerTest, MetricsHaveALinePerReportAndValidation) {
  run_ok(request());
  const std::vector<Json> lines = metrics("adapter");
  ASSERT_EQ(lines.size(), 4U);  // 0 (validation), 2, 4 (both), 6 (both)
  EXPECT_EQ(lines[0]["step"], Json(0));
  EXPECT_FALSE(lines[0].contains("train_loss"));
  for (const std::size_t i : {1U, 2U, 3U}) {
    EXPECT_EQ(lines[i]["step"], Json(2 * i));
    for (const char* key : {"train_loss", "tokens", "tokens_per_s", "learning_rate", "rss"}) EXPECT_TRUE(lines[i].contains(key)) << key;
    EXPECT_EQ(lines[i].contains("val_loss"), i >= 2) << i;
  }
  EXPECT_EQ(lines[1]["learning_rate"], Json(static_cast<double>(1e-3F)));
}

TEST_F(TrainerTest, RunRecordHasTheFiguresOfTheResult) {
  const TrainResult result = run_ok(request());
  const Json record = Json::parse(read(folder_ / "adapter" / "run.json"));
  EXPECT_EQ(record["status"], Json("completed"));
  EXPECT_EQ(record["steps"], Json(6));
  EXPECT_EQ(record["val_loss"], Json(result.val_losses.back().loss));
  EXPECT_EQ(record["train_loss"], Json(result.train_losses.back().loss));
  EXPECT_EQ(record["planned_arena_bytes"], Json(result.planned_arena_bytes));
  EXPECT_EQ(record["config"]["batch_size"], Json(2));
  for (const char* key : {"tokens_per_second", "wall_seconds", "peak_rss_bytes", "peak_arena_bytes", "base_products", "versions", "machine"}) {
    EXPECT_TRUE(record.contains(key)) << key;
  }
}

TEST_F(TrainerTest, MemoryPlanIsWhatTheEngineUses) {
  for (const Semantics semantics : {Semantics::kNative, Semantics::kCompatMlxLm}) {
    TrainRequest train = request();
    train.semantics = semantics;
    train.iters = 10;
    const TrainResult result = run_ok(train);
    EXPECT_EQ(result.planned_arena_bytes, recorder_.plans.back().arena_bytes);
    EXPECT_LE(result.peak_arena_bytes, result.planned_arena_bytes);
    EXPECT_GT(result.peak_arena_bytes, 0U);
    EXPECT_EQ(recorder_.plans.back().trainable_parameters, result.trainable_parameters);
  }
}

TEST_F(TrainerTest, SameSeedSameBytesOtherSeedOthers) {
  for (const Semantics semantics : {Semantics::kNative, Semantics::kCompatMlxLm}) {
    TrainRequest train = request("first");
    train.semantics = semantics;
    train.dropout = 0.1;
    run_ok(train);
    train.adapter_path = (folder_ / "second").string();
    run_ok(train);
    train.adapter_path = (folder_ / "third").string();
    train.seed = 1;
    run_ok(train);
    EXPECT_EQ(adapter_bytes("first"), adapter_bytes("second"));
    EXPECT_NE(adapter_bytes("first"), adapter_bytes("third"));
  }
}

TEST_F(TrainerTest, WindowOfSmallBatchesIsOneLargeBatch) {
  // With a large eps the first update is linear in the gradient, so that the adapters compare gradients.
  TrainRequest large = request("large");
  large.optimizer_config = Json::parse(R"({"adam": {"eps": 1000.0}})");
  large.learning_rate = 1e3;
  large.iters = 1;
  large.batch_size = 9;
  run_ok(large);
  TrainRequest small = large;
  small.adapter_path = (folder_ / "small").string();
  small.batch_size = 2;
  small.iters = 5;  // 4 full batches and one of a single sample
  small.grad_accumulation_steps = 5;
  run_ok(small);
  TrainRequest none = large;
  none.adapter_path = (folder_ / "none").string();
  none.learning_rate = 0;
  run_ok(none);

  const std::vector<double> start = adapter_values("none");
  const std::vector<double> a = adapter_values("large");
  const std::vector<double> b = adapter_values("small");
  double update = 0;
  double difference = 0;
  for (std::size_t i = 0; i < start.size(); ++i) {
    update += (a[i] - start[i]) * (a[i] - start[i]);
    difference += (a[i] - b[i]) * (a[i] - b[i]);
  }
  ASSERT_GT(update, 0);
  // Worst case of fp32 sums: about 40 chained ones (two blocks, forward and backward) over at most 400 terms each.
  const double rounding = 40 * 400 * 0x1p-24;
  EXPECT_LT(std::sqrt(difference / update), rounding);
}

TEST_F(TrainerTest, NativeAppliesTheLastIncompleteWindowCompatDropsIt) {
  const auto adapter_after = [&](Semantics semantics, std::int64_t iters) {
    TrainRequest train = request();
    train.semantics = semantics;
    train.grad_accumulation_steps = 2;
    train.iters = iters;
    run_ok(train);
    return adapter_bytes("adapter");
  };
  EXPECT_EQ(adapter_after(Semantics::kCompatMlxLm, 2), adapter_after(Semantics::kCompatMlxLm, 3));
  EXPECT_NE(adapter_after(Semantics::kNative, 2), adapter_after(Semantics::kNative, 3));
}

TEST_F(TrainerTest, CompatValidatesBeforeTheStep) {
  TrainRequest train = request();
  train.semantics = Semantics::kCompatMlxLm;
  const TrainResult result = run_ok(train);
  std::vector<std::int64_t> at;
  for (const LossPoint& point : result.val_losses) at.push_back(point.step);
  EXPECT_EQ(at, (std::vector<std::int64_t>{0, 3, 5}));
}

TEST_F(TrainerTest, EpochsBecomeSteps) {
  TrainRequest train = request();
  train.iters.reset();
  train.epochs = 1.5;  // 5 batches of an epoch: 7.5 steps
  EXPECT_EQ(run_ok(train).steps, 8);
  EXPECT_EQ(recorder_.steps.back().epoch, 1.6);
  train.epochs = 0.2;
  EXPECT_EQ(run_ok(train).steps, 1);
}

TEST_F(TrainerTest, ResumesFromAnAdapterFileAndTestsOnly) {
  run_ok(request("first"));
  TrainRequest test = request("first");
  test.train = false;
  test.test = true;
  const TrainResult tuned = run_ok(test);
  test.adapter_path.clear();
  const TrainResult base = run_ok(test);
  ASSERT_TRUE(tuned.test_loss && base.test_loss);
  EXPECT_LT(*tuned.test_loss, *base.test_loss);

  TrainRequest resumed = request("second");
  resumed.resume_adapter_file = (folder_ / "first" / "adapters.safetensors").string();
  resumed.learning_rate = 0;
  run_ok(resumed);
  EXPECT_EQ(adapter_bytes("first"), adapter_bytes("second"));
}

TEST_F(TrainerTest, StopFlagSavesTheLastStep) {
  std::atomic<bool> stop{false};
  recorder_.stop = &stop;
  recorder_.stop_after = 3;
  const Error error = run_error(request(), {.stop = &stop});
  EXPECT_EQ(error.code, ErrorCode::kInterrupted);
  EXPECT_NE(error.message.find("after step 3 of 6"), std::string::npos) << error.message;
  EXPECT_EQ(recorder_.steps.size(), 3U);
  EXPECT_FALSE(adapter_bytes("adapter").empty());
  EXPECT_EQ(Json::parse(read(folder_ / "adapter" / "run.json"))["status"], Json("interrupted"));
}

TEST_F(TrainerTest, UnwritableFolderFailsBeforeTheFirstStep) {
  FaultyFileSystem faulty(files_);
  faulty.fail(FileOperation::kCreate, 0, EACCES);
  const auto result = run_training(request(), faulty, recorder_);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kIo);
  EXPECT_TRUE(recorder_.steps.empty());
}

TEST_F(TrainerTest, EveryFailingWriteIsAnErrorAndLeavesWholeAdapters) {
  TrainRequest train = request();
  train.iters = 1;
  train.save_every = 1;
  FaultyFileSystem counter(files_);
  ASSERT_TRUE(run_training(train, counter, recorder_).ok());
  for (std::size_t nth = 0; nth < counter.total_count(); ++nth) {
    ASSERT_TRUE(files_.remove(train.adapter_path).ok());
    FaultyFileSystem faulty(files_);
    faulty.fail_any(nth, ENOSPC);
    const auto result = run_training(train, faulty, recorder_);
    EXPECT_FALSE(result.ok()) << nth;
    const auto names = files_.list(train.adapter_path);
    if (!names.ok()) continue;
    for (const std::string& name : *names) {
      const bool whole = !name.ends_with(".safetensors") || SafetensorsFile::open(files_, fs::path(train.adapter_path) / name).ok();
      EXPECT_TRUE(whole) << nth << " " << name;
      EXPECT_EQ(name.find(".tmp"), std::string::npos) << nth << " " << name;
    }
  }
}

TEST_F(TrainerTest, AnAdapterNeverStandsBesideTheConfigurationOfAnotherRun) {
  TrainRequest train = request();
  run_ok(train);
  const std::string config = read(folder_ / "adapter/adapter_config.json");
  const std::string adapter = adapter_bytes("adapter");
  train.scale = 1;
  train.lora_parameters["scale"] = 1.0;
  train.learning_rate = 1e29;  // fails before anything is saved
  run_error(train);
  EXPECT_EQ(read(folder_ / "adapter/adapter_config.json"), config);
  EXPECT_EQ(adapter_bytes("adapter"), adapter);
  train.learning_rate = 1e-3;
  run_ok(train);
  EXPECT_NE(read(folder_ / "adapter/adapter_config.json"), config);
}

TEST_F(TrainerTest, NonFiniteLossStopsAndKeepsTheLastGoodAdapter) {
  TrainRequest train = request();
  train.learning_rate = 1e25;
  train.optimizer_config = Json::parse(R"({"adam": {"bias_correction": true}})");
  train.save_every = 1;
  const Error error = run_error(train);
  EXPECT_EQ(error.code, ErrorCode::kBadData);
  EXPECT_NE(error.message.find("finite"), std::string::npos) << error.message;
  for (const double value : adapter_values("adapter")) ASSERT_TRUE(std::isfinite(value));
  EXPECT_EQ(Json::parse(read(folder_ / "adapter" / "run.json"))["status"], Json("failed"));
}

TEST_F(TrainerTest, AdapterThatOverflowsIsNotSaved) {
  TrainRequest train = request();
  train.learning_rate = 3e38;  // the first update leaves the range of fp32
  train.optimizer_config = Json::parse(R"({"adam": {"bias_correction": true}})");
  train.save_every = 1;
  const Error error = run_error(train);
  EXPECT_NE(error.message.find("was not saved"), std::string::npos) << error.message;
  EXPECT_FALSE(files_.exists(folder_ / "adapter" / "adapters.safetensors"));
}

TEST_F(TrainerTest, ScheduleAdvancesWithUpdatesAndStartsAtItsFirstValue) {
  TrainRequest train = request();
  train.lr_schedule = Json::parse(R"({"name": "linear_schedule", "arguments": [1e-3, 0.0, 4]})");
  train.grad_accumulation_steps = 2;
  train.iters = 4;
  train.steps_per_report = 1;
  run_ok(train);
  std::vector<float> rates;
  for (const TrainReport& report : recorder_.reports) rates.push_back(static_cast<float>(report.learning_rate));
  EXPECT_EQ(rates, (std::vector<float>{1e-3F, 1e-3F, 1e-3F, 1e-3F - 2.5e-4F}));
}

TEST_F(TrainerTest, EveryStepHasItsOwnDropoutMasks) {
  write("data/train.jsonl", completions(1));
  TrainRequest train = request("trained");
  train.batch_size = 1;
  run_ok(train);  // lora_b is no longer zero
  train.resume_adapter_file = (folder_ / "trained" / "adapters.safetensors").string();
  train.learning_rate = 0;
  train.steps_per_report = 1;
  const auto losses_with = [&](double dropout) {
    train.dropout = dropout;
    std::set<double> losses;
    for (const LossPoint& point : run_ok(train).train_losses) losses.insert(point.loss);
    return losses;
  };
  EXPECT_EQ(losses_with(0).size(), 1U);
  EXPECT_EQ(losses_with(0.5).size(), 6U);
}

TEST_F(TrainerTest, CompatBatchWithoutSupervisionSaysWhatMlxLmWouldDo) {
  TrainRequest train = request();
  train.semantics = Semantics::kCompatMlxLm;
  train.mask_prompt = true;
  train.max_seq_length = 8;
  ASSERT_TRUE(files_.remove(folder_ / "data" / "valid.jsonl").ok());
  const Error error = run_error(train);
  EXPECT_EQ(error.code, ErrorCode::kBadData);
  EXPECT_NE(error.message.find("NaN"), std::string::npos) << error.message;
}

TEST_F(TrainerTest, NativeLeavesOutWhatCannotBeLearnedAndSaysWhere) {
  const std::string hopeless = Json{{"prompt", std::string(500, 'p')}, {"completion", "x"}}.dump() + "\n";
  write("data/train.jsonl", completions(4) + hopeless);
  TrainRequest train = request();
  train.mask_prompt = true;
  train.max_seq_length = 100;
  run_ok(train);
  std::string all;
  for (const std::string& warning : recorder_.warnings) all += warning + "\n";
  EXPECT_NE(all.find("1 sample without a token to learn was left out (line 5)"), std::string::npos) << all;
  EXPECT_EQ(recorder_.plans.back().train->dropped, 1U);
}

TEST_F(TrainerTest, LongSamplesAreCutAndCounted) {
  write("data/train.jsonl", completions(4) + Json{{"prompt", "q"}, {"completion", std::string(500, 'p')}}.dump() + "\n");
  TrainRequest train = request();
  train.max_seq_length = 64;
  run_ok(train);
  EXPECT_EQ(recorder_.plans.back().train->truncated, 1U);
  ASSERT_FALSE(recorder_.warnings.empty());
  EXPECT_NE(recorder_.warnings[0].find("1 of 5 samples are longer than 64 tokens and were cut"), std::string::npos) << recorder_.warnings[0];
}

TEST_F(TrainerTest, MissingValidationDataIsAWarning) {
  ASSERT_TRUE(files_.remove(folder_ / "data" / "valid.jsonl").ok());
  const TrainResult result = run_ok(request());
  EXPECT_TRUE(result.val_losses.empty());
  ASSERT_EQ(recorder_.warnings.size(), 1U);
  EXPECT_NE(recorder_.warnings[0].find("without validation"), std::string::npos);
}

// Each of these must be found before anything is written.
TEST_F(TrainerTest, BadInputNamesItselfAndWritesNothing) {
  struct Case {
    std::function<void(TrainRequest&)> change;
    ErrorCode code;
    std::string message;
  };
  const std::vector<Case> cases = {
      {[](TrainRequest& r) { r.train = false; }, ErrorCode::kUsage, "--train"},
      {[](TrainRequest& r) { r.adapter_path.clear(); }, ErrorCode::kUsage, "--adapter-path"},
      {[](TrainRequest& r) { r.model.clear(); }, ErrorCode::kUsage, "--model"},
      {[](TrainRequest& r) { r.model = "mlx-community/SmolLM2"; }, ErrorCode::kNotFound, "evolora fetch"},
      {[](TrainRequest& r) { r.model = "/nonexistent/model"; }, ErrorCode::kNotFound, "evolora convert"},
      {[](TrainRequest& r) { r.model += "/config.json"; }, ErrorCode::kUsage, "is a file"},
      {[](TrainRequest& r) { r.data.clear(); }, ErrorCode::kUsage, "--data"},
      {[](TrainRequest& r) { r.data = "mlx-community/WikiSQL"; }, ErrorCode::kNotFound, "export"},
      {[](TrainRequest& r) { r.data += "/train.jsonl"; }, ErrorCode::kUsage, "is a file"},
      {[](TrainRequest& r) { r.recipe.mlx = optimized_mlx_recipe(); }, ErrorCode::kUsage, "--engine mlx"},
      {[](TrainRequest& r) { r.num_layers = 99; }, ErrorCode::kUsage, "99"},
      {[](TrainRequest& r) { r.keys = std::vector<std::string>{"self_attn.q_prj"}; }, ErrorCode::kUsage, "self_attn.q_proj"},
      {[](TrainRequest& r) { r.resume_adapter_file = "/nonexistent.safetensors"; }, ErrorCode::kNotFound, "/nonexistent.safetensors"},
      {[](TrainRequest& r) { r.batch_size = 100, r.semantics = Semantics::kCompatMlxLm; }, ErrorCode::kBadData, "train.jsonl"},
  };
  for (const Case& bad : cases) {
    TrainRequest train = request();
    bad.change(train);
    const Error error = run_error(train);
    EXPECT_EQ(error.code, bad.code) << error.message;
    EXPECT_NE(error.message.find(bad.message), std::string::npos) << error.message;
    EXPECT_FALSE(files_.exists(folder_ / "adapter")) << error.message;
  }
  EXPECT_TRUE(recorder_.plans.empty());
}

TEST_F(TrainerTest, EmptyTrainingFileIsAnError) {
  write("data/train.jsonl", "");
  const Error error = run_error(request());
  EXPECT_EQ(error.code, ErrorCode::kBadData);
  EXPECT_NE(error.message.find("train.jsonl: the file has no records"), std::string::npos) << error.message;
}

TEST_F(TrainerTest, TokenizerOfAnotherModelIsFound) {
  TestModel small;
  small.vocab_size = 40;
  write_test_model(small, folder_ / "model");
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}) {
    write(std::string("model/") + name, read(fs::path(EVOLORA_SOURCE_DIR "/tests/data/tiny_llama_golden/model") / name));
  }
  TrainRequest train = request();
  train.model = (folder_ / "model").string();
  const Error error = run_error(train);
  EXPECT_EQ(error.code, ErrorCode::kBadData);
  EXPECT_NE(error.message.find("train.jsonl:1: token id"), std::string::npos) << error.message;
}

}  // namespace
}  // namespace evolora
