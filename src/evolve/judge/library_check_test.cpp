// Libraries of honest and hostile sources, and files that are no libraries.
#include "evolve/judge/library_check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/process.h"
#include "base/test_folder.h"

namespace evolora {
namespace {

class LibraryCheck : public testing::Test {
 protected:
  std::vector<std::byte> build(const std::string& source, std::vector<std::string> flags = {}) {
    write_test_file(folder_ / "s.cpp", source);
    ProcessRequest request{.argv = {"g++", "-std=c++20", "-O1", "-w", "-shared", "-nostartfiles", "-fPIC", "-I",
                                    std::string(EVOLORA_SOURCE_DIR) + "/src/kernels/pack", "-o", (folder_ / "s.so").string(),
                                    (folder_ / "s.cpp").string()}};
    request.argv.insert(request.argv.end(), flags.begin(), flags.end());
    request.standard_error = ProcessOutput::kCapture;
    const auto done = run_process(request);
    EXPECT_TRUE(done.ok() && done->exit_status == 0) << (done.ok() ? done->standard_error : "");
    const auto text = real_file_system().read(folder_ / "s.so");
    if (!text.ok()) return {};
    const auto bytes = std::as_bytes(std::span(*text));
    return {bytes.begin(), bytes.end()};
  }
  static std::string packs(const std::string& name) {
    const auto text = real_file_system().read(fs::path(EVOLORA_SOURCE_DIR) / name);
    return text.ok() ? *text : "";
  }
  TestFolder folder_;
};

TEST_F(LibraryCheck, HonestPacksAreCodeAndConstants) {
  const std::string honest = "#include \"evolora_pack.h\"\n#include <cstring>\n" + packs("tests/hostile_packs/honest_kernel.inc");
  EXPECT_EQ(library_problem(build(honest)), std::nullopt);
  EXPECT_EQ(library_problem(build(packs("examples/packs/cpu/lora_linear_forward/kernel.cpp"))), std::nullopt);
  EXPECT_EQ(library_problem(build("static const float t[3] = {1, 2, 3}; extern \"C\" const float* f() { return t; }")), std::nullopt);
  EXPECT_EQ(library_problem(build("extern const char* const names[]; const char* const names[] = {\"a\", \"b\"};")), std::nullopt);
}

TEST_F(LibraryCheck, WhatCouldRememberOrRunEarlyIsRefused) {
  for (const char* source :
       {"int counter[4]; int f() { return ++counter[0]; }", "int counter[3] = {1, 2, 3}; int f() { return ++counter[0]; }",
        "thread_local int last; int f() { return ++last; }", "int g(); static int started = g(); int g() { return 1; } int f() { return started; }",
        "extern \"C\" int puts(const char*); __attribute__((constructor)) static void start() { puts(\"\"); }",
        "extern \"C\" int puts(const char*); __attribute__((destructor)) static void stop() { puts(\"\"); }",
        "int calls; int f() { return ++calls; }", "char flag = 1; int f() { return ++flag; }",
        "static int a() { return 1; } extern \"C\" { static int (*choose())() { return a; } int f() __attribute__((ifunc(\"choose\"))); }"}) {
    EXPECT_NE(library_problem(build(source)), std::nullopt) << source;
  }
  EXPECT_NE(library_problem(build("int f() { return 1; }", {"-z", "execstack"})), std::nullopt);
}

// g++ makes one writable pointer for code that unwinds, in .data.
TEST_F(LibraryCheck, PacksOnMlxMayUnwindAndKeepNothing) {
  const std::string unwinds = "struct S { ~S(); }; void g(); void f() { S s; g(); } extern \"C\" int __gxx_personality_v0(...);\n";
  const std::vector<std::byte> honest = build(unwinds, {"-Wl,-z,relro,-z,now"});
  EXPECT_NE(library_problem(honest), std::nullopt);
  EXPECT_EQ(library_problem(honest, PackTarget::kMlx), std::nullopt);
  for (const std::string more : {"long kept = 1; long h() { return ++kept; }", "int calls; int h() { return ++calls; }",
                                 "thread_local int last; int h() { return ++last; }"}) {
    EXPECT_NE(library_problem(build(unwinds + more), PackTarget::kMlx), std::nullopt) << more;
  }
  // A pointer of its own, which is as large.
  EXPECT_NE(library_problem(build("void g(); void (*kept)() = g; void h(void (*p)()) { kept = p; }"), PackTarget::kMlx), std::nullopt);
}

TEST_F(LibraryCheck, ABrokenFileIsRefusedAtEveryCut) {
  const std::vector<std::byte> whole = build("int f() { return 1; }");
  ASSERT_EQ(library_problem(whole), std::nullopt);
  for (std::size_t size = 0; size < whole.size(); size += size < 4096 ? 7 : 501) {
    EXPECT_NE(library_problem(std::span(whole).first(size)), std::nullopt) << size;
  }
  // Any byte of the first header, any value: an answer, and no step outside (a sanitizer sees it).
  for (std::size_t at = 0; at < 64; ++at) {
    for (const int value : {0, 1, 0x7F, 0xFF}) {
      std::vector<std::byte> changed = whole;
      changed[at] = static_cast<std::byte>(value);
      (void)library_problem(changed);
    }
  }
}

}  // namespace
}  // namespace evolora
