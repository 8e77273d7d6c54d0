// What a training in a sandbox can and cannot reach, seen with a shell in its place.
#include "evolve/sandbox/sandboxed_trials.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/test_folder.h"
#include "evolve/sandbox/sandbox.h"

namespace evolora {
namespace {

class SandboxedTrial : public testing::Test {
 protected:
  void SetUp() override {
    const Status available = sandbox_available();
    if (!available.ok()) GTEST_SKIP() << available.error().message;
    for (const char* name : {"trial", "model", "elsewhere"}) ASSERT_TRUE(files_.create_directories(folder_ / name).ok());
    write("model/config.json", "weights");
    write("elsewhere/blob", "linked");
    write("elsewhere/secret", "hidden");
    fs::create_symlink("../elsewhere/blob", folder_ / "model/link");
    write("recipe.json", R"({"threads": 1})");
    write("trial/request.json",
          nlohmann::ordered_json{{"model", (folder_ / "model").string()}, {"recipe", (folder_ / "recipe.json").string()}}.dump());
  }
  void write(const char* name, const std::string& text) { ASSERT_TRUE(write_file_atomically(files_, folder_ / name, text).ok()); }
  // Standard output of a shell command that is started as a training would be.
  std::string output_of(const std::string& script) {
    SandboxedTrials trials(files_);
    ChildRequest child{.argv = {"/bin/sh", "-c", script}, .standard_output = folder_ / "out", .standard_error = folder_ / "err"};
    const auto prepared = trials.prepare(std::move(child), folder_ / "trial");
    EXPECT_TRUE(prepared.ok()) << prepared.error().message;
    if (!prepared.ok()) return "";
    const auto result = run_measured(*prepared);
    EXPECT_TRUE(result.ok()) << result.error().message;
    EXPECT_EQ(result->exit_status, 0) << files_.read(folder_ / "err").value();
    return files_.read(folder_ / "out").value();
  }
  FileSystem& files_ = real_file_system();
  TestFolder folder_;
};

TEST_F(SandboxedTrial, ReadsModelAndRecipeAndWritesItsOwnFolder) {
  const std::string model = (folder_ / "model").string();
  EXPECT_EQ(output_of("cat " + model + "/config.json " + model + "/link " + (folder_ / "recipe.json").string() + "; echo done > own"),
            "weightslinked{\"threads\": 1}");
  EXPECT_EQ(files_.read(folder_ / "trial/own").value(), "done\n");
}

TEST_F(SandboxedTrial, ReachesNothingElse) {
  setenv("EVOLORA_TEST_SECRET", "value", 1);
  const std::string model = (folder_ / "model").string();
  EXPECT_EQ(output_of("env | grep -c EVOLORA_TEST_SECRET; cat " + (folder_ / "elsewhere/secret").string() + " /etc/passwd; echo x > " + model +
                      "/config.json; ls /home /root; true"),
            "0\n");
  unsetenv("EVOLORA_TEST_SECRET");
  EXPECT_EQ(files_.read(folder_ / "model/config.json").value(), "weights");
  EXPECT_EQ(output_of("ls -A /sys /proc/1/root/home 2>/dev/null; true"), "");
}

}  // namespace
}  // namespace evolora
