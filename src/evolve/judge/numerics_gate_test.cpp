// The numerics gate against honest and wrong kernels of tests/hostile_packs, in plain child processes: what it must catch by itself.
#include "evolve/judge/numerics_gate.h"

#include <gtest/gtest.h>

#include <set>

#include "base/process.h"
#include "base/test_folder.h"
#include "evolve/judge/test_forked_runner.h"

namespace evolora {
namespace {

using testing_support::ForkedRunner;

std::string corpus_text(const std::string& name) {
  auto text = real_file_system().read(fs::path(EVOLORA_SOURCE_DIR) / "tests" / "hostile_packs" / name);
  EXPECT_TRUE(text.ok()) << name;
  return text.ok() ? *text : "";
}

std::string with_honest_kernel(const std::string& head) { return head + corpus_text("honest_kernel.inc"); }

constexpr const char* kIncludes = "#include \"evolora_pack.h\"\n#include <cstring>\n";

class NumericsGate : public testing::Test {
 protected:
  GateResult judge(const std::string& source, std::uint64_t seed = 1) {
    write_test_file(folder_ / "kernel.cpp", source);
    const fs::path library = folder_ / ("kernel" + std::to_string(built_++) + ".so");
    ProcessRequest request{.argv = {"g++", "-std=c++20", "-O1", "-march=native", "-shared", "-fPIC", "-I",
                                    std::string(EVOLORA_SOURCE_DIR) + "/src/kernels/pack", "-o", library.string(),
                                    (folder_ / "kernel.cpp").string()}};
    request.standard_error = ProcessOutput::kCapture;
    const auto compiled = run_process(request);
    EXPECT_TRUE(compiled.ok() && compiled->exit_status == 0) << (compiled.ok() ? compiled->standard_error : compiled.error().message);
    auto runner = ForkedRunner::start(library.string(), 5);
    EXPECT_TRUE(runner.ok());
    if (!runner.ok()) return {};
    auto result = judge_numerics(**runner, seed);
    EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
    return result.ok() ? *result : GateResult{};
  }
  TestFolder folder_;
  int built_ = 0;
};

TEST_F(NumericsGate, AnHonestKernelPassesForManySeeds) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    const GateResult result = judge(with_honest_kernel(kIncludes), seed);
    EXPECT_TRUE(result.passed) << seed << ": " << result.reason;
    EXPECT_GT(result.calls, 200);
  }
}

TEST_F(NumericsGate, EveryWrongKernelOfTheCorpusIsCaught) {
  int seen = 0;
  const auto names = real_file_system().list(fs::path(EVOLORA_SOURCE_DIR) / "tests" / "hostile_packs");
  ASSERT_TRUE(names.ok());
  for (const std::string& name : *names) {
    if (!name.ends_with(".cpp")) continue;
    const std::string text = corpus_text(name);
    // Those that reach outside, and those that only the timed shapes show, are for the whole judge.
    if (text.find("\n// without rules: numerics\n") == std::string::npos &&
        text.find("\n// without rules: numerics|determinism\n") == std::string::npos &&
        text.find("\n// without rules: numerics|compile\n") == std::string::npos) {
      continue;
    }
    SCOPED_TRACE(name);
    const GateResult result = judge(with_honest_kernel(text));
    EXPECT_FALSE(result.passed);
    EXPECT_FALSE(result.reason.empty());
    EXPECT_EQ(result.reason.find('\n'), std::string::npos);
    ++seen;
  }
  EXPECT_GE(seen, 20);
}

TEST_F(NumericsGate, ACrashAndAnEndlessLoopAreTheCandidatesFault) {
  const GateResult crashed = judge(with_honest_kernel(corpus_text("null_write.cpp")));
  EXPECT_FALSE(crashed.passed);
  EXPECT_NE(crashed.reason.find("ended"), std::string::npos) << crashed.reason;
}

TEST(NumericsShapes, CoverEveryFormatOddSizesAndAllValues) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    std::set<int> bits, groups, values;
    std::set<DType> dtypes;
    bool odd_rows = false, dropout = false, bias = false, no_adapter = false, several = false;
    for (const ProblemShape& shape : numerics_shapes(seed)) {
      bits.insert(shape.bits);
      groups.insert(shape.group_size);
      dtypes.insert(shape.dtype);
      values.insert(static_cast<int>(shape.values));
      odd_rows = odd_rows || shape.n % 2 == 1;
      several = several || shape.projections.size() > 1;
      for (const ProblemProjection& p : shape.projections) {
        dropout = dropout || p.dropout > 0;
        bias = bias || p.bias;
        no_adapter = no_adapter || p.rank == 0;
      }
    }
    EXPECT_EQ(bits, (std::set<int>{0, 2, 3, 4, 5, 6, 8}));
    EXPECT_EQ(groups, (std::set<int>{0, 32, 64, 128}));
    EXPECT_EQ(dtypes.size(), 3U);
    EXPECT_EQ(values.size(), 6U);
    EXPECT_TRUE(odd_rows && dropout && bias && no_adapter && several);
  }
  EXPECT_NE(numerics_shapes(1)[3].name(), numerics_shapes(2)[3].name());
}

TEST(LoraProblem, SameSeedSameBytesAndOtherSeedOthers) {
  const ProblemShape shape = numerics_shapes(1)[0];
  EXPECT_EQ(LoraProblem(shape, 5).x, LoraProblem(shape, 5).x);
  EXPECT_NE(LoraProblem(shape, 5).x, LoraProblem(shape, 6).x);
  EXPECT_NE(LoraProblem(shape, 5).projections[0].data, LoraProblem(shape, 6).projections[0].data);
}

// What a candidate must not get away with because its own output is small, large or not a number.
TEST(LoraExpectation, BoundComesFromTheInputsNotFromTheOutput) {
  LoraProblem problem(numerics_shapes(1)[0], 3);
  const LoraExpectation expectation(problem);
  LoraOutputs outputs(problem);
  EXPECT_TRUE(expectation.difference(LoraDirection::kForward, outputs).has_value()) << "poison passes";
  for (const float fill : {0.0F, 1e30F}) {
    for (auto& p : outputs.projections) std::fill(p.y.begin(), p.y.end(), fill);
    EXPECT_TRUE(expectation.difference(LoraDirection::kForward, outputs).has_value()) << fill;
  }
}

}  // namespace
}  // namespace evolora
