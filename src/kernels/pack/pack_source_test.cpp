// Tokens, rules and manifests of kernel packs: what is refused, with which words, and that honest code is not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "base/test_folder.h"
#include "kernels/pack/pack_compiler.h"
#include "kernels/pack/pack_folder.h"
#include "kernels/pack/pack_rules.h"
#include "kernels/pack/source_lexer.h"

namespace evolora {
namespace {

using testing::HasSubstr;

std::string refusal(std::string_view source) {
  const Status status = check_pack_source(source, "k.cpp");
  return status.ok() ? "" : status.error().message;
}

TEST(PackRules, StartingPacksAreAllowed) {
  for (const char* name : {"lora_linear_forward", "lora_linear_backward", "lora_linear_group", "lora_linear_small"}) {
    const auto pack = read_pack(real_file_system(), fs::path(EVOLORA_SOURCE_DIR) / "examples/packs/cpu" / name);
    EXPECT_TRUE(pack.ok()) << pack.error().message;
  }
}

TEST(PackRules, WhatLeavesTheKernelIsRefusedByName) {
  EXPECT_THAT(refusal("#include <fstream>\n"), HasSubstr("k.cpp:1: #include <fstream>: expected one of"));
  EXPECT_THAT(refusal("\n#include \"/etc/passwd\"\n"), HasSubstr("k.cpp:2:"));
  EXPECT_THAT(refusal("#define H <fstream>\n#include H\n"), HasSubstr("k.cpp:2: #include H"));
  EXPECT_THAT(refusal("# /* */ embed \"x\"\n"), HasSubstr("'#embed'"));
  EXPECT_THAT(refusal("#pragma GCC optimize(\"fast-math\")\n"), HasSubstr("#pragma: expected"));
  EXPECT_THAT(refusal("_Pragma(\"GCC poison x\")"), HasSubstr("'_Pragma'"));
  EXPECT_THAT(refusal("void f() { asm(\"nop\"); }"), HasSubstr("'asm'"));
  EXPECT_THAT(refusal("void f() { __asm__(\"nop\"); }"), HasSubstr("'__asm__'"));
  EXPECT_THAT(refusal("extern \"C\" int puts(const char*);"), HasSubstr("'extern'"));
  EXPECT_THAT(refusal("int f() { return system(\"id\"); }"), HasSubstr("'system'"));
  EXPECT_THAT(refusal("auto f = &std::getenv;"), HasSubstr("'getenv'"));
  EXPECT_THAT(refusal("__attribute__((constructor)) void f() {}"), HasSubstr("attribute 'constructor'"));
  EXPECT_THAT(refusal("__attribute__((__constructor__(101))) void f() {}"), HasSubstr("attribute '__constructor__'"));
  EXPECT_THAT(refusal("[[gnu::constructor]] void f() {}"), HasSubstr("attribute 'constructor'"));
  EXPECT_THAT(refusal("auto t = __builtin_ia32_rdtsc();"), HasSubstr("__builtin_ia32_rdtsc"));
  EXPECT_THAT(refusal("const char* t = __TIME__;"), HasSubstr("'__TIME__'"));
}

TEST(PackRules, SpellingTricksDoNotHelp) {
  EXPECT_THAT(refusal("#define J(a, b) a##b\nint J(sys, tem)(const char*);"), HasSubstr("'##'"));
  EXPECT_THAT(refusal("void f() { as\\\nm(\"nop\"); }"), HasSubstr("goes on after a backslash"));
  EXPECT_THAT(refusal("// a comment \\\nvoid f() { asm(\"nop\"); }"), HasSubstr("goes on after a backslash"));
  EXPECT_THAT(refusal("%:include <fstream>\n"), HasSubstr("digraph"));
  EXPECT_THAT(refusal("?"
                      "?=include <fstream>\n"),
              HasSubstr("trigraph"));
  EXPECT_THAT(refusal("void f() { \\u0061sm(\"nop\"); }"), HasSubstr("backslash"));
  EXPECT_THAT(refusal(std::string_view("int a;\0int b;", 13)), HasSubstr("control character 0x00"));
  EXPECT_THAT(refusal("int \xc3\xa9;"), HasSubstr("plain ASCII"));
  EXPECT_THAT(refusal("const char* s = R\"x(\")x\"; void f() { asm(\"\"); }"), HasSubstr("'asm'"));
  EXPECT_THAT(refusal("char c = '\"'; void f() { asm(\"\"); } // \""), HasSubstr("'asm'"));
  EXPECT_THAT(refusal("int big = 1'000; void f() { asm(\"'\"); }"), HasSubstr("'asm'"));
  EXPECT_THAT(refusal("/* never ends"), HasSubstr("does not end"));
  EXPECT_THAT(refusal(std::string(kMaxPackFileBytes + 1, ' ')), HasSubstr("expected at most 65536 bytes, got 65537"));
}

TEST(PackRules, WordsInCommentsAndLiteralsAreNotCode) {
  EXPECT_EQ(refusal("// system() and asm\n/* extern __TIME__ */ const char* s = \"asm\"; const char* r = R\"(asm \" extern)\";\n"), "");
  EXPECT_EQ(refusal("void f(float* read, float* write) { read[0] = write[0]; }\n#pragma GCC unroll 4\n#pragma GCC ivdep\n"), "");
  EXPECT_EQ(
      refusal("typedef float vec __attribute__((vector_size(64), aligned(4), may_alias));\n[[gnu::always_inline]] inline int g() { return 1; }"), "");
}

TEST(CanonicalDigest, IgnoresLayoutAndCommentsAndNothingElse) {
  const auto digest = [](std::string_view source) { return canonical_digest(source, "k.cpp").value(); };
  const std::string base = digest("#define N 4\nint f(int a) { return a + N; }");
  EXPECT_EQ(base, digest("// x\n#define  N   4 /* y */\n\n int f( int a )\n{\n  return a+N;\n}\n"));
  EXPECT_NE(base, digest("#define N 5\nint f(int a) { return a + N; }"));
  EXPECT_NE(base, digest("#define N 4 int f(int a) { return a + N; }"));
  EXPECT_NE(digest("#define F(x) 1\n"), digest("#define F (x) 1\n"));
  EXPECT_NE(digest("int a = b - -c;"), digest("int a = b--c;"));
  EXPECT_NE(digest("auto s = R\"( a)\";"), digest("auto s = R\"(a)\";"));
}

TEST(PackFolder, MistakesNameTheField) {
  const auto message = [](const char* text) {
    const auto manifest = manifest_from_json(parse_json(text).value(), "pack.json");
    return manifest.ok() ? std::string() : manifest.error().message;
  };
  EXPECT_EQ(message(R"({"name": "a", "target": "cpu", "slots": ["lora_linear_forward"], "files": ["k.cpp"]})"), "");
  EXPECT_THAT(message(R"({"name": "a", "target": "gpu", "slots": ["lora_linear_forward"], "files": ["k.cpp"]})"),
              HasSubstr("target: expected \"cpu\""));
  EXPECT_THAT(message(R"({"name": "a", "target": "cpu", "slots": ["lora_linear_foward"], "files": ["k.cpp"]})"), HasSubstr("did you mean"));
  EXPECT_THAT(message(R"({"name": "a", "target": "cpu", "slots": [], "files": ["k.cpp"]})"), HasSubstr("slots: expected a list"));
  for (const char* file : {"../k.cpp", "/k.cpp", "k.h", "-o.cpp", ".cpp"}) {
    const std::string text = std::string(R"({"name": "a", "target": "cpu", "slots": ["lora_linear_forward"], "files": [")") + file + "\"]}";
    EXPECT_THAT(message(text.c_str()), HasSubstr("files: expected names")) << file;
  }
  EXPECT_THAT(message(R"({"nam": "a"})"), HasSubstr("unknown key 'nam'"));
}

TEST(PackLibrary, WhatIsNoPackIsRefused) {
  TestFolder folder;
  write_test_file(folder / "text.so", "not a library");
  const auto text = load_pack_library(folder / "text.so", "d");
  ASSERT_FALSE(text.ok());
  EXPECT_THAT(text.error().message, HasSubstr("cannot be loaded"));
  const auto other = load_pack_library("/proc/self/exe", "d");
  EXPECT_FALSE(other.ok());
}

}  // namespace
}  // namespace evolora
