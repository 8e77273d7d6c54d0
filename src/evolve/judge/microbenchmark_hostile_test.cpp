// What only the timed shapes of a model show: a pack that is honest on every small shape and does nothing on large ones.
#include <gtest/gtest.h>

#include "base/process.h"
#include "base/test_folder.h"
#include "evolve/judge/microbenchmark.h"
#include "evolve/judge/worker_runner.h"

namespace evolora {
namespace {

TEST(MicrobenchmarkHostile, APackThatIsDishonestOnAModelsShapesOnlyIsRejected) {
  const Status available = sandbox_available();
  if (!available.ok()) GTEST_SKIP() << available.error().message;
  const fs::path source = EVOLORA_SOURCE_DIR;
  const TestFolder folder;
  std::string text = *real_file_system().read(source / "tests/hostile_packs/special_shape.cpp");
  text += *real_file_system().read(source / "tests/hostile_packs/honest_kernel.inc");
  write_test_file(folder / "kernel.cpp", text);
  const std::string library = (folder / "kernel.so").string();
  const auto compiled = run_process({.argv = {"g++", "-std=c++20", "-O2", "-w", "-march=native", "-shared", "-fPIC", "-nostartfiles", "-I",
                                              (source / "src/kernels/pack").string(), "-o", library, (folder / "kernel.cpp").string()}});
  ASSERT_TRUE(compiled.ok() && compiled->exit_status == 0);
  const auto own = judging_file("evolora_builtin_pack.so");
  ASSERT_TRUE(own.ok()) << own.error().message;
  const auto starter = [](const fs::path& path, PackTrust trust) -> RunnerStarter {
    return [=](std::uint64_t layout) -> Result<std::unique_ptr<TimedRunner>> {
      return std::unique_ptr<TimedRunner>(TRY(WorkerRunner::start(path, {.trust = trust, .layout = layout})));
    };
  };
  MicrobenchmarkPlan plan;
  plan.shapes = {smollm2_shapes(256)[1]};
  plan.pairs = 1;
  const auto result = run_microbenchmark({starter(library, PackTrust::kCandidate), starter(*own, PackTrust::kOwn)}, plan, nullptr);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_FALSE(result->passed);
  EXPECT_NE(result->reason.find("y of projection 0"), std::string::npos) << result->reason;
  EXPECT_TRUE(result->log_speed.empty());
}

}  // namespace
}  // namespace evolora
