// Runs that stop and go on: the same bytes as one that did not, wherever it stopped; and what is refused.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/test_folder.h"
#include "train/trainer_test_support.h"
#include "train/training_state.h"

namespace evolora {
namespace {

class ResumeTest : public TrainerTest {
 protected:
  // Runs until after `step`, then goes on.
  TrainResult stop_and_resume(TrainRequest train, std::int64_t step) {
    std::atomic<bool> stop{false};
    recorder_ = {};
    recorder_.stop = &stop;
    recorder_.stop_after = step;
    EXPECT_EQ(run_error(train, {.stop = &stop}).code, ErrorCode::kInterrupted);
    recorder_ = {};
    train.resume = true;
    return run_ok(train);
  }
  // What does not depend on the clock.
  static std::vector<Json> timeless(std::vector<Json> lines) {
    for (Json& line : lines) {
      for (const char* key : {"tokens_per_s", "rss", "val_seconds"}) line.erase(key);
    }
    return lines;
  }
  Json record(const std::string& adapter) {
    Json json = Json::parse(read(folder_ / adapter / "run.json"));
    Json out;
    for (const char* key : {"steps", "trained_tokens", "train_losses", "val_losses", "best_val_loss", "best_val_step"}) out[key] = json[key];
    return out;
  }
  void expect_same_run(const std::string& expected, const std::string& got) {
    EXPECT_EQ(adapter_bytes(expected), adapter_bytes(got));
    EXPECT_EQ(read(folder_ / expected / "best_adapters.safetensors"), read(folder_ / got / "best_adapters.safetensors"));
    EXPECT_EQ(timeless(metrics(expected)), timeless(metrics(got)));
    EXPECT_EQ(record(expected), record(got));
  }
};

TEST_F(ResumeTest, StoppedAfterAnyStepGivesTheSameBytes) {
  TrainRequest train = request("whole");
  train.iters = 13;  // more than two epochs of 5 batches, and an incomplete last window
  train.grad_accumulation_steps = 3;
  train.dropout = 0.2;
  train.steps_per_report = 5;
  train.save_every = 4;
  run_ok(train);
  train.adapter_path = (folder_ / "parts").string();
  for (std::int64_t step = 1; step < 13; ++step) {
    SCOPED_TRACE(step);
    ASSERT_TRUE(files_.remove(train.adapter_path).ok());
    const TrainResult result = stop_and_resume(train, step);
    EXPECT_EQ(result.resumed_from_step, step);
    EXPECT_EQ(recorder_.steps.size(), static_cast<std::size_t>(13 - step));
    expect_same_run("whole", "parts");
  }
}

TEST_F(ResumeTest, AlsoWithPackingMicroBatchesAndThePrefixCache) {
  for (const PrefixCache cache : {PrefixCache::kMemory, PrefixCache::kFile}) {
    TrainRequest train = request("whole");
    train.iters = 9;
    train.num_layers = 1;
    train.packing = true;
    train.batch_size = 1;
    train.max_seq_length = 96;
    train.recipe.prefix_cache = cache;
    train.recipe.micro_batch_tokens = 48;
    run_ok(train);
    train.adapter_path = (folder_ / "parts").string();
    for (const std::int64_t step : {1, 4, 8}) {
      ASSERT_TRUE(files_.remove(train.adapter_path).ok());
      const TrainResult result = stop_and_resume(train, step);
      EXPECT_EQ(result.peak_arena_bytes, result.planned_arena_bytes);
      expect_same_run("whole", "parts");
    }
  }
}

TEST_F(ResumeTest, FinishedRunGoesOnWithMoreSteps) {
  TrainRequest train = request("whole");
  train.iters = 12;
  train.steps_per_eval = 3;
  train.steps_per_report = 3;
  run_ok(train);
  train.adapter_path = (folder_ / "parts").string();
  train.iters = 6;
  train.save_every = 6;
  run_ok(train);
  train.iters = 12;
  train.resume = true;
  run_ok(train);
  expect_same_run("whole", "parts");
  run_ok(train);  // the last saved step is the last one: nothing to train
  expect_same_run("whole", "parts");
}

TEST_F(ResumeTest, TheArithmeticIsThatOfTheFirstRun) {
  TrainRequest train = request();
  train.recipe.saved_activations = StorageType::kBf16;
  train.recipe.micro_batch_tokens = 40;
  train.save_every = 2;
  run_ok(train);
  train.recipe = {};
  train.resume = true;
  run_ok(train);
  EXPECT_EQ(recorder_.plans.back().recipe.saved_activations, StorageType::kBf16);
  EXPECT_EQ(recorder_.plans.back().recipe.micro_batch_tokens, 40);
  EXPECT_TRUE(recorder_.warnings.empty());
  train.recipe.saved_activations = StorageType::kFp32;  // wanted otherwise
  run_ok(train);
  ASSERT_EQ(recorder_.warnings.size(), 1U);
  EXPECT_NE(recorder_.warnings.front().find("agree to rounding"), std::string::npos);
}

// A state from a version that had no such choice: what it did not do, the run that goes on does not do.
TEST_F(ResumeTest, AStateThatKnowsNoCommonBeginningsGoesOnWithoutThem) {
  TrainRequest train = request();
  train.recipe.share_prefixes = true;
  train.save_every = 2;
  run_ok(train);
  const fs::path path = folder_ / "adapter" / kTrainingStateFile;
  std::string state = read(path);
  const std::string field = R"(,\"share_prefixes\":\"on\")";
  const std::size_t at = state.find(field);
  ASSERT_NE(at, std::string::npos);
  ASSERT_TRUE(write_file_atomically(files_, path, state.replace(at, field.size(), field.size(), ' ')).ok());
  train.recipe = {};
  train.resume = true;
  run_ok(train);
  EXPECT_FALSE(recorder_.plans.back().recipe.share_prefixes);
}

TEST_F(ResumeTest, NothingToResumeStartsAnewAndSaysSo) {
  TrainRequest train = request();
  train.resume = true;
  EXPECT_EQ(run_ok(train).resumed_from_step, 0);
  ASSERT_EQ(recorder_.warnings.size(), 1U);
  EXPECT_NE(recorder_.warnings.front().find("starting with the first step"), std::string::npos);
}

TEST_F(ResumeTest, ARunThatDoesNotResumeLeavesNoOldState) {
  TrainRequest train = request();
  train.save_every = 2;
  run_ok(train);
  EXPECT_TRUE(files_.exists(folder_ / "adapter" / kTrainingStateFile));
  train.save_every = 100;
  run_ok(train);
  EXPECT_FALSE(files_.exists(folder_ / "adapter" / kTrainingStateFile));
}

TEST_F(ResumeTest, AnotherRunsStateIsRefusedByName) {
  TrainRequest train = request();
  train.save_every = 2;
  run_ok(train);
  train.resume = true;
  const std::string before = adapter_bytes("adapter");
  const auto refused = [&](const TrainRequest& other, const char* words) {
    const Error error = run_error(other);
    EXPECT_EQ(error.code, ErrorCode::kUsage);
    EXPECT_NE(error.message.find(words), std::string::npos) << error.message;
    EXPECT_NE(error.message.find(words == std::string("steps") ? "--resume" : kTrainingStateFile), std::string::npos) << error.message;
    EXPECT_EQ(adapter_bytes("adapter"), before);
  };
  TrainRequest other = train;
  other.learning_rate = 2e-3;
  refused(other, "learning_rate was 0.001 and is 0.002 now");
  other = train;
  other.batch_size = 3;
  refused(other, "batch_size was 2 and is 3 now");
  other = train;
  other.iters = 3;
  refused(other, "steps");
  write("data/train.jsonl", completions(8));
  refused(train, "train_data was");
}

TEST_F(ResumeTest, StoppedInsideAWindowKeepsItsNumberOfSteps) {
  TrainRequest train = request();
  train.grad_accumulation_steps = 4;
  std::atomic<bool> stop{false};
  recorder_.stop = &stop;
  recorder_.stop_after = 5;
  EXPECT_EQ(run_error(train, {.stop = &stop}).code, ErrorCode::kInterrupted);
  recorder_ = {};
  train.resume = true;
  train.iters = 8;
  EXPECT_NE(run_error(train).message.find("inside an accumulation window"), std::string::npos);
  train.iters = 6;
  run_ok(train);
}

TEST_F(ResumeTest, ARunThatCannotStartLeavesTheEarlierRunsFiles) {
  TrainRequest train = request();
  train.save_every = 2;
  run_ok(train);
  const fs::path folder = folder_ / "adapter";
  const std::vector<const char*> names = {"run.json", "metrics.jsonl", "adapter_config.json", "adapters.safetensors", kTrainingStateFile};
  std::vector<std::string> before;
  for (const char* name : names) before.push_back(read(folder / name));
  const auto expect_untouched = [&](const TrainRequest& bad, ErrorCode code) {
    EXPECT_EQ(run_error(bad).code, code);
    for (std::size_t i = 0; i < names.size(); ++i) EXPECT_EQ(read(folder / names[i]), before[i]) << names[i];
  };
  TrainRequest too_large = train;
  too_large.memory_limit_bytes = 1000000;
  expect_untouched(too_large, ErrorCode::kTooLarge);
  TrainRequest no_recipe = train;
  no_recipe.recipe_file = (folder_ / "none.json").string();
  expect_untouched(no_recipe, ErrorCode::kNotFound);
  TrainRequest over_already = train;
  over_already.resume = true;
  over_already.iters = 4;
  expect_untouched(over_already, ErrorCode::kUsage);
}

TEST_F(ResumeTest, BrokenStatesAreErrorsNotCrashes) {
  TrainRequest train = request();
  train.save_every = 2;
  run_ok(train);
  const fs::path path = folder_ / "adapter" / kTrainingStateFile;
  const std::string whole = read(path);
  train.resume = true;
  const auto error_with = [&](const std::string& bytes) {
    EXPECT_TRUE(write_file_atomically(files_, path, bytes).ok());
    return run_error(train);
  };
  EXPECT_EQ(error_with(whole.substr(0, whole.size() - 4)).code, ErrorCode::kCorrupt);
  EXPECT_EQ(error_with(adapter_bytes("adapter")).code, ErrorCode::kBadData);
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string bytes = whole;
    const std::size_t at = bytes.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    EXPECT_EQ(from.size(), to.size());
    bytes.replace(at, from.size(), to);
    return bytes;
  };
  EXPECT_EQ(error_with(replaced(R"(\"version\":1)", R"(\"version\":9)")).code, ErrorCode::kBadData);
  EXPECT_EQ(error_with(replaced(R"(\"loss_sum\":)", R"(\"loss_zum\":)")).code, ErrorCode::kBadData);
  EXPECT_EQ(error_with(replaced(R"(\"step\":6)", R"(\"step\":0)")).code, ErrorCode::kUsage);
  EXPECT_EQ(error_with(replaced("first_moments", "worst_moments")).code, ErrorCode::kBadData);
}

// The recipe still says the same folder; what is in it decides how sums are rounded.
TEST_F(ResumeTest, AnotherKernelPackInTheSameFolderIsNoticed) {
  const fs::path source = fs::path(EVOLORA_SOURCE_DIR) / "examples/packs/cpu/lora_linear_backward";
  ASSERT_TRUE(files_.create_directories(folder_ / "pack").ok());
  for (const char* name : {"pack.json", "kernel.cpp"}) write_test_file(folder_ / "pack" / name, read(source / name));
  write_test_file(folder_ / "recipe.json", R"({"pack": "pack"})");
  TrainRequest train = request("run");
  train.recipe_file = (folder_ / "recipe.json").string();
  const auto noticed = [&] {
    return std::any_of(recorder_.warnings.begin(), recorder_.warnings.end(), [](const std::string& warning) {
      return warning.find("its kernel pack or the instruction set is not that") != std::string::npos;
    });
  };
  stop_and_resume(train, 2);
  EXPECT_FALSE(noticed());
  std::atomic<bool> stop{false};
  recorder_ = {};
  recorder_.stop = &stop;
  recorder_.stop_after = 2;
  EXPECT_EQ(run_error(train, {.stop = &stop}).code, ErrorCode::kInterrupted);
  write_test_file(folder_ / "pack/kernel.cpp", read(source / "kernel.cpp") + "// edited\n");
  recorder_ = {};
  train.resume = true;
  run_ok(train);
  EXPECT_TRUE(noticed());
}

}  // namespace
}  // namespace evolora
