// Keys: private files only, gone from the environment, never in messages, process not dumpable while one lives.
#include "evolve/llm/secret.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <type_traits>

#include "base/process.h"
#include "base/test_folder.h"

namespace evolora {
namespace {

using testing::HasSubstr;
using testing::Not;

template <typename T>
concept Printable = requires(std::ostream& out, const T& value) {
  out << value;
};
static_assert(!Printable<Secret> && !std::is_copy_constructible_v<Secret> && !std::is_copy_assignable_v<Secret>);

constexpr char kCanary[] = "sk-canary-1234567890";

TEST(Secret, LeavesTheEnvironmentAndChildren) {
  setenv("EVOLORA_TEST_KEY", kCanary, 1);
  auto secret = take_secret_from_environment("EVOLORA_TEST_KEY");
  ASSERT_TRUE(secret.ok());
  EXPECT_EQ(secret->reveal(), kCanary);
  EXPECT_EQ(std::getenv("EVOLORA_TEST_KEY"), nullptr);
  const auto child = run_process({.argv = {"env"}, .standard_output = ProcessOutput::kCapture});
  ASSERT_TRUE(child.ok());
  EXPECT_THAT(child->standard_output, Not(HasSubstr(kCanary)));
}

TEST(Secret, TakesTheWholeTextOverAndIsNotDumpable) {
  ASSERT_EQ(prctl(PR_GET_DUMPABLE), 1);
  {
    std::string text = kCanary;
    Secret secret(text);
    EXPECT_TRUE(text.empty());
    EXPECT_EQ(prctl(PR_GET_DUMPABLE), 0);
    Secret moved = std::move(secret);
    EXPECT_EQ(moved.reveal(), kCanary);
    EXPECT_EQ(prctl(PR_GET_DUMPABLE), 0);
  }
  EXPECT_EQ(prctl(PR_GET_DUMPABLE), 1);
}

TEST(Secret, FileOfTheUserAlone) {
  const TestFolder folder;
  const fs::path path = folder / "key";
  write_test_file(path, std::string(kCanary) + "\n");
  for (const mode_t mode : {0644, 0640, 0620, 0602, 0601}) {
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
    const auto refused = read_secret_file(path);
    ASSERT_FALSE(refused.ok()) << mode;
    EXPECT_THAT(refused.error().message, HasSubstr("chmod 600"));
    EXPECT_THAT(refused.error().message, Not(HasSubstr(kCanary)));
  }
  for (const mode_t mode : {0600, 0400}) {
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
    const auto secret = read_secret_file(path);
    ASSERT_TRUE(secret.ok()) << secret.error().message;
    EXPECT_EQ(secret->reveal(), kCanary);
  }
  EXPECT_EQ(read_secret_file(folder / "none").error().code, ErrorCode::kNotFound);
  EXPECT_FALSE(read_secret_file(folder.path()).ok());
}

TEST(Secret, NoKeyThatAHeaderCannotCarryAndNoneInTheMessage) {
  const TestFolder folder;
  const fs::path path = folder / "key";
  for (const std::string& text :
       {std::string(""), std::string("\n"), std::string("two words"), std::string("line\r\nInjected: yes"), std::string("k\xc3\xa4y")}) {
    write_test_file(path, text);
    ASSERT_EQ(chmod(path.c_str(), 0600), 0);
    const auto refused = read_secret_file(path);
    ASSERT_FALSE(refused.ok()) << text;
    EXPECT_THAT(refused.error().message, Not(HasSubstr("Injected")));
    setenv("EVOLORA_TEST_KEY", text.c_str(), 1);
    EXPECT_FALSE(take_secret_from_environment("EVOLORA_TEST_KEY").ok()) << text;
    EXPECT_EQ(std::getenv("EVOLORA_TEST_KEY"), nullptr);
  }
  EXPECT_THAT(take_secret_from_environment("EVOLORA_TEST_KEY").error().message, HasSubstr("EVOLORA_TEST_KEY is not set"));
}

}  // namespace
}  // namespace evolora
