// What the sources of a pack may not contain, and honest code that the rules let through.
#include "kernels/pack/pack_rules.h"

#include <gtest/gtest.h>

namespace evolora {
namespace {

std::string refusal(const std::string& source) {
  const Status status = check_pack_source(source, "k.cpp");
  return status.ok() ? "" : status.error().message;
}

TEST(PackRules, ArithmeticIsAllowed) {
  EXPECT_EQ(refusal("#include <cmath>\n  #  include \"evolora_pack.h\"\n#include <immintrin.h>\n"
                    R"code(
#define TILE 4
#if defined(__AVX512F__) && TILE > 2
typedef float vec __attribute__((vector_size(64), aligned(4), may_alias));
#else
#error "no vectors" // and why
#endif
namespace {
template <int kRows> [[nodiscard]] inline __attribute__((always_inline)) float sum(const float* __restrict__ x) {
  float total = 0;
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) total = __builtin_fmaf(x[i], x[i], total);
  __builtin_prefetch(x + 64);
  return std::sqrt(total);
}
struct Left { const float* data; };
int read = 1, open = 2, bind = read + open;  // names that are forbidden as calls only
}
__m512 zero() { return _mm512_setzero_ps(); }
const char* text = "system(\"rm\") asm #include <fstream>";  /* fork() */
)code"),
            "");
}

TEST(PackRules, EachRefusalNamesFileLineAndWord) {
  EXPECT_EQ(refusal("int a;\nvoid f() { system(0); }"), "k.cpp:2: 'system' is not allowed in a kernel pack");
  EXPECT_EQ(refusal("int f() { return open(0); }"), "k.cpp:1: 'open(': this call is not allowed in a kernel pack");
  EXPECT_TRUE(refusal("#include <fstream>").starts_with("k.cpp:1: #include <fstream>: expected one of "));
  EXPECT_TRUE(refusal("#pragma once").starts_with("k.cpp:1: #pragma: expected GCC unroll"));
}

TEST(PackRules, NothingThatLeavesTheKernelPasses) {
  for (const char* source : {
           "#include \"/etc/passwd\"",
           "#include \"../secret.h\"",
           "#include MACRO",
           "#include <sys/socket.h>",
           "#  include /* x */ <fstream>",
           "/* */ # /* */ include <fstream>",
           "#include_next <cmath>",
           "#import <cmath>",
           "#embed \"/etc/passwd\"",
           "#line 7 \"other.cpp\"",
           "#pragma GCC optimize(\"fast-math\")",
           "#pragma GCC push_options",
           "#pragma omp parallel for",
           "_Pragma(\"omp parallel\")",
           "asm(\"syscall\");",
           "__asm__(\"syscall\");",
           "__asm volatile (\"nop\");",
           "extern \"C\" int puts(const char*);",
           "extern int value;",
           "__attribute__((constructor)) void f() {}",
           "__attribute__((__constructor__)) void f() {}",
           "[[gnu::constructor]] void f() {}",
           "__attribute__((section(\".init_array\"))) void* p;",
           "__attribute__((ifunc(\"g\"))) void f();",
           "__attribute__((alias(\"g\"))) void f();",
           "__attribute__((optimize(\"fast-math\"))) void f();",
           "__attribute__((visibility(\"protected\"), unknown)) void f();",
           "__attribute__((vector_size(64)",
           "#define CALL(x) sys##x",
           "#define RUN system",
           "auto f = &fork;",
           "::std::system(0);",
           "int x = __has_include(<fstream>);",
           "__builtin_trap();",
           "__builtin_apply(0, 0, 0);",
           "const char* d = __DATE__;",
           "const char* f = __FILE__;",
           "int* p = new int;",
           "void* p = malloc(1);",
           "thread_local int x;",
           "volatile int x;",
           "throw 1;",
           "unsigned long long t = _rdtsc();",
           "unsigned long long t = __rdtsc();",
           "long t = time(0);",
           "_mm_setcsr(0);",
           "unlink (\"x\");",
           "read\n(0, p, 1);",
       }) {
    EXPECT_TRUE(refusal(source).starts_with("k.cpp:")) << source;
  }
}

TEST(PackRules, PacksOnMlxBuildGraphsAndNothingElse) {
  const auto mlx_refusal = [](const std::string& source) {
    const Status status = check_pack_source(source, "k.cpp", PackTarget::kMlx);
    return status.ok() ? "" : status.error().message;
  };
  EXPECT_EQ(mlx_refusal("#include \"evolora_mlx_pack.h\"\n#include <mlx/ops.h>\n#include <functional>\n"
                        R"code(
mx::array evolora_mlx_lora_linear(const mx::array& x, const evolora_mlx::Linear& linear) {
  const auto forward = [scale = linear.scale](const std::vector<mx::array>& in) { return std::vector<mx::array>{mx::matmul(in[0], in[1])}; };
  static const char* const kSource = "uint i = thread_position_in_grid.x; out[i] = exp(data[i]);";
  const auto kernel = mx::fast::metal_kernel("name", {"x"}, {"y"}, kSource);
  return mx::vjp(forward, {x, linear.a}, {x}).first[0];
}
)code"),
            "");
  // Of the other target: intrinsics and its header.
  EXPECT_TRUE(mlx_refusal("#include \"evolora_pack.h\"").starts_with("k.cpp:1: #include \"evolora_pack.h\": expected one of "));
  EXPECT_TRUE(refusal("#include <mlx/ops.h>").starts_with("k.cpp:1: #include <mlx/ops.h>: expected one of "));
  for (const char* source : {
           "#include <mlx/mlx.h>",
           "#include <mlx/io.h>",
           "#include <mlx/export.h>",
           "#include <mlx/compile.h>",
           "#include <mlx/allocator.h>",
           "#include <fstream>",
           "mx::save(\"x\", y);",
           "auto y = mx::load(\"/etc/passwd\");",
           "auto saved = & mx :: save_safetensors;",
           "using mlx::core::import_function;",
           "auto f = mx::compile(g);",
           "mx::eval(y);",
           "y.eval();",
           "float v = y.item<float>();",
           "const float* p = y.data<float>();",
           "mx::set_default_device(mx::Device::gpu);",
           "mx::StreamContext context(mx::Device::gpu);",
           "mx::reset_peak_memory();",
           "void* p = mx::allocator::malloc(64).raw_ptr();",
           "struct Own : mx::Primitive {};",
           "std::thread t([] {});",
           "auto s = std::ostringstream();",
           "auto k = mx::fast::precompiled_cuda_kernel(\"n\", ptx, in, s, d, {}, g, t);",
           "extern \"C\" int puts(const char*);",
           "throw 1;",
           "asm(\"syscall\");",
       }) {
    EXPECT_TRUE(mlx_refusal(source).starts_with("k.cpp:")) << source;
  }
}

TEST(PackRules, LengthIsLimited) {
  EXPECT_EQ(refusal(std::string(kMaxPackFileBytes, ' ')), "");
  const Status status = check_pack_source(std::string(kMaxPackFileBytes + 1, ' '), "k.cpp");
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kTooLarge);
}

}  // namespace
}  // namespace evolora
