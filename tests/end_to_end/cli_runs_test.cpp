// The commands doing what they are for, on a tiny model: output layout, files, and agreement between commands.
#include "cli_support.h"

namespace evolora {
namespace {

class CliRuns : public CliTest {
 protected:
  std::string output_of(const std::vector<std::string>& arguments) {
    const ProcessResult result = run(arguments);
    EXPECT_EQ(result.exit_status, 0) << result.standard_error;
    return result.standard_output;
  }
  static double number_after(const std::string& text, const std::string& word) {
    const std::size_t at = text.find(word);
    EXPECT_NE(at, std::string::npos) << word << " in: " << text;
    return at == std::string::npos ? -1 : std::stod(text.substr(at + word.size()));
  }
};

TEST_F(CliRuns, HelpAndVersion) {
  EXPECT_EQ(output_of({"--version"}).rfind("evolora ", 0), 0U);
  const std::string help = output_of({"--help"});
  for (const char* command : {"fetch", "convert", "train", "eval", "generate"}) EXPECT_NE(help.find(command), std::string::npos) << command;
  const std::string train_help = output_of({"train", "--help"});
  for (const char* flag : {"--model", "--grad-accumulation-steps", "--compat", "--epochs", "--config", "--micro-batch-tokens"}) {
    EXPECT_NE(train_help.find(flag), std::string::npos) << flag;
  }
}

TEST_F(CliRuns, TrainPrintsPlanProgressAndSummary) {
  const std::string output = output_of(train({"--steps-per-report", "2"}));
  for (const char* part : {"Model", "Adapter", "Data", "Steps", "expected peak", "step 2/4", "train loss", "tokens/s", "validation loss", "before",
                           "after", "adapters.safetensors"}) {
    EXPECT_NE(output.find(part), std::string::npos) << part << " in:\n" << output;
  }
  EXPECT_EQ(output.find('\r'), std::string::npos) << "a live line without a terminal";
  EXPECT_EQ(output.find('\x1b'), std::string::npos) << "colours without a terminal";
}

TEST_F(CliRuns, QuietPrintsNothing) { EXPECT_EQ(output_of(train({"--quiet"})), ""); }

TEST_F(CliRuns, FlagsWinOverTheConfiguration) {
  write("lora.yaml", "batch_size: 1\nlearning_rate: 1e-4\nmask_prompt: yes\n");
  output_of(train({"-c", path("lora.yaml"), "--quiet"}));
  const Json config = Json::parse(text_of(folder_ / "adapter/adapter_config.json"));
  EXPECT_EQ(config["batch_size"], Json(2));
  EXPECT_EQ(config["learning_rate"], Json(1e-4));
  EXPECT_EQ(config["mask_prompt"], Json(true));
  EXPECT_EQ(config["config"], Json(path("lora.yaml")));
  EXPECT_EQ(config["num_layers"], Json(-1));
}

TEST_F(CliRuns, TestOfTrainAndEvalAgree) {
  output_of(train({"--quiet", "--iters", "20", "--learning-rate", "1e-3"}));
  const std::vector<std::string> test = {"train", "--test", "--model", path("model"), "--data", path("data"), "--batch-size", "2"};
  std::vector<std::string> tuned_test = test;
  tuned_test.insert(tuned_test.end(), {"--adapter-path", path("adapter")});
  const double from_train = number_after(output_of(tuned_test), "loss ");
  const std::string eval = output_of({"eval", "--model", path("model"), "--data", path("data"), "--adapter-path", path("adapter")});
  EXPECT_NEAR(number_after(eval, "loss "), from_train, 0.0005001 + 0.00005001);  // printed with 3 and 4 decimals
  const double base = number_after(output_of({"eval", "--model", path("model"), "--data", path("data/test.jsonl")}), "loss ");
  EXPECT_LT(from_train, base);
}

TEST_F(CliRuns, WarningsCountCutAndUselessSamples) {
  write("data/train.jsonl", completions(3) + Json{{"prompt", std::string(300, 'p')}, {"completion", "x"}}.dump() + "\n");
  const ProcessResult result = run(train({"--mask-prompt", "--max-seq-length", "128"}));
  EXPECT_EQ(result.exit_status, 0);
  EXPECT_NE(result.standard_error.find("left out (line 4)"), std::string::npos) << result.standard_error;
  write("data/train.jsonl", completions(3) + Json{{"prompt", "q"}, {"completion", std::string(300, 'x')}}.dump() + "\n");
  const ProcessResult cut = run(train({"--max-seq-length", "128"}));
  EXPECT_EQ(cut.exit_status, 0);
  EXPECT_NE(cut.standard_error.find("1 of 4 samples are longer than 128 tokens and were cut"), std::string::npos) << cut.standard_error;
}

TEST_F(CliRuns, GenerateIsGreedyAndSeeded) {
  const std::vector<std::string> greedy = {"generate", "--model", path("model"), "--prompt", "hello", "--max-tokens", "12", "--verbose", "false"};
  EXPECT_EQ(output_of(greedy), output_of(greedy));
  const auto seeded = [&](const char* seed) {
    std::vector<std::string> arguments = greedy;
    arguments.insert(arguments.end(), {"--temp", "1.5", "--top-p", "0.95", "--seed", seed});
    return output_of(arguments);
  };
  EXPECT_EQ(seeded("1"), seeded("1"));
  EXPECT_NE(seeded("1"), seeded("2"));
}

TEST_F(CliRuns, BaseAndTunedAnswersStandSideBySide) {
  output_of(train({"--quiet", "--iters", "2"}));
  write("prompts.jsonl", completions(2));
  const std::string output = output_of({"generate", "--model", path("model"), "--adapter-path", path("adapter"), "--prompts-file",
                                        path("prompts.jsonl"), "--compare-base", "--max-tokens", "4"});
  for (const char* part : {"prompt 2 of 2", "prompt    | question 0", "expected  | answer 0", "base      | ", "tuned     | "}) {
    EXPECT_NE(output.find(part), std::string::npos) << part << " in:\n" << output;
  }
}

}  // namespace
}  // namespace evolora
