// From sources to functions in this process: compiled once, found again, and every way in which it can fail.
#include "kernels/pack/pack_compiler.h"

#include <gtest/gtest.h>

#include "base/process.h"
#include "base/test_folder.h"

namespace evolora {
namespace {

constexpr const char* kForward =
    "#include \"evolora_pack.h\"\n"
    "void evolora_lora_linear_forward(const evolora_lora_linear_forward_args* args, evolora_context*) { args->projections[0].y[0] = 42; }\n"
    "size_t evolora_lora_linear_forward_workspace_bytes(const evolora_lora_linear_forward_args* args, int threads) {\n"
    "  return static_cast<size_t>(args->n * threads);\n"
    "}\n";

KernelPack pack_of(const std::string& source) {
  return {.manifest = {.name = "small", .slots = {"lora_linear_forward"}, .files = {"kernel.cpp"}}, .sources = {{"kernel.cpp", source}}};
}

// Counts, and may fail, instead of a sandbox.
class CountingCompiler final : public PackCompiler {
 public:
  Result<std::string> fingerprint() override { return name; }
  Result<CompileOutcome> compile(const CompileRequest& request) override {
    ++runs;
    EXPECT_TRUE(real_file_system().exists(request.folder / "evolora_pack.h"));
    if (outcome) return *outcome;
    return direct->compile(request);
  }

  int runs = 0;
  std::string name = "one";
  std::optional<CompileOutcome> outcome;
  std::unique_ptr<PackCompiler> direct = direct_pack_compiler();
};

class PackCompilation : public testing::Test {
 protected:
  Result<std::shared_ptr<const PackLibrary>> open(const KernelPack& pack) {
    EXPECT_TRUE(write_pack(files_, folder_ / "p", pack).ok());
    return open_pack(files_, compiler_, folder_ / "p");
  }
  std::string refusal(const KernelPack& pack) {
    const auto opened = open(pack);
    return opened.ok() ? "" : opened.error().message;
  }
  std::size_t built_files() { return files_.list(folder_ / "p/build").value().size(); }

  FileSystem& files_ = real_file_system();
  TestFolder folder_;
  CountingCompiler compiler_;
};

TEST_F(PackCompilation, ServesTheFunctionsItHasAndLeavesTheOthers) {
  const auto library = open(pack_of(kForward));
  ASSERT_TRUE(library.ok()) << library.error().message;
  const KernelTable table = with_pack(cpu_kernels(), *library);
  float y = 0;
  const std::vector<LoraProjection> projections = {{.weight = {.out = 1, .in = 1}, .y = &y}};
  Threads threads(1);
  KernelContext context{threads};
  EXPECT_EQ(table.lora_linear_forward_workspace_bytes({nullptr, 5, projections}, 3), 15u);
  table.lora_linear_forward({nullptr, 1, projections}, context);
  EXPECT_EQ(y, 42);
  EXPECT_EQ((*library)->functions().lora_linear_backward, nullptr);
  EXPECT_EQ(table.lora_linear_backward_workspace_bytes({nullptr, 5, projections, nullptr}, 3),
            cpu_kernels().lora_linear_backward_workspace_bytes({nullptr, 5, projections, nullptr}, 3));
  EXPECT_EQ(pack_service_name(**library), pack_of(kForward).service_name());
}

TEST_F(PackCompilation, CompilesOncePerSourceAndCompiler) {
  ASSERT_TRUE(open(pack_of(kForward)).ok());
  ASSERT_TRUE(open(pack_of(kForward)).ok());
  EXPECT_EQ(compiler_.runs, 1);
  EXPECT_EQ(built_files(), 1u);  // nothing but the library is left
  compiler_.name = "two";
  ASSERT_TRUE(open(pack_of(kForward)).ok());
  EXPECT_EQ(compiler_.runs, 2);
  ASSERT_TRUE(open(pack_of(kForward + std::string("// more\n"))).ok());
  EXPECT_EQ(compiler_.runs, 3);
  EXPECT_EQ(built_files(), 3u);
}

TEST_F(PackCompilation, WhatDoesNotCompileSaysWhereAndLeavesNothing) {
  const std::string message = refusal(pack_of("#include \"evolora_pack.h\"\nint broken = ;\n"));
  EXPECT_NE(message.find("kernel pack 'small' does not compile"), std::string::npos) << message;
  EXPECT_NE(message.find("kernel.cpp:2"), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos);
  EXPECT_EQ(built_files(), 0u);
  compiler_.outcome = CompileOutcome{false, "took \x1b[31mtoo long\n"};
  EXPECT_NE(refusal(pack_of(kForward)).find("took  [31mtoo long"), std::string::npos) << refusal(pack_of(kForward));
  EXPECT_EQ(built_files(), 0u);
}

TEST_F(PackCompilation, UndefinedSymbolsAreFoundBeforeARun) {
  EXPECT_NE(refusal(pack_of("#include \"evolora_pack.h\"\nvoid elsewhere();\n" + std::string(kForward) + "void f() { elsewhere(); }\n")), "");
}

TEST_F(PackCompilation, TheManifestAndTheFunctionsAgree) {
  KernelPack pack = pack_of(kForward);
  pack.manifest.slots = {"lora_linear_backward", "lora_linear_forward"};
  EXPECT_NE(refusal(pack).find("lora_linear_backward is in the list, and the sources do not define"), std::string::npos) << refusal(pack);
  pack.manifest.slots = {"lora_linear_backward"};
  EXPECT_NE(refusal(pack), "");
  const std::string half(kForward, std::string_view(kForward).find("size_t"));
  EXPECT_NE(refusal(pack_of(half)).find("expected both, got one"), std::string::npos) << refusal(pack_of(half));
  EXPECT_NE(refusal(pack_of("int nothing;\n")).find("defines no function"), std::string::npos);
}

TEST_F(PackCompilation, OnlyPacksOfThisInterfaceAreLoaded) {
  const auto load = [&](const std::string& text) {
    write_test_file(folder_ / "other.cpp", text);
    const ProcessRequest build{
        .argv = {pack_compiler_program(), "-shared", "-fPIC", "-o", (folder_ / "other.so").string(), (folder_ / "other.cpp").string()}};
    EXPECT_EQ(run_process(build).value().exit_status, 0);
    return load_pack_library(folder_ / "other.so", "0123456789abcdef").error().message;
  };
  EXPECT_NE(load("int f() { return 1; }").find("without evolora_pack_abi"), std::string::npos);
  EXPECT_NE(load("extern \"C\" int evolora_pack_abi() { return 999; }").find("expected pack interface 1, got 999"), std::string::npos);
  write_test_file(folder_ / "text.so", "no library");
  EXPECT_NE(load_pack_library(folder_ / "text.so", "").error().message.find("cannot be loaded"), std::string::npos);
  EXPECT_FALSE(load_pack_library(folder_ / "none.so", "").ok());
}

// The program's functions must not be replaced by a pack's of the same name, nor those of two packs by each other.
TEST_F(PackCompilation, SymbolsOfTwoPacksDoNotMix) {
  const auto with_value = [&](const std::string& value) {
    std::string source = kForward;
    source.replace(source.find("42"), 2, "helper()");
    return pack_of("float helper() { return " + value + "; }\n" + source);
  };
  const auto first = open(with_value("1")), second = open(with_value("2"));
  ASSERT_TRUE(first.ok() && second.ok());
  for (const auto& [library, value] : {std::pair(*first, 1.0f), std::pair(*second, 2.0f)}) {
    float y = 0;
    const std::vector<LoraProjection> projections = {{.weight = {.out = 1, .in = 1}, .y = &y}};
    Threads threads(1);
    KernelContext context{threads};
    with_pack(cpu_kernels(), library).lora_linear_forward({nullptr, 1, projections}, context);
    EXPECT_EQ(y, value);
  }
}

TEST(PackCompiler, CompilerThatIsNotThereIsADependencyError) {
  const char* before = std::getenv("CXX");
  const std::string kept = before == nullptr ? "" : before;
  ::setenv("CXX", "evolora-no-such-compiler", 1);
  const auto fingerprint = direct_pack_compiler()->fingerprint();
  if (before == nullptr) {
    ::unsetenv("CXX");
  } else {
    ::setenv("CXX", kept.c_str(), 1);
  }
  ASSERT_FALSE(fingerprint.ok());
  EXPECT_EQ(fingerprint.error().code, ErrorCode::kDependency);
  EXPECT_NE(fingerprint.error().message.find("set CXX"), std::string::npos) << fingerprint.error().message;
}

}  // namespace
}  // namespace evolora
