// For tests that run the evolora binary: a scratch folder with a tiny model and data, and the binary's exit status and output.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/file_system.h"
#include "base/process.h"

namespace evolora {

class CliTest : public testing::Test {
 protected:
  using Json = nlohmann::ordered_json;

  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / ("evolora_" + std::to_string(getpid()) + "_" + info->test_suite_name() + "_" + info->name());
    ASSERT_TRUE(files_.remove(folder_).ok());
    const fs::path golden = fs::path(EVOLORA_SOURCE_DIR) / "tests" / "data" / "tiny_llama_golden" / "model";
    const auto names = files_.list(golden);
    ASSERT_TRUE(names.ok());
    for (const std::string& name : *names) write("model/" + name, text_of(golden / name));
    for (const char* split : {"train", "valid", "test"}) write("data/" + std::string(split) + ".jsonl", completions(6));
  }
  void TearDown() override { EXPECT_TRUE(files_.remove(folder_).ok()); }

  static std::string completions(int count) {
    std::string text;
    for (int i = 0; i < count; ++i)
      text += Json{{"prompt", "question " + std::to_string(i)}, {"completion", "answer " + std::to_string(i * i)}}.dump() + "\n";
    return text;
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  void write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(files_.create_directories((folder_ / name).parent_path()).ok());
    ASSERT_TRUE(write_file_atomically(files_, folder_ / name, text).ok());
  }
  std::string text_of(const fs::path& file) {
    const auto text = files_.read(file);
    EXPECT_TRUE(text.ok()) << file;
    return text.ok() ? *text : "";
  }
  void edit_config(const std::string& key, const Json& value) {
    Json config = Json::parse(text_of(folder_ / "model/config.json"));
    config[key] = value;
    write("model/config.json", config.dump());
  }

  ProcessResult run(std::vector<std::string> arguments) {
    ProcessRequest request;
    request.argv = {EVOLORA_BINARY};
    request.argv.insert(request.argv.end(), arguments.begin(), arguments.end());
    request.standard_output = request.standard_error = ProcessOutput::kCapture;
    auto result = run_process(request);
    EXPECT_TRUE(result.ok()) << result.error().message;
    return result.ok() ? std::move(result).value() : ProcessResult{-1, "", ""};
  }
  // A short training run on the scratch model and data.
  std::vector<std::string> train(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"train", "--train",      "--model", path("model"),  "--data", path("data"),     "--iters",
                                          "4",     "--num-layers", "-1",      "--batch-size", "2",      "--adapter-path", path("adapter")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  FileSystem& files_ = real_file_system();
  fs::path folder_;
};

}  // namespace evolora
