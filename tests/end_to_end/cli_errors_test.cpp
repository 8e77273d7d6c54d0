// Every kind of bad input a user can give: one line on standard error that names the cause, exit status 2, and nothing half-written.
#include "cli_support.h"

#include <algorithm>
#include <functional>

namespace evolora {
namespace {

class CliErrors : public CliTest {
 protected:
  void expect_error(const ProcessResult& result, const std::vector<std::string>& words) {
    EXPECT_EQ(result.exit_status, 2) << result.standard_error;
    // Warnings may come first; the error is the last line.
    const std::string& text = result.standard_error;
    ASSERT_FALSE(text.empty());
    EXPECT_EQ(text.back(), '\n');
    const std::size_t start = text.rfind('\n', text.size() - 2);
    const std::string line = text.substr(start == std::string::npos ? 0 : start + 1);
    EXPECT_EQ(line.rfind("evolora: error: ", 0), 0U) << text;
    for (const std::string& word : words) EXPECT_NE(line.find(word), std::string::npos) << "'" << word << "' in: " << line;
  }
  void expect_failed_training(const std::vector<std::string>& more, const std::vector<std::string>& words) {
    expect_error(run(train(more)), words);
    EXPECT_FALSE(files_.exists(path("adapter"))) << "something was written";
  }
};

// ---- the command line ----

TEST_F(CliErrors, MisspeltFlag) {
  expect_failed_training({"--learning-rat", "1e-4"}, {"unknown flag '--learning-rat'", "did you mean '--learning-rate'?"});
  expect_failed_training({"--bacth-size=3"}, {"unknown flag '--bacth-size'", "did you mean '--batch-size'?"});
  expect_error(run({"generate", "--max-token", "3"}), {"did you mean '--max-tokens'?"});
}

TEST_F(CliErrors, MisspeltOrMissingCommand) {
  expect_error(run({"trian", "--model", "x"}), {"unknown command 'trian'", "did you mean 'train'?"});
  expect_error(run({}), {"no command given", "train"});
}

TEST_F(CliErrors, StrayWord) { expect_failed_training({"extra"}, {"unexpected argument 'extra'"}); }

TEST_F(CliErrors, ValuesOfTheWrongType) {
  expect_failed_training({"--iters", "ten"}, {"--iters", "a whole number", "ten"});
  expect_failed_training({"--batch-size", "0"}, {"--batch-size", "got 0"});
  expect_failed_training({"--learning-rate", "fast"}, {"--learning-rate", "a number"});
  expect_failed_training({"--optimizer", "adma"}, {"did you mean 'adam'?"});
  expect_failed_training({"--epochs", "1"}, {"--epochs", "--iters"});
  expect_failed_training({"--iters"}, {"--iters"});
}

TEST_F(CliErrors, WhatIsNotSupportedYetIsNamed) {
  expect_failed_training({"--fine-tune-type", "dora"}, {"dora", "not supported yet"});
  expect_failed_training({"--optimizer", "muon"}, {"muon", "not supported yet"});
  expect_failed_training({"--report-to", "wandb"}, {"wandb", "metrics.jsonl"});
}

TEST_F(CliErrors, MisspeltKeyOfAConfiguration) {
  write("lora.yaml", "seed: 1\nlearning_rte: 1e-4\n");
  expect_failed_training({"-c", path("lora.yaml")}, {"lora.yaml:2: unknown key 'learning_rte'; did you mean 'learning_rate'?"});
  write("lora.yaml", "lora_parameters: {rank: 4, scale: 10.0}\n");
  expect_failed_training({"-c", path("lora.yaml")}, {"lora.yaml:1:", "'dropout' is missing"});
  expect_failed_training({"-c", path("missing.yaml")}, {"missing.yaml"});
}

TEST_F(CliErrors, NothingToDo) { expect_error(run({"train", "--model", path("model"), "--data", path("data")}), {"--train", "--test"}); }

// ---- the model ----

TEST_F(CliErrors, MissingModelFiles) {
  expect_failed_training({"--model", path("nowhere")}, {"nowhere", "does not exist"});
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json"}) {
    const std::string content = text_of(folder_ / "model" / name);
    ASSERT_TRUE(files_.remove(folder_ / "model" / name).ok());
    expect_failed_training({}, {std::string(name) == "model.safetensors" ? "safetensors" : name});
    write(std::string("model/") + name, content);
  }
}

TEST_F(CliErrors, TruncatedWeights) {
  const std::string content = text_of(folder_ / "model/model.safetensors");
  for (const std::size_t kept : {std::size_t{0}, std::size_t{5}, std::size_t{100}, content.size() / 2, content.size() - 1}) {
    write("model/model.safetensors", content.substr(0, kept));
    expect_failed_training({}, {"model.safetensors"});
  }
}

TEST_F(CliErrors, MisshapenWeights) {
  edit_config("intermediate_size", 128);
  expect_failed_training({}, {"mlp", "128"});
}

TEST_F(CliErrors, BrokenConfiguration) {
  write("model/config.json", "{\"model_type\": ");
  expect_failed_training({}, {"config.json"});
}

TEST_F(CliErrors, UnknownArchitecture) {
  edit_config("model_type", "gpt2");
  expect_failed_training({}, {"gpt2"});
}

TEST_F(CliErrors, NumLayersAboveTheModels) { expect_failed_training({"--num-layers", "16"}, {"16", "2"}); }

// ---- the data ----

TEST_F(CliErrors, BadJsonNamesItsLine) {
  write("data/train.jsonl", completions(2) + "{\"prompt\": \"a\", \"completion\"\n" + completions(1));
  expect_failed_training({}, {"train.jsonl:3"});
  write("data/train.jsonl", completions(1) + "{\"prompt\": \"a\"}\n");
  expect_failed_training({}, {"train.jsonl:2", "completion"});
  write("data/train.jsonl", "{\"question\": \"a\"}\n");
  expect_failed_training({}, {"train.jsonl:1"});
}

TEST_F(CliErrors, EmptyOrMissingData) {
  write("data/train.jsonl", "");
  expect_failed_training({}, {"train.jsonl", "no records"});
  ASSERT_TRUE(files_.remove(folder_ / "data/train.jsonl").ok());
  expect_failed_training({}, {"train.jsonl"});
  expect_failed_training({"--data", "mlx-community/WikiSQL"}, {"mlx-community/WikiSQL", "export"});
}

TEST_F(CliErrors, NoSampleWithSupervision) {
  write("data/train.jsonl", Json{{"prompt", std::string(300, 'p')}, {"completion", "x"}}.dump() + "\n");
  expect_failed_training({"--mask-prompt", "--max-seq-length", "64"}, {"train.jsonl"});
}

// ---- the output ----

TEST_F(CliErrors, UnwritableFolder) {
  write("file", "not a folder");
  expect_error(run(train({"--adapter-path", path("file/adapter")})), {"file"});
  EXPECT_EQ(text_of(folder_ / "file"), "not a folder");
}

TEST_F(CliErrors, ConvertDoesNotTouchAnExistingFolder) {
  expect_error(run({"convert", "--hf-path", path("model"), "--mlx-path", path("data")}), {path("data")});
  EXPECT_EQ(files_.list(folder_ / "data").value().size(), 3U);
  expect_error(run({"convert", "--mlx-path", path("out")}), {"--hf-path"});
  expect_error(run({"convert", path("model"), "--mlx-path", path("out"), "-q", "--q-bits", "7"}), {"7 bits", "2, 3, 4, 5, 6 or 8"});
  expect_error(run({"convert", path("model"), "--mlx-path", path("out"), "--dtype", "float17"}), {"did you mean 'float16'?"});
  EXPECT_FALSE(files_.exists(path("out")));
}

TEST_F(CliErrors, AnEmptyOutputFolderIsNoInternalError) { expect_error(run({"convert", path("model"), "--mlx-path", ""}), {"--mlx-path is empty"}); }

TEST_F(CliErrors, OfTwoNamesForOneThingNoneIsIgnored) {
  expect_error(run({"convert", path("model"), "--hf-path", path("other"), "--mlx-path", path("out")}), {path("model"), path("other")});
  EXPECT_FALSE(files_.exists(path("out")));
  expect_error(run({"plan", path("model"), path("data"), "--model", path("other")}), {path("model"), path("other")});
}

TEST_F(CliErrors, OutputThatCouldNotBeWrittenIsNoSuccess) {
  const std::string command = std::string(EVOLORA_BINARY) + " --help > /dev/full 2> " + path("errors");
  EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 2);
  EXPECT_NE(text_of(folder_ / "errors").find("standard output"), std::string::npos);
}

// ---- the other commands ----

TEST_F(CliErrors, ThreadsOutsideOfTheirRangeNeverReachTheEngine) {
  for (const char* threads : {"-3", "99999"}) {
    expect_error(run({"eval", "--model", path("model"), "--data", path("data/valid.jsonl"), "--threads", threads}),
                 {"--threads", "[0, 1024]", threads});
    expect_error(run({"generate", "--model", path("model"), "--threads", threads}), {"--threads", "[0, 1024]", threads});
  }
  expect_error(run({"generate", "--model", path("model"), "--seed", "1.5"}), {"--seed: expected a whole number, got '1.5'"});
}

TEST_F(CliErrors, GenerateAndEval) {
  const std::string model = path("model");
  expect_error(run({"generate", "--prompt", "x"}), {"--model"});
  expect_error(run({"generate", "--model", model, "--temp", "-1"}), {"--temp"});
  expect_error(run({"generate", "--model", model, "--seed", "-1"}), {"--seed"});
  expect_error(run({"generate", "--model", model, "--adapter-path", path("nowhere")}), {"nowhere"});
  expect_error(run({"generate", "--model", model, "--compare-base"}), {"--prompts-file"});
  expect_error(run({"generate", "--model", model, "--prompts-file", path("nowhere.jsonl")}), {"nowhere.jsonl"});
  expect_error(run({"generate", "--model", model, "--prompt", std::string(600, 'x')}), {"512"});
  expect_error(run({"generate", "--model", model, "--extra-eos-token", "<no such token>"}), {"<no such token>"});
  expect_error(run({"eval", "--model", model}), {"--data"});
  expect_error(run({"eval", "--model", model, "--data", path("nowhere.jsonl")}), {"nowhere.jsonl"});
  expect_error(run({"fetch", "no-such-model"}), {"no-such-model"});
}

TEST_F(CliErrors, AdapterOfAnotherShape) {
  ASSERT_EQ(run(train()).exit_status, 0);
  Json config = Json::parse(text_of(folder_ / "adapter/adapter_config.json"));
  config["lora_parameters"]["rank"] = 4;
  write("adapter/adapter_config.json", config.dump());
  expect_error(run({"generate", "--model", path("model"), "--adapter-path", path("adapter")}), {"lora_"});
}

}  // namespace
}  // namespace evolora
