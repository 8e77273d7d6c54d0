// adam_update bit for bit: against values that MLX 0.32.4's own optimizers produced on its CPU backend, and SIMD against the reference.
#include <bit>
#include <cstring>

#include "kernels/kernel_test_support.h"
#include "kernels/optimizer_update/contract.h"

namespace evolora {
namespace {

using namespace testing_support;

constexpr std::size_t kCount = 19;
using Bits = std::uint32_t[kCount];

// Random parameters and three steps of gradients of magnitudes 1e-6 to 10, with zeros, as fp32 bit patterns.
constexpr Bits kParameters = {0x3ee1e892u, 0xbea967d0u, 0x401b91c1u, 0xbe811238u, 0x3de07b20u, 0x3fca8ebeu, 0xbf68c374u,
                              0xbf177580u, 0x3e401b0fu, 0xbea8e4b7u, 0xbf98ac83u, 0xbe51cb26u, 0xbeb7b86eu, 0x3f1a7d1du,
                              0xbfd517cau, 0xbf333eefu, 0x3f9360c8u, 0x3fedbd06u, 0xbfc16e55u};
constexpr Bits kGradients[3] = {
    {0x3e24564cu, 0xbb1f66d3u, 0xb5b7dd3eu, 0xb66c008fu, 0x00000000u, 0x386fc9a2u, 0x408181d8u, 0x3acd03bcu, 0xbe41bb36u, 0x37fd1bd1u, 0xbb42888cu,
     0x3ec3d59eu, 0xbff7fa0au, 0xbc78391du, 0xbd75d63cu, 0xb48030f5u, 0x38b003a1u, 0x34bc1588u, 0x3c1200a6u},
    {0xb5384ba6u, 0xbc3f0947u, 0x3a1559a4u, 0x00000000u, 0x3f07892bu, 0xb65dc0a6u, 0x3870d454u, 0xb9a1d5efu, 0xbd7b52f2u, 0xb87b82ceu, 0x38940320u,
     0xc0d8a598u, 0xbf07e784u, 0x39969f25u, 0xbdddf968u, 0xb95688a1u, 0x344c85b2u, 0x3bbdff84u, 0x3d6f7c6au},
    {0xbb572a80u, 0x3ff181dcu, 0x3608bddbu, 0x40b9604bu, 0x3c2ca034u, 0xb8c35816u, 0xbe04c1deu, 0xbd00af6cu, 0xc0b7133cu, 0x36d89939u, 0xbbbf96edu,
     0xb929609bu, 0xbcd0e2e1u, 0xb7f58032u, 0x35aebbeeu, 0xbb3c50bfu, 0xb9349a88u, 0x3f5ecc39u, 0x3a5773ecu}};

// mlx.optimizers.Adam / AdamW after the three steps.
struct Golden {
  const char* name;
  float learning_rate;
  double beta1;
  double beta2;
  float eps;
  float weight_decay;
  bool bias_correction;
  Bits parameters;
  Bits m;
  Bits v;
};
constexpr Golden kGolden[] = {
    {"adam",
     1e-3f,
     0.9,
     0.999,
     1e-8f,
     0.0f,
     false,
     {0x3edd8d5au, 0xbea78331u, 0x401b5978u, 0xbe7fbbffu, 0x3dd40b93u, 0x3fca0017u, 0xbf6aee9eu, 0xbf180b26u, 0x3e4a788du, 0xbea92804u, 0xbf9768b2u,
      0xbe4f332au, 0xbeb29863u, 0x3f1ca7dcu, 0xbfd3ae01u, 0xbf313aadu, 0x3f92d490u, 0x3fecb6b3u, 0xbfc2b4c4u},
     {0x3c4f99c8u, 0x3e3fedf3u, 0x38577415u, 0x3f144d04u, 0x3d477cbau, 0xb6a725a3u, 0x3ea134c4u, 0xbb4769f9u, 0xbf17cc00u, 0xb61ad778u, 0xba56a2a5u,
      0xbf140effu, 0xbe5439beu, 0xba9dd7d9u, 0xbc6f786fu, 0xb9a05105u, 0xb72e9efcu, 0x3db34e98u, 0x3bc6c686u},
     {0x37d7b646u, 0x3b694ff5u, 0x2fb244c7u, 0x3d097510u, 0x3992def3u, 0x2d52365au, 0x3c860be1u, 0x3584d1d2u, 0x3d063a4eu, 0x2c9fd2b5u, 0x33389d7eu,
      0x3d3c275cu, 0x3b83fc73u, 0x34760e3eu, 0x37809aa4u, 0x320e91b7u, 0x2e2163d2u, 0x3a46906du, 0x366a8c72u}},
    {"adam bc",
     1e-3f,
     0.9,
     0.999,
     1e-8f,
     0.0f,
     true,
     {0x3ee0cb84u, 0xbea8c683u, 0x401b8c6au, 0xbe808bc7u, 0x3dddc0cdu, 0x3fca6303u, 0xbf69517du, 0xbf17b02cu, 0x3e42b1f0u, 0xbea91b6cu, 0xbf985c3bu,
      0xbe518989u, 0xbeb67068u, 0x3f1b0aefu, 0xbfd4be58u, 0xbf32a2c7u, 0x3f933561u, 0x3fed6fb8u, 0xbfc1bfffu},
     {0x3c4f99c8u, 0x3e3fedf3u, 0x38577415u, 0x3f144d04u, 0x3d477cbau, 0xb6a725a3u, 0x3ea134c4u, 0xbb4769f9u, 0xbf17cc00u, 0xb61ad778u, 0xba56a2a5u,
      0xbf140effu, 0xbe5439beu, 0xba9dd7d9u, 0xbc6f786fu, 0xb9a05105u, 0xb72e9efcu, 0x3db34e98u, 0x3bc6c686u},
     {0x37d7b646u, 0x3b694ff5u, 0x2fb244c7u, 0x3d097510u, 0x3992def3u, 0x2d52365au, 0x3c860be1u, 0x3584d1d2u, 0x3d063a4eu, 0x2c9fd2b5u, 0x33389d7eu,
      0x3d3c275cu, 0x3b83fc73u, 0x34760e3eu, 0x37809aa4u, 0x320e91b7u, 0x2e2163d2u, 0x3a46906du, 0x366a8c72u}},
    {"adamw",
     2e-4f,
     0.9,
     0.999,
     1e-8f,
     0.01f,
     false,
     {0x3ee1092cu, 0xbea906a1u, 0x401b8640u, 0xbe80d460u, 0x3dddfe10u, 0x3fca71e6u, 0xbf693220u, 0xbf179333u, 0x3e422d73u, 0xbea8f1ebu, 0xbf986b84u,
      0xbe514606u, 0xbeb6b1bdu, 0x3f1aebd1u, 0xbfd4cf1bu, 0xbf32d766u, 0x3f934481u, 0x3fed8830u, 0xbfc1af50u},
     {0x3c4f99c8u, 0x3e3fedf3u, 0x38577415u, 0x3f144d04u, 0x3d477cbau, 0xb6a725a3u, 0x3ea134c4u, 0xbb4769f9u, 0xbf17cc00u, 0xb61ad778u, 0xba56a2a5u,
      0xbf140effu, 0xbe5439beu, 0xba9dd7d9u, 0xbc6f786fu, 0xb9a05105u, 0xb72e9efcu, 0x3db34e98u, 0x3bc6c686u},
     {0x37d7b646u, 0x3b694ff5u, 0x2fb244c7u, 0x3d097510u, 0x3992def3u, 0x2d52365au, 0x3c860be1u, 0x3584d1d2u, 0x3d063a4eu, 0x2c9fd2b5u, 0x33389d7eu,
      0x3d3c275cu, 0x3b83fc73u, 0x34760e3eu, 0x37809aa4u, 0x320e91b7u, 0x2e2163d2u, 0x3a46906du, 0x366a8c72u}},
    {"adamw bc",
     3e-2f,
     0.85,
     0.95,
     1e-6f,
     0.1f,
     true,
     {0x3ebf1521u, 0xbe954fa0u, 0x4018bd66u, 0xbe6de4e9u, 0x3d8c3c69u, 0x3fc3f570u, 0xbf770311u, 0xbf1c9f2fu, 0x3e8615bdu, 0xbeacecb8u, 0xbf8df605u,
      0xbe47c0a4u, 0xbe9012edu, 0x3f296bb3u, 0xbfc8c74cu, 0xbf25168fu, 0x3f8d4427u, 0x3fe530b3u, 0xbfc93b92u},
     {0x3c8a71f9u, 0x3e90021cu, 0x3898aab4u, 0x3f5e7388u, 0x3d8d7bb8u, 0xb7098888u, 0x3ed69cc9u, 0xbb962846u, 0xbf62f11bu, 0xb664a85au, 0xba9bf07bu,
      0xbf525fcdu, 0xbe901ca2u, 0xbad2fbd8u, 0xbca67d8cu, 0xb9efab29u, 0xb78c37f0u, 0x3e066f8bu, 0x3c0bfb13u},
     {0x3a9867bcu, 0x3e36465eu, 0x328470f5u, 0x3fd6c6e8u, 0x3c5a3bf3u, 0x301fee5bu, 0x3f3d6cf2u, 0x384f7b0du, 0x3fd1b531u, 0x2f6b41e4u, 0x360d6804u,
      0x400bc36au, 0x3e3b2b60u, 0x372dd6d6u, 0x3a3ce3ceu, 0x34deb596u, 0x30f78c7au, 0x3d1b20bfu, 0x392e0fadu}},
};

Buffer from_bits(const Bits& bits) {
  Buffer buffer(kCount);
  for (std::size_t i = 0; i < kCount; ++i) buffer[i] = std::bit_cast<float>(bits[i]);
  return buffer;
}

void expect_bits(const Buffer& actual, const Bits& expected, const char* what) {
  ASSERT_TRUE(actual.intact());
  for (std::size_t i = 0; i < kCount; ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(actual[i]), expected[i])
        << what << "[" << i << "]: " << actual[i] << " and " << std::bit_cast<float>(expected[i]);
  }
}

using Update = void (*)(const AdamUpdate&, KernelContext&);

void expect_golden(const Golden& golden, Update update, int threads) {
  SCOPED_TRACE(golden.name);
  Buffer parameters = from_bits(kParameters);
  Buffer m(kCount);
  Buffer v(kCount);
  for (std::size_t i = 0; i < kCount; ++i) m[i] = v[i] = 0;
  TestContext context(threads, 0);
  for (std::int64_t step = 1; step <= 3; ++step) {
    const Buffer gradients = from_bits(kGradients[step - 1]);
    update({parameters.data(), gradients.data(), m.data(), v.data(), kCount, 1.0f, golden.learning_rate, golden.beta1, golden.beta2, golden.eps,
            golden.weight_decay, golden.bias_correction, step},
           context.get());
  }
  expect_bits(m, golden.m, "m");
  expect_bits(v, golden.v, "v");
  expect_bits(parameters, golden.parameters, "parameters");
}

TEST(AdamUpdate, EqualsMlx) {
  for (const Golden& golden : kGolden) {
    expect_golden(golden, reference::adam_update, 1);
    for_each_target_and_thread_count([&](int threads) { expect_golden(golden, cpu::adam_update, threads); });
  }
}

// Also what a fused multiply-add in one of the targets would break.
TEST(AdamUpdate, EqualsReferenceOverManyValues) {
  for (const std::size_t n : {std::size_t{1}, std::size_t{31}, std::size_t{16385}, std::size_t{50001}}) {
    const Buffer start = random_buffer(n, 1);
    const Buffer gradients = random_buffer(n, 2, 1e-2f);
    const auto run = [&](Update update, int threads, Buffer& p, Buffer& m, Buffer& v) {
      TestContext context(threads, 0);
      for (std::size_t i = 0; i < n; ++i) {
        p[i] = start[i];
        m[i] = 1e-3f * start[n - 1 - i];
        v[i] = 1e-4f * start[i] * start[i];
      }
      for (std::int64_t step = 7; step < 9; ++step) {
        update({p.data(), gradients.data(), m.data(), v.data(), static_cast<std::int64_t>(n), 0.37f, 1e-2f, 0.9, 0.999, 1e-8f, 0.01f, true, step},
               context.get());
      }
    };
    Buffer p(n);
    Buffer m(n);
    Buffer v(n);
    run(reference::adam_update, 1, p, m, v);
    for_each_target_and_thread_count([&](int threads) {
      Buffer p2(n);
      Buffer m2(n);
      Buffer v2(n);
      run(cpu::adam_update, threads, p2, m2, v2);
      ASSERT_EQ(std::memcmp(p.data(), p2.data(), n * sizeof(float)), 0);
      ASSERT_EQ(std::memcmp(m.data(), m2.data(), n * sizeof(float)), 0);
      ASSERT_EQ(std::memcmp(v.data(), v2.data(), n * sizeof(float)), 0);
      ASSERT_TRUE(p2.intact() && m2.intact() && v2.intact());
    });
  }
}

}  // namespace
}  // namespace evolora
