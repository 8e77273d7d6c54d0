// The affine codec against fixed results of mlx.core.quantize and dequantize (0.32.4, CPU); tests/oracle/codec_oracle.py compares far more.
#include "formats/quantization.h"

#include <gtest/gtest.h>

#include <cstring>
#include <span>
#include <vector>

#include "base/sha256.h"

namespace evolora {
namespace {

constexpr std::int64_t kRows = 8;
constexpr std::int64_t kColumns = 128;

// Every row is a kind of group that a quantizer can get wrong. All values are exact in every dtype but for row 4, which is tiny.
std::vector<float> test_matrix() {
  std::vector<float> m(kRows * kColumns);
  for (int i = 0; i < kColumns; ++i) {
    const float s = static_cast<float>((i * 37 + 11) % 64 - 29) / (i < 64 ? 64.0F : 128.0F);
    const float p = 3.0F + static_cast<float>((i * 29) % 32) / 32.0F;
    const float column[kRows] = {s, 0.0F, -0.75F, p, s * 0x1p-20F, i % 32 == 0 ? 100.0F : s, static_cast<float>(i % 31 - 15) / 2.0F, -p};
    for (int r = 0; r < kRows; ++r) m[static_cast<std::size_t>(r * kColumns + i)] = column[r];
  }
  return m;
}

std::vector<std::byte> stored(DType dtype, const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * dtype_size_bytes(dtype));
  for (std::size_t i = 0; i < values.size(); ++i) store_float(dtype, bytes.data(), i, values[i]);
  return bytes;
}

struct Quantized {
  std::vector<std::uint32_t> packed;
  std::vector<std::byte> scales;
  std::vector<std::byte> biases;
};

Quantized quantize(const AffineQuantization& q, DType dtype, const std::vector<float>& values, std::int64_t rows, std::int64_t columns) {
  const std::vector<std::byte> weight = stored(dtype, values);
  const std::size_t group_bytes = static_cast<std::size_t>(rows * columns / q.group_size) * dtype_size_bytes(dtype);
  Quantized out{std::vector<std::uint32_t>(static_cast<std::size_t>(rows) * packed_words_per_row(q, columns)), std::vector<std::byte>(group_bytes),
                std::vector<std::byte>(group_bytes)};
  affine_quantize(q, dtype, weight.data(), rows, columns, out.packed.data(), out.scales.data(), out.biases.data());
  return out;
}

struct Golden {
  DType dtype;
  AffineQuantization q;
  const char* packed_scales_biases;  // SHA-256 of the three arrays one after the other
  const char* dequantized;
};

const Golden kGolden[] = {
    {DType::kF32,
     {4, 32},
     "55436fe34c7e2b8d5686fb3a22410ce6b79fcd36262172db7072fb550f4939b9",
     "097e90e644fc98a47d553467faef2b18cb50e904e45a65aa34e55335fa5e6ae0"},
    {DType::kF32,
     {4, 64},
     "a60ddf541fc43c4db85f5368720538f46c38de9ab9860e52b738b45ed1803487",
     "16121899596ec2512b85ac29ad954eec8b4321f8aee2c9e5326b2c63aa5c7da0"},
    {DType::kF32,
     {4, 128},
     "26855d43686da4ab2f2061fdcd9dd0e4c6966f4b530ce87dcee6926081afd991",
     "8c7c9e9040899564a3b4123a7b6df51979749bc17ed405b292a3c35667401151"},
    {DType::kF32,
     {8, 32},
     "19005a2132c5665a6f21fdbeb3b9ffe4baeb8a47ed420a9442966b2d940f49ea",
     "f5eb0b58bae4d903ae8a8374ba7e9553558d1ddc2e087af2082cac3e3ee4e916"},
    {DType::kF32,
     {8, 64},
     "a5b7d750ae2c476e43d829fbaadf32acab21f0a156ecfd75daf5fde7272eccc4",
     "e9f8530b8c2bb6fef0375b99709dc197e9fbbe6920a4380a8b02fe2854ad82e3"},
    {DType::kF32,
     {8, 128},
     "57287bdc74e5f8317bb0ac8e1edf32b0b2e8000059babbf56450f924acbbff1d",
     "d1da24acf001cab7d5160be10e6ea2ebacf6375f842ffef7c64eb7707bd04b4c"},
    {DType::kF16,
     {4, 32},
     "476e9b1c28ce368235fc300963573fd9becb225c5b5f7b7df15fdf48ac713ba9",
     "5d87164430cbe093208653a35a9406056e61fa273ad48f1135a5a4515bebbf7b"},
    {DType::kF16,
     {4, 64},
     "2cf3b6002d163474b5c683ea5bead0320307c7f64de8ed6bcf6fc8b967d07753",
     "8d4f473c8ebe7f958c4444a690772f54eda3a885c330acf3d6ea9ab8f733f467"},
    {DType::kF16,
     {4, 128},
     "aef54c212dffa61337d9b89fc98771c9743a89e8d13e1f91bae7817bd901e18a",
     "1d367c4c939d2cb9d8c5ff087ae4fb852dab66647053e17ba2b6aaf048b62355"},
    {DType::kF16,
     {8, 32},
     "1e252d09fe0d31d60cca7071e491703058b90675321691e1d7ff76db8cc7128e",
     "13f3d1b741a34ca61d6193392995af500557e499131ec6d63be328e8a6d645c4"},
    {DType::kF16,
     {8, 64},
     "d3cc612f52e74f2d867c7ea6adad9552e49985c51b18697b9cc0be083507a29c",
     "69e61d9e07e24668b4f7d37c087d8b98f9a92793baded121b4e52bfa15528cc4"},
    {DType::kF16,
     {8, 128},
     "712de088cd533c0366f0a175f5bcf8266926dcad13271ef4ac3f76a4f6fd5f52",
     "8b3ac96ceb7d00d7da5951b3c8e157c9efc390e29806bfb3d8d87730e8028056"},
    {DType::kBF16,
     {4, 32},
     "f892d4850107b991e8f4ba695e0fb797e4c6cc03002e2928a9d3c234fb21001e",
     "131b291f0cc36d25b51c4ce496be72f7248abafa57c887a048e3580e5f3d711f"},
    {DType::kBF16,
     {4, 64},
     "41481e9dfa61e8eb9b8d3148d4a6b4a44ac387264fb2050ce55ee1ffaa4c1edd",
     "916d540f4a5358283d0e4477f7719a75ff8e4a7bb3754791da8afa8bb4ab11a0"},
    {DType::kBF16,
     {4, 128},
     "4955c7d368373602bdc6f4d222b7775a3d9ade43cb04ecc33ecd328e8836786c",
     "79a0081961ea21cf4e413586fd8ea832f37709040374ba62925681dac99a6f37"},
    {DType::kBF16,
     {8, 32},
     "b53e6e5654c2264c8b77a445adf8c5f572645844ac963755c85ac4d3d1dbe8e5",
     "15efd4ac86b6dab4cb7249aedf70d2bd52b1c7301655943020098dad42dba1ae"},
    {DType::kBF16,
     {8, 64},
     "04d1424de2d32e527c29f0a90cd3de803e2d9b855d0158f8992e0641a32001ae",
     "5769369726fc2e452156f14efded07372e7246f5b6ec3dfd2323610b0749843c"},
    {DType::kBF16,
     {8, 128},
     "3f652823809e21d937d703b5e270ec3c0d4bb6d7255ffd9613c79dd94414b634",
     "8020ca6dea01a28e62273f3a9a8335e06dbbc0205ceb6c8a69833f9b09470186"},
    {DType::kF32,
     {2, 32},
     "bfc9e5a42d89052881e4aeef3e804d265b2fc12885160e797cbaf5b37332b07f",
     "42760022053cace3f9d203a2fa1938aec6ac602c01634a86dc3170e6e19a3818"},
    {DType::kF32,
     {3, 64},
     "8b40d3a487a7c7040c4d8e6f0909121222e10d7165da2b97337603dc350c3a9e",
     "667ba82d6d2d470bb94e1de9fa3cde15c496b4b9d74c9b8fdc505d5e5bc59bd3"},
    {DType::kF32,
     {5, 128},
     "d4539ff3ef383adc95775e6b71002f0a8e292d155bb39e59793b13060f8c92f2",
     "80de1e5120b40311e1694bc6a6bfe0ca7ba3cbab479233dcc25db16aaa2f34fd"},
    {DType::kF32,
     {6, 32},
     "7b96bc7ce4a058cdc2a63889c413340b382134addcba09a738686ab562ffd51a",
     "4df5c57bd87341dcc864740a01561e92e9e93c3b0f1d4570f38d2ceccc9083cc"},
    {DType::kF16,
     {2, 64},
     "969579656d9f4fef404f3d04e480c739f4fdbfbd886740440177b8b47fde095d",
     "fc043cf8472e70809d8d63311ca8550b44a35956920a2efe0fa973d6a2947a0c"},
    {DType::kF16,
     {3, 128},
     "bae15290f3523043e73e58b0724096c107c9681efb694d2514397fa71204676e",
     "6daf6def9b3f2d1ca87f6d329804f53a262f309ae176460f63cfa27e6e9be86f"},
    {DType::kF16,
     {5, 32},
     "08ffda57a21eeb666cb2abcccf29a83054a2da6698ba93ce203a00b0ab7b9549",
     "3664f28b82e8b8339c7942ab01236111e120809a70eadca7dab42f6ade555073"},
    {DType::kF16,
     {6, 64},
     "e2e2a22005ec036af3434db325e7a08f94eaa28ec13162f76c4101c6dec4d053",
     "2873810959009d349a3ebda10f348f26c7f4e30c9cb861307b456688874f48f8"},
    {DType::kBF16,
     {2, 128},
     "6af319660c40b255ee392eba614d666610b2ca49efbf9b87925a5774e3f25683",
     "6550a8896fb2129ce4f81ac4342d00f63797ce329d399cc258a938cc6ff62448"},
    {DType::kBF16,
     {3, 32},
     "9b9b43a7226fa9b4704b81b9be50717bfcb2132ef88af8567854a200afb3449e",
     "e0f9b3acd1fd1fd7e749404ab205c42aa28703a0589fb242c1e85ab0818fd987"},
    {DType::kBF16,
     {5, 64},
     "e0cdc116c8fad4ecfd17a73289b7129c836b20805e0d909bf6e394504d2a311b",
     "8a8ec2927b80a841ec682d7aef782b285726b6331f0bbeaaf7afebf5d34b45d2"},
    {DType::kBF16,
     {6, 128},
     "048081df8498d3835d4376120bc479f5138a27def6ca1fd7267a4a2d6cfa5f63",
     "fa2663bd9e532abbefeaac07e090397dcc7f4af98a675890ea5659dffdf98b0d"},
};

TEST(Quantization, BytesAreThoseOfMlx) {
  for (const Golden& golden : kGolden) {
    const Quantized got = quantize(golden.q, golden.dtype, test_matrix(), kRows, kColumns);
    Sha256 digest;
    digest.update(std::as_bytes(std::span(got.packed)));
    digest.update(got.scales);
    digest.update(got.biases);
    EXPECT_EQ(digest.hex(), golden.packed_scales_biases) << dtype_name(golden.dtype) << " " << golden.q.bits << " " << golden.q.group_size;

    std::vector<std::byte> back(kRows * kColumns * dtype_size_bytes(golden.dtype));
    affine_dequantize(golden.q, golden.dtype, got.packed.data(), got.scales.data(), got.biases.data(), kRows, kColumns, back.data());
    EXPECT_EQ(sha256_hex(back), golden.dequantized) << dtype_name(golden.dtype) << " " << golden.q.bits << " " << golden.q.group_size;
  }
}

// The same in full for one small case, so that a failure can be read.
TEST(Quantization, CodesScalesAndBiasesOfTwoGroups) {
  const std::vector<float> matrix = test_matrix();
  const Quantized got = quantize({4, 32}, DType::kF16, {matrix.begin(), matrix.begin() + 64}, 1, 64);
  EXPECT_EQ(got.packed, (std::vector<std::uint32_t>{0xc5e81a3c, 0x2b4e7092, 0x81a4d6f8, 0xe70a3c5e, 0x4d6092b5, 0xa3c6e82a, 0x093b5e71, 0x6f82b4d7}));
  const std::uint16_t scales[] = {0xac00, 0xac40};
  const std::uint16_t biases[] = {0x3800, 0x3840};
  EXPECT_EQ(0, std::memcmp(got.scales.data(), scales, sizeof(scales)));
  EXPECT_EQ(0, std::memcmp(got.biases.data(), biases, sizeof(biases)));
}

TEST(Quantization, ErrorIsAtMostOneStep) {
  const std::vector<float> matrix = test_matrix();
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    for (const int group : {32, 64, 128}) {
      const AffineQuantization q{bits, group};
      const Quantized got = quantize(q, DType::kF32, matrix, kRows, kColumns);
      std::vector<float> back(matrix.size());
      affine_dequantize(q, DType::kF32, got.packed.data(), got.scales.data(), got.biases.data(), kRows, kColumns, back.data());
      for (std::size_t i = 0; i < matrix.size(); ++i) {
        const std::size_t g = i / static_cast<std::size_t>(group);
        const float step = std::abs(load_float(DType::kF32, got.scales.data(), g));
        const float edge = std::abs(load_float(DType::kF32, got.biases.data(), g));
        // Half a step inside the grid. Moving the grid so that zero lies on it can lose up to half a step at the far end as well. Three fp32
        // roundings (quotient, product, sum), each of at most the group's largest magnitude, which is below edge + step (steps + 1).
        const float rounding = 3 * 0x1p-24F * (edge + step * static_cast<float>(1 << bits));
        ASSERT_LE(std::abs(back[i] - matrix[i]), step + rounding) << bits << " " << group << " " << i;
      }
    }
  }
}

TEST(Quantization, SupportedPairs) {
  for (const int bits : {0, 1, 2, 3, 4, 5, 6, 7, 8, 16}) {
    for (const int group : {0, 16, 32, 64, 96, 128, 256}) {
      const Status status = check_affine_quantization({bits, group});
      const bool expected = ((bits >= 2 && bits <= 6) || bits == 8) && (group == 32 || group == 64 || group == 128);
      EXPECT_EQ(status.ok(), expected) << bits << " " << group;
      EXPECT_EQ(status.ok() ? ErrorCode::kUnsupported : status.error().code, ErrorCode::kUnsupported);
    }
  }
  EXPECT_EQ(packed_words_per_row({4, 32}, 576), 72u);
  EXPECT_EQ(packed_words_per_row({8, 32}, 576), 144u);
  EXPECT_EQ(packed_words_per_row({3, 32}, 32), 3u);
  EXPECT_EQ(packed_words_per_row({5, 64}, 576), 90u);
}

}  // namespace
}  // namespace evolora
