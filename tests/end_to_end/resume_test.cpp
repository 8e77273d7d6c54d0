// A training run that is killed again and again at random moments, and started again each time with --resume, ends with the same bytes as one that
// was left alone.
#include <random>

#include "cli_support.h"

namespace evolora {
namespace {

class ResumeAfterKill : public CliTest {
 protected:
  std::vector<std::string> long_run(const std::string& adapter) const {
    return {"train",
            "--train",
            "--model",
            path("model"),
            "--data",
            path("data"),
            "--iters",
            "400",
            "--num-layers",
            "-1",
            "--batch-size",
            "2",
            "--adapter-path",
            path(adapter),
            "--save-every",
            "7",
            "--steps-per-eval",
            "50",
            "--grad-accumulation-steps",
            "3",
            "--threads",
            "2",
            "--quiet"};
  }
};

TEST_F(ResumeAfterKill, GivesTheBytesOfARunThatWasLeftAlone) {
  const ProcessResult alone = run(long_run("alone"));
  ASSERT_EQ(alone.exit_status, 0) << alone.standard_error;

  std::mt19937 random(std::random_device{}());
  constexpr int kKilled = 128 + 9;
  int kills = 0;
  bool done = false;
  // Every life may be longer than the one before, so that the run comes to its end however slow the machine is.
  for (int life = 0; life < 200 && !done; ++life) {
    const double seconds = (0.02 + 0.01 * life) * (1 + static_cast<double>(random() % 1000) / 1000);
    ProcessRequest request;
    request.argv = {"timeout", "--signal=KILL", std::to_string(seconds), EVOLORA_BINARY};
    for (const std::string& argument : long_run("killed")) request.argv.push_back(argument);
    request.argv.emplace_back("--resume");
    request.standard_output = request.standard_error = ProcessOutput::kCapture;
    const auto result = run_process(request);
    ASSERT_TRUE(result.ok()) << result.error().message;
    done = result->exit_status == 0;
    ASSERT_TRUE(done || result->exit_status == kKilled) << result->standard_error;
    kills += done ? 0 : 1;
  }
  EXPECT_TRUE(done);
  EXPECT_GE(kills, 3);
  for (const char* file : {"adapters.safetensors", "best_adapters.safetensors", "0000399_adapters.safetensors"}) {
    EXPECT_EQ(text_of(folder_ / "alone" / file), text_of(folder_ / "killed" / file)) << file;
  }
  const Json record = Json::parse(text_of(folder_ / "killed" / "run.json"));
  EXPECT_EQ(record["status"], Json("completed"));
  EXPECT_GT(record["resumed_from_step"].get<int>(), 0);
}

}  // namespace
}  // namespace evolora
