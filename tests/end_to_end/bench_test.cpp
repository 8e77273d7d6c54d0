// `evolora bench` and `doctor` as a user runs them, on a tiny model: controls with known answers, saboteurs, interruption, verification.
#include <fmt/format.h>

#include <algorithm>

#include "bench_support.h"

namespace evolora {
namespace {

TEST_F(CliBench, AnArmAgainstItselfIsNotAcceptedAndCanBeVerified) {
  const ProcessResult result = good(bench({"--candidate", "kernels=cpu", "--pairs", "5"}));
  EXPECT_NE(verdict()["decision"], "ACCEPT") << result.standard_output;
  EXPECT_EQ(samples(), 12U);
  for (const char* part :
       {"final training loss", "validation loss", "tokens per s", "peak memory MB", "MB per token", "95 % interval", "progress", "Raw samples"}) {
    EXPECT_NE(result.standard_output.find(part), std::string::npos) << part;
  }
  const ProcessResult verified = good({"bench", "--verify", path("bench")});
  EXPECT_NE(verified.standard_output.find(verdict()["reason"].get<std::string>()), std::string::npos);
  // The same seed, the same arithmetic: the arms' losses are the same bits.
  const Json outcome = verdict();
  for (const Json& gate : outcome["gates"]) EXPECT_EQ(gate["state"], "pass") << gate.dump();
}

TEST_F(CliBench, ForgedFilesAreFound) {
  good(bench({"--candidate", "kernels=cpu", "--pairs", "2"}));
  Json forged = verdict();
  forged["decision"] = "ACCEPT";
  write("bench/verdict.json", forged.dump());
  EXPECT_EQ(run({"bench", "--verify", path("bench")}).exit_status, 2);
  Json plan = Json::parse(text_of(folder_ / "bench/plan.json"));
  plan["rules"]["loss_margin"] = 0.5;
  write("bench/plan.json", plan.dump());
  const ProcessResult result = run({"bench", "--verify", path("bench")});
  EXPECT_EQ(result.exit_status, 2);
  EXPECT_NE(result.standard_error.find("another plan"), std::string::npos) << result.standard_error;
}

TEST_F(CliBench, ForgedFiguresAndMissingSamplesAreFoundThoughTheDecisionStays) {
  good(bench({"--candidate", "kernels=cpu", "--pairs", "2"}));
  const auto rejected = [&](const std::string& what) {
    const ProcessResult result = run({"bench", "--verify", path("bench")});
    EXPECT_EQ(result.exit_status, 2) << what;
    EXPECT_NE(result.standard_error.find(what), std::string::npos) << result.standard_error;
  };
  const Json kept = verdict();
  Json forged = kept;
  forged["claims"][0]["ratio"] = 9.9;
  write("bench/verdict.json", forged.dump(2));
  rejected("'claims' is not what the samples give");
  write("bench/verdict.json", kept.dump(2));
  good({"bench", "--verify", path("bench")});
  const std::string lines = text_of(folder_ / "bench/samples.jsonl");
  const std::size_t last = lines.rfind('\n', lines.size() - 2) + 1;
  write("bench/samples.jsonl", lines.substr(0, last));
  rejected("the samples give");
  write("bench/samples.jsonl", lines + lines.substr(last));
  rejected("samples.jsonl:7: a second record");
  ASSERT_TRUE(files_.remove(folder_ / "bench/samples.jsonl").ok());
  rejected("the samples give");
}

TEST_F(CliBench, SlowerIsRejectedAndTheOtherWayRoundAccepted) {
  const std::string slow = saboteur("slow.sh", "sleep 1");
  const ProcessResult rejected = good(bench({"--candidate", "program=" + slow, "--pairs", "5"}));
  EXPECT_EQ(verdict()["decision"], "REJECT") << rejected.standard_output;
  EXPECT_NE(verdict()["reason"].get<std::string>().find("worse in speed"), std::string::npos);
  const ProcessResult accepted = good(
      bench({"--baseline", "program=" + slow, "--candidate", "kernels=cpu", "--pairs", "6", "--regression-margin", "10%", "--must-accept"}, "other"));
  EXPECT_EQ(verdict("other")["decision"], "ACCEPT") << accepted.standard_output;
}

TEST_F(CliBench, AHiddenLearningRateTwoPercentOffIsCaughtByTheLossGate) {
  const std::string program = saboteur("rate.sh", "sed -i 's/\"learning_rate\": 1e-05/\"learning_rate\": 1.02e-05/' \"$request\"");
  // Few steps at a low rate: the loss still falls in proportion to the rate.
  std::vector<std::string> arguments = bench({"--candidate", "program=" + program, "--pairs", "5"});
  *(std::find(arguments.begin(), arguments.end(), "--iters") + 1) = "4";
  *(std::find(arguments.begin(), arguments.end(), "--learning-rate") + 1) = "1e-5";
  good(arguments);
  EXPECT_EQ(verdict()["decision"], "REJECT") << verdict().dump(2);
  EXPECT_NE(verdict()["reason"].get<std::string>().find("not the same training"), std::string::npos) << verdict()["reason"];
  const Json outcome = verdict();
  for (const Json& gate : outcome["gates"]) {
    if (gate["name"] == "progress") {
      EXPECT_EQ(gate["state"], "fail") << gate.dump();
    } else if (gate["name"] == "tokens" || gate["name"] == "initial_adapter") {
      EXPECT_EQ(gate["state"], "pass") << gate.dump();
    }
  }
}

TEST_F(CliBench, ADroppedSampleIsCaughtByTheTokens) {
  write("fewer/train.jsonl", completions(5));
  for (const char* split : {"valid", "test"}) write("fewer/" + std::string(split) + ".jsonl", completions(6));
  const std::string program = saboteur("drop.sh", fmt::format("sed -i 's#\"data\": .*#\"data\": \"{}\",#' \"$request\"", path("fewer")));
  good(bench({"--candidate", "program=" + program, "--pairs", "3"}));
  EXPECT_EQ(verdict()["decision"], "REJECT") << verdict().dump(2);
  EXPECT_NE(verdict()["reason"].get<std::string>().find("not the same training: tokens"), std::string::npos) << verdict()["reason"];
}

TEST_F(CliBench, ASkippedLayerIsCaughtByTheAppliedProof) {
  const std::string program = saboteur("skip.sh", "sed -i 's/\"num_layers\": -1/\"num_layers\": 1/' \"$request\"");
  const ProcessResult result = good(bench({"--candidate", "program=" + program, "--pairs", "5"}));
  EXPECT_EQ(verdict()["decision"], "REJECT");
  EXPECT_NE(verdict()["reason"].get<std::string>().find("layers_skipped: expected 2 adapted blocks, got 1"), std::string::npos)
      << verdict()["reason"];
  EXPECT_EQ(samples(), 6U) << "after three invalid trials there is nothing more to learn: " << result.standard_output;
}

TEST_F(CliBench, ACandidateThatRunsSomethingElseIsNotApplied) {
  const std::string program = saboteur("plain.sh", "sed -i 's/\"kernels\": \"reference\"/\"kernels\": \"cpu\"/' \"$request\"");
  good(bench({"--candidate", "kernels=reference", "--candidate", "program=" + program, "--pairs", "2"}));
  EXPECT_NE(verdict()["reason"].get<std::string>().find("candidate_not_applied"), std::string::npos) << verdict()["reason"];
}

TEST_F(CliBench, FailedTrialsAreReportedAndCounted) {
  const std::string program = saboteur("crash.sh", "echo 'it broke' >&2; exit 3");
  const ProcessResult result = good(bench({"--candidate", "program=" + program, "--pairs", "5"}));
  EXPECT_EQ(verdict()["decision"], "REJECT");
  EXPECT_NE(result.standard_output.find("failed: exit status 3: it broke"), std::string::npos) << result.standard_output;
  EXPECT_NE(result.standard_output.find("candidate 3 failed"), std::string::npos);
}

TEST_F(CliBench, InterruptedAndKilledBenchesResume) {
  const std::string slow = saboteur("slow.sh", "sleep 0.7");
  for (const char* signal : {"INT", "KILL"}) {
    const std::string out = std::string("bench") + signal;
    std::vector<std::string> arguments = bench({"--baseline", "program=" + slow, "--candidate", "kernels=cpu", "--pairs", "3"}, out);
    ProcessRequest request;
    request.argv = {"timeout", "--preserve-status", "-s", signal, "4", EVOLORA_BINARY};
    request.argv.insert(request.argv.end(), arguments.begin(), arguments.end());
    request.standard_output = request.standard_error = ProcessOutput::kCapture;
    const auto stopped = run_process(request);
    ASSERT_TRUE(stopped.ok());
    if (stopped->exit_status == 0) continue;  // a very fast machine was done before
    EXPECT_EQ(stopped->exit_status, std::string(signal) == "INT" ? 130 : 137) << stopped->standard_error;
    const std::string before = files_.exists(folder_ / out / "samples.jsonl") ? text_of(folder_ / out / "samples.jsonl") : "";
    EXPECT_EQ(run(bench({"--candidate", "kernels=cpu"}, out)).exit_status, 2) << "an old bench is not overwritten";
    good({"bench", "--resume", "--out", path(out)});
    EXPECT_EQ(text_of(folder_ / out / "samples.jsonl").rfind(before, 0), 0U) << "what was measured stays as it was";
    EXPECT_EQ(verdict(out)["pairs"], 3);
  }
}

TEST_F(CliBench, AnExternalCommandIsAnArm) {
  write("external.json",
        R"x({"name": "script", "command": ["sh", "-c", "sleep 1; echo '{\"loss\": 3.5, \"n\": 10}'; echo 'Val loss 3.25 seed {seed}'"],
    "read": {"train_loss": "/loss", "tokens": "/n", "val_loss": {"regex": "Val loss ([0-9.]+)"}}})x");
  const ProcessResult result = good(bench({"--baseline", path("external.json"), "--candidate", path("external.json"), "--pairs", "2"}));
  EXPECT_NE(result.standard_output.find("train loss 3.5000  val loss 3.2500"), std::string::npos) << result.standard_output;
}

TEST_F(CliBench, AnArmOfThisProgramHasItsOwnEnvironment) {
  const std::string program = saboteur("asks.sh", "[ \"$EVOLORA_TEST_ARM\" = candidate ] || { echo 'not my environment' >&2; exit 5; }");
  write("arm.json", fmt::format(R"({{"program": "{}", "train": {{}}, "environment": {{"EVOLORA_TEST_ARM": "candidate"}}}})", program));
  const ProcessResult result = good(bench({"--candidate", path("arm.json"), "--pairs", "1"}));
  EXPECT_EQ(result.standard_output.find("not my environment"), std::string::npos) << result.standard_output;
  EXPECT_EQ(verdict()["pairs"], 1);
}

TEST_F(CliBench, TheSequentialDesignPrintsPhaseByPhase) {
  const std::string flaky = saboteur("flaky.sh", "if grep -q '\"seed\": 101' \"$request\"; then exit 4; fi");
  const ProcessResult result = good(bench({"--candidate", "program=" + flaky, "--design", "sequential", "--trials", "3"}));
  for (const char* part : {"Phase 1: baseline", "Phase 2: candidate", "seed 42", "seed 44", "seed 100", "seed 102", "memory +",
                           "applied yes, 2 blocks", "candidate 2/3", "failed: exit status 4", "Significance", "Loss convergence", "Convergence score",
                           "Efficiency score", "Overall score", "All baseline trials ran before"}) {
    EXPECT_NE(result.standard_output.find(part), std::string::npos) << part << " in:\n" << result.standard_output;
  }
  EXPECT_EQ(samples(), 6U);
  good({"bench", "--verify", path("bench")});
}

TEST_F(CliBench, ControlsComeOutRight) {
  // The reference lora_linear takes several times as long even on a model this small, if there are enough steps.
  const ProcessResult result = good(bench({"--control", "--slow-slot", "lora_linear", "--iters", "60", "--pairs", "5"}));
  EXPECT_EQ(verdict("bench/slow")["decision"], "REJECT");
  EXPECT_NE(verdict("bench/same")["decision"], "ACCEPT") << result.standard_output;
}

TEST_F(CliBench, MistakesAreOneLineAndStatusTwo) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"bench", "--candidate", "cpu"}, "--model is missing"},
      {bench({}), "--candidate is missing"},
      {bench({"--candidate", "kernls=cpu"}), "did you mean 'kernels'"},
      {bench({"--candidate", "cpu", "--loss-margin", "x"}), "--loss-margin: expected a share"},
      {bench({"--candidate", "cpu", "--design", "best"}), "--design"},
      {bench({"--candidate", "program=/no/such/program"}), "/no/such/program"},
      {bench({"--candidate", "no-such-file.json"}), "no-such-file.json"},
      {bench({"--candidate", "engine=warp"}), "engine: unknown value 'warp'"},
      {bench({"--candidate", "seed=7"}), "seed: the bench sets it"},
      {bench({"--candidate", "data=elsewhere"}), "data: the bench sets it"},
      {bench({"--candidate", "cpu", "--pairs", "-1"}), "--pairs: expected 1 to 1000, got -1"},
      {bench({"--candidate", "cpu", "--order-seed", "-1"}), "--order-seed"},
      {bench({"--candidate", "cpu", "--timeout", "nan"}), "--timeout"},
      {bench({"--candidate", "cpu", "--timeout", "soon"}), "--timeout: expected a number, got 'soon'"},
      {bench({"--candidate", "cpu", "--design", "sequential", "--must-accept"}), "--must-accept"},
      {{"bench", "--verify", path("nowhere")}, "plan.json"},
      {{"bench", "--resume", "--out", path("nowhere")}, "plan.json"},
  };
  for (const auto& [arguments, expected] : cases) {
    const ProcessResult result = run(arguments);
    EXPECT_EQ(result.exit_status, 2) << expected;
    EXPECT_NE(result.standard_error.find(expected), std::string::npos) << result.standard_error;
    EXPECT_EQ(std::count(result.standard_error.begin(), result.standard_error.end(), '\n'), 1) << result.standard_error;
    EXPECT_FALSE(files_.exists(folder_ / "bench")) << expected;
  }
}

TEST_F(CliBench, DoctorHasAnExitStatus) {
  const ProcessResult ready = good({"doctor", path("model")});
  for (const char* part : {"processor", "14 x 4-bit group 32", "slot lora_linear", "self-test"})
    EXPECT_NE(ready.standard_output.find(part), std::string::npos) << part;
  EXPECT_EQ(run({"doctor", path("nowhere")}).exit_status, 2);
}

}  // namespace
}  // namespace evolora
