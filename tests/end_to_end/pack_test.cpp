// Kernel packs through the program: a recipe names one, training and benches run it and can prove it, mistakes are one line.
#include <algorithm>
#include <cmath>

#include "bench_support.h"

namespace evolora {
namespace {

class CliPack : public CliBench {
 protected:
  void SetUp() override {
    CliBench::SetUp();
    for (const std::string& name : names_in(source_)) {
      if (name.ends_with(".json") || name.ends_with(".cpp")) write("recipes/pack/" + name, text_of(source_ / name));
    }
    write("recipes/pack.json", R"({"pack": "pack"})");
  }
  std::vector<std::string> names_in(const fs::path& folder) {
    auto names = files_.list(folder);
    EXPECT_TRUE(names.ok()) << folder;
    return names.ok() ? std::move(names).value() : std::vector<std::string>();
  }
  Json run_json(const std::string& adapter) { return Json::parse(text_of(folder_ / adapter / "run.json")); }
  std::string error_of(const std::vector<std::string>& arguments) {
    const ProcessResult result = run(arguments);
    EXPECT_EQ(result.exit_status, 2) << result.standard_output;
    EXPECT_EQ(std::count(result.standard_error.begin(), result.standard_error.end(), '\n'), 1) << result.standard_error;
    return result.standard_error;
  }
  const fs::path source_ = fs::path(EVOLORA_SOURCE_DIR) / "examples/packs/cpu/lora_linear_group";
};

TEST_F(CliPack, TrainingWithAPackComputesTheSameAndSaysSo) {
  good(train({"--quiet"}));
  const Json plain = run_json("adapter");
  good(train({"--quiet", "--recipe", path("recipes/pack.json"), "--adapter-path", path("packed")}));
  const Json packed = run_json("packed");
  EXPECT_EQ(plain["applied"]["kernels"]["lora_linear"], "cpu");
  EXPECT_EQ(packed["applied"]["kernels"]["lora_linear"].get<std::string>().substr(0, 5), "pack:");
  EXPECT_EQ(packed["applied"]["kernels"]["attention"], "cpu");
  EXPECT_EQ(packed["applied"]["calls"], plain["applied"]["calls"]);
  EXPECT_EQ(packed["base_products"]["fp32"]["forward"], plain["base_products"]["fp32"]["forward"]);
  EXPECT_EQ(packed["recipe"]["pack"], path("recipes/pack"));
  // Both sum in fp32 in another order. A loss is off by the rounding of a few hundred terms in each of a dozen products, 1e-5 of it at most; four
  // Adam steps at 1e-5 move each parameter by 4e-5, in the wrong direction at worst, which moves the loss by less still.
  const auto loss = [](const Json& run) { return run["train_loss"].get<double>(); };
  EXPECT_NEAR(loss(packed), loss(plain), 2e-5 * loss(plain));
  // The second run finds the library: its file is not written again.
  const fs::path build = folder_ / "recipes/pack/build";
  const std::vector<std::string> built = names_in(build);
  ASSERT_EQ(built.size(), 1u);
  const auto written = fs::last_write_time(build / built[0]);
  good(train({"--quiet", "--recipe", path("recipes/pack.json"), "--adapter-path", path("again")}));
  EXPECT_EQ(fs::last_write_time(build / built[0]), written);
  EXPECT_EQ(run_json("again")["train_loss"], packed["train_loss"]);
}

TEST_F(CliPack, APackForAnotherEngineIsAnError) {
  for (const char* name : {"pack.json", "kernel.cpp"}) {
    write(std::string("recipes/mlx/") + name, text_of(fs::path(EVOLORA_SOURCE_DIR) / "examples/packs/mlx/dora_linear" / name));
  }
  write("recipes/mlx.json", R"({"pack": "mlx"})");
  EXPECT_NE(
      error_of(train({"--recipe", path("recipes/mlx.json")})).find("target: expected \"cpu\", got \"mlx\": packs for mlx run with --engine mlx"),
      std::string::npos);
  if (!fs::exists(fs::path(EVOLORA_BUILD_DIR) / "evolora_mlx_engine.so")) GTEST_SKIP() << "built without the MLX engine";
  EXPECT_NE(error_of(train({"--engine", "mlx", "--recipe", path("recipes/pack.json")})).find("target: expected \"mlx\", got \"cpu\""),
            std::string::npos);
}

TEST_F(CliPack, ABenchBelievesAnArmOnlyIfThePackRan) {
  good(bench({"--candidate", path("recipes/pack.json"), "--pairs", "2"}));
  const Json verdict_of_pack = verdict();
  EXPECT_EQ(verdict_of_pack.dump().find("not_applied"), std::string::npos) << verdict_of_pack.dump(2);
  // Who trains without the pack that the arm promises is found.
  const std::string liar = saboteur("liar", "sed -i 's/recipes.pack.json/recipes\\/none.json/' \"$request\"");
  write("recipes/none.json", "{}");
  run(bench({"--candidate", path("recipes/pack.json"), "--candidate", "program=" + liar, "--pairs", "2"}, "lied"));
  EXPECT_NE(text_of(folder_ / "lied/samples.jsonl").find("candidate_not_applied"), std::string::npos);
}

TEST_F(CliPack, MistakesAreOneLineAndStatusTwo) {
  const auto with = [&](const std::string& recipe) {
    write("recipes/wrong.json", recipe);
    return error_of(train({"--recipe", path("recipes/wrong.json")}));
  };
  EXPECT_NE(with(R"({"pack": "nowhere"})").find("recipes/nowhere/pack.json: no such file"), std::string::npos);
  EXPECT_NE(with(R"({"pack": 3})").find("recipe field 'pack': expected the folder of a kernel pack, got 3"), std::string::npos);
  EXPECT_NE(with(R"({"pack": "pack", "forward_arithmetic": "bf16"})").find("forward_arithmetic asks for bf16"), std::string::npos);
  EXPECT_NE(with(R"({"pack": "pack", "kernels": "reference"})").find("kernels asks for the reference"), std::string::npos);
  write("recipes/pack/forward.cpp", "#include <fstream>\n");
  EXPECT_NE(with(R"({"pack": "pack"})").find("forward.cpp:1: #include <fstream>: expected one of"), std::string::npos);
  write("recipes/pack/forward.cpp", "#include \"evolora_pack.h\"\nint broken = ;\n");
  EXPECT_NE(with(R"({"pack": "pack"})").find("does not compile"), std::string::npos);
  write("recipes/pack/forward.cpp", "#include \"evolora_pack.h\"\n");
  EXPECT_NE(with(R"({"pack": "pack"})").find("lora_linear_forward is in the list, and the sources do not define"), std::string::npos);
}

}  // namespace
}  // namespace evolora
