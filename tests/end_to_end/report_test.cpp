// `evolora report` as a user runs it: on a real bench and a real run of a tiny model; what it says is what verify says, and its commands work.
#include <gmock/gmock.h>

#include "cli_support.h"

namespace evolora {
namespace {

using testing::HasSubstr;

class CliReport : public CliTest {
 protected:
  ProcessResult good(const std::vector<std::string>& arguments) {
    ProcessResult result = run(arguments);
    EXPECT_EQ(result.exit_status, 0) << result.standard_error;
    return result;
  }
  // The text of the page's n-th code block.
  static std::string code_block(const std::string& html, int number) {
    const std::string open = "<code>";
    std::size_t begin = html.find(open);
    for (; number > 0; --number) begin = html.find(open, begin + 1);
    begin += open.size();
    std::string text = html.substr(begin, html.find("</code>", begin) - begin);
    for (const auto& [entity, character] : {std::pair("&lt;", "<"), {"&gt;", ">"}, {"&quot;", "\""}, {"&#39;", "'"}, {"&amp;", "&"}}) {
      for (std::size_t at = text.find(entity); at != std::string::npos; at = text.find(entity, at + 1))
        text.replace(at, std::string(entity).size(), character);
    }
    return text;
  }
  // In an empty folder, with the program under its own name.
  ProcessResult shell(const std::string& commands) {
    EXPECT_TRUE(files_.create_directories(folder_ / "elsewhere").ok());
    const std::string program_folder = fs::path(EVOLORA_BINARY).parent_path().string();
    ProcessRequest request;
    request.argv = {"sh", "-ec", "cd '" + path("elsewhere") + "'\nPATH='" + program_folder + "':$PATH\n" + commands};
    request.standard_output = request.standard_error = ProcessOutput::kCapture;
    auto result = run_process(request);
    EXPECT_TRUE(result.ok());
    return result.ok() ? std::move(result).value() : ProcessResult{-1, "", ""};
  }
};

TEST_F(CliReport, OfABenchSaysWhatVerifySaysAndItsCommandsRunItAgain) {
  good({"bench",
        "--model",
        path("model"),
        "--data",
        path("data"),
        "--iters",
        "10",
        "--num-layers",
        "-1",
        "--batch-size",
        "2",
        "--seed",
        "11",
        "--val-batches",
        "2",
        "--learning-rate",
        "1e-4",
        "--steps-per-report",
        "5",
        "--candidate",
        "kernels=cpu",
        "--candidate",
        "name=it's <new>",
        "--pairs",
        "2",
        "--loss-margin",
        "3%",
        "--out",
        path("bench")});
  const std::string verified = good({"bench", "--verify", path("bench")}).standard_output;
  const ProcessResult result = good({"report", path("bench")});
  EXPECT_EQ(result.standard_output, path("bench/report.html") + "\n");
  const std::string html = text_of(folder_ / "bench/report.html");
  const Json verdict = Json::parse(text_of(folder_ / "bench/verdict.json"));
  EXPECT_THAT(html, HasSubstr(">" + verdict["decision"].get<std::string>() + "</p>"));
  // Every ratio and interval end of verify's claims ("1.0123") stands in the page.
  std::istringstream lines(verified);
  int checked = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("  speed ", 0) != 0 && line.rfind("  memory ", 0) != 0) continue;
    std::istringstream words(line);
    for (std::string word; words >> word;) {
      if (word.find('.') == std::string::npos || word.find_first_not_of("0123456789.,") != std::string::npos) continue;
      if (word.ends_with(',')) word.pop_back();
      if (word.size() < 6) continue;  // p values are rounded otherwise
      EXPECT_THAT(html, HasSubstr(word)) << line;
      ++checked;
    }
  }
  EXPECT_EQ(checked, 10) << verified;
  // Loss curves and memory were kept by the bench.
  EXPECT_THAT(html, testing::Not(HasSubstr("hold no loss curves")));
  EXPECT_THAT(html, testing::Not(HasSubstr("hold no memory")));

  const ProcessResult again = shell(code_block(html, 1));
  ASSERT_EQ(again.exit_status, 0) << again.standard_error << code_block(html, 1);
  EXPECT_EQ(Json::parse(text_of(folder_ / "elsewhere/bench-again/plan.json")), Json::parse(text_of(folder_ / "bench/plan.json")));
}

TEST_F(CliReport, OfARunShowsItAndItsCommandsMakeTheSameAdapter) {
  good(train({"--steps-per-report", "2", "--seed", "5"}));
  good({"report", path("adapter"), "--out", path("run.html")});
  const std::string html = text_of(folder_ / "run.html");
  EXPECT_THAT(html, HasSubstr(">completed</p>"));
  EXPECT_THAT(html, HasSubstr("Resident memory"));
  const ProcessResult again = shell(code_block(html, 0));
  ASSERT_EQ(again.exit_status, 0) << again.standard_error;
  EXPECT_EQ(text_of(folder_ / "elsewhere/adapter-again/adapters.safetensors"), text_of(folder_ / "adapter/adapters.safetensors"));
}

TEST_F(CliReport, MistakesAreOneLine) {
  EXPECT_EQ(run({"report"}).exit_status, 2);
  EXPECT_EQ(run({"report", path("nowhere")}).exit_status, 2);
  const ProcessResult result = run({"report", path("data")});
  EXPECT_EQ(result.exit_status, 2);
  EXPECT_THAT(result.standard_error, HasSubstr("none of plan.json (a bench), run.json (a training run) and search.sqlite (a search)"));
}

// `report bench` once ran the command bench.
TEST_F(CliReport, AFolderMayHaveTheNameOfACommand) {
  const ProcessResult result = shell("mkdir bench\nevolora report bench");
  EXPECT_EQ(result.exit_status, 2);
  EXPECT_THAT(result.standard_error, HasSubstr("bench: none of plan.json"));
}

}  // namespace
}  // namespace evolora
