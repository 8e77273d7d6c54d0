// What tests of whole runs share: a scratch folder with data, a request on a tiny random model (tests/data/tiny_llama_golden), and an observer that
// remembers everything.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "formats/safetensors.h"
#include "train/trainer.h"

namespace evolora {

using Json = nlohmann::ordered_json;

class Recorder final : public TrainObserver {
 public:
  void on_plan(const TrainPlan& plan) override { plans.push_back(plan); }
  void on_progress(const StepProgress& progress) override {
    steps.push_back(progress);
    if (stop != nullptr && progress.step == stop_after) stop->store(true);
  }
  void on_report(const TrainReport& report) override { reports.push_back(report); }
  void on_validation(const ValidationReport& validation) override { validations.push_back(validation); }
  void on_warning(const std::string& message) override { warnings.push_back(message); }

  std::vector<TrainPlan> plans;
  std::vector<StepProgress> steps;
  std::vector<TrainReport> reports;
  std::vector<ValidationReport> validations;
  std::vector<std::string> warnings;
  std::atomic<bool>* stop = nullptr;
  std::int64_t stop_after = 0;
};

class TrainerTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / ("trainer_test_" + std::to_string(getpid()) + "_" + info->name());
    ASSERT_TRUE(files_.remove(folder_).ok());
    write("data/train.jsonl", completions(9));
    write("data/valid.jsonl", completions(4));
    write("data/test.jsonl", completions(3));
  }
  void TearDown() override { EXPECT_TRUE(files_.remove(folder_).ok()); }

  void write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(files_.create_directories((folder_ / name).parent_path()).ok());
    ASSERT_TRUE(write_file_atomically(files_, folder_ / name, text).ok());
  }
  // Records of growing length, so that batches differ in their numbers of tokens.
  static std::string completions(int count) {
    std::string text;
    for (int i = 0; i < count; ++i) {
      const std::string answer(static_cast<std::size_t>(2 + 3 * i), static_cast<char>('a' + i));
      text += Json{{"prompt", "question " + std::to_string(i)}, {"completion", answer}}.dump() + "\n";
    }
    return text;
  }
  TrainRequest request(const std::string& adapter = "adapter") const {
    TrainRequest out;
    out.model = EVOLORA_SOURCE_DIR "/tests/data/tiny_llama_golden/model";
    out.data = (folder_ / "data").string();
    out.adapter_path = (folder_ / adapter).string();
    out.train = true;
    out.num_layers = -1;
    out.batch_size = 2;
    out.iters = 6;
    out.learning_rate = 1e-3;
    out.steps_per_report = 2;
    out.steps_per_eval = 4;
    out.recipe.threads = 2;
    return out;
  }
  Result<TrainResult> run(const TrainRequest& train, const TrainControl& control = {}) { return run_training(train, files_, recorder_, control); }
  TrainResult run_ok(const TrainRequest& train) {
    auto result = run(train);
    EXPECT_TRUE(result.ok()) << result.error().message;
    return result.ok() ? std::move(result).value() : TrainResult();
  }
  Error run_error(const TrainRequest& train, const TrainControl& control = {}) {
    const auto result = run(train, control);
    EXPECT_FALSE(result.ok());
    return result.ok() ? Error{} : result.error();
  }
  std::string read(const fs::path& path) {
    const auto text = files_.read(path);
    EXPECT_TRUE(text.ok()) << path;
    return text.ok() ? *text : "";
  }
  std::string adapter_bytes(const std::string& adapter) { return read(folder_ / adapter / "adapters.safetensors"); }
  std::vector<double> adapter_values(const std::string& adapter) {
    const auto file = SafetensorsFile::open(files_, folder_ / adapter / "adapters.safetensors");
    EXPECT_TRUE(file.ok());
    std::vector<double> values;
    for (const TensorView& tensor : file->tensors()) {
      for (std::int64_t i = 0; i < tensor.element_count(); ++i) {
        values.push_back(static_cast<double>(load_float(tensor.dtype, tensor.bytes.data(), static_cast<std::size_t>(i))));
      }
    }
    return values;
  }
  std::vector<Json> metrics(const std::string& adapter) {
    std::istringstream text(read(folder_ / adapter / "metrics.jsonl"));
    std::vector<Json> lines;
    for (std::string line; std::getline(text, line);) lines.push_back(Json::parse(line));
    return lines;
  }

  FileSystem& files_ = real_file_system();
  fs::path folder_;
  Recorder recorder_;
};

}  // namespace evolora
