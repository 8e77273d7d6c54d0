// The GGUF reader: a rule table of wrong files, truncation at every byte, random damage, and the blocks' arithmetic.
#include "formats/gguf.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "base/test_folder.h"
#include "formats/gguf_blocks.h"
#include "formats/gguf_test_file.h"
#include "formats/utf8.h"

namespace evolora {
namespace {

FileSystem& files = real_file_system();

Result<GgufFile> open_bytes(const TestFolder& folder, const std::string& bytes) {
  write_test_file(folder / "m.gguf", bytes);
  return GgufFile::open(files, folder / "m.gguf");
}

// One of everything: small enough to be truncated at every byte.
GgufBuilder small_file() {
  GgufBuilder b;
  b.string("s", "text").u32("u", 7).f32("f", 1.5F).flag("b", true).strings("ss", {"x", "yz"}).integers("ii", {1, -2});
  b.value("i64", 11, GgufBuilder::raw<std::int64_t>(-5)).value("u64", 10, GgufBuilder::raw<std::uint64_t>(5)).value("i8", 1, "\xff");
  b.tensor("t0", {3}, 0, f32_data(3)).tensor("t1", {32, 2}, 2, block_data(GgufType::kQ4_0, 2)).tensor("t2", {1, 2, 3}, 1, std::string(12, 'x'));
  return b;
}

TEST(Gguf, ReadsMetadataAndTensors) {
  const TestFolder folder;
  for (const std::uint32_t version : {2u, 3u}) {
    GgufBuilder b = small_file();
    b.version = version;
    const GgufFile file = open_bytes(folder, b.bytes()).value();
    EXPECT_EQ(file.string("s").value(), "text");
    EXPECT_EQ(file.integer("u").value(), 7);
    EXPECT_EQ(file.integer("i64").value(), -5);
    EXPECT_EQ(file.integer("i8").value(), -1);
    EXPECT_EQ(file.number("f").value(), 1.5);
    EXPECT_EQ(file.number("u").value(), 7.0);
    EXPECT_EQ(std::get<bool>(*file.value("b")), true);
    EXPECT_EQ(*file.strings("ss").value(), (std::vector<std::string_view>{"x", "yz"}));
    EXPECT_EQ(*file.integers("ii").value(), (std::vector<std::int64_t>{1, -2}));
    EXPECT_EQ(file.value("none"), nullptr);
    EXPECT_NE(file.string("none").error().message.find("'none' is missing; expected a string"), std::string::npos);
    EXPECT_EQ(file.string("u").error().code, ErrorCode::kBadData);
    EXPECT_FALSE(file.integer("f").ok());
    EXPECT_FALSE(file.strings("ii").ok());
    ASSERT_EQ(file.tensors().size(), 3u);
    EXPECT_EQ(file.find("t1")->shape, (std::vector<std::int64_t>{2, 32}));
    EXPECT_EQ(file.find("t1")->bytes.size(), 36u);
    EXPECT_EQ(file.find("t2")->shape, (std::vector<std::int64_t>{3, 2, 1}));
    EXPECT_EQ(std::memcmp(file.find("t0")->bytes.data(), f32_data(3).data(), 12), 0);
  }
}

TEST(Gguf, AlignmentOfTheFileIsUsed) {
  const TestFolder folder;
  GgufBuilder b = small_file();
  b.alignment = 64;
  EXPECT_FALSE(open_bytes(folder, b.bytes()).ok());
  b.u32("general.alignment", 64);
  EXPECT_TRUE(open_bytes(folder, b.bytes()).ok());
}

struct Row {
  const char* name;
  std::function<void(GgufBuilder&)> spoil;
  const char* expected;
  ErrorCode code = ErrorCode::kCorrupt;
};

TEST(Gguf, RuleTable) {
  const auto raw64 = [](std::uint64_t v) { return GgufBuilder::raw(v); };
  const auto raw32 = [](std::uint32_t v) { return GgufBuilder::raw(v); };
  const std::uint64_t huge = 1ULL << 62;
  const Row rows[] = {
      {"magic", [](auto& b) { b.magic = "GGML"; }, "does not begin with 'GGUF'"},
      {"version 0", [](auto& b) { b.version = 0; }, "version 0 is not supported", ErrorCode::kUnsupported},
      {"version 1", [](auto& b) { b.version = 1; }, "version 1 is not supported", ErrorCode::kUnsupported},
      {"version 4", [](auto& b) { b.version = 4; }, "version 4 is not supported", ErrorCode::kUnsupported},
      {"big-endian", [](auto& b) { b.version = 3u << 24; }, "big-endian", ErrorCode::kUnsupported},
      {"tensor count", [&](auto& b) { b.tensor_count = huge; }, "tensors do not fit"},
      {"tensor count 2^64-1", [](auto& b) { b.tensor_count = ~0ULL; }, "tensors do not fit"},
      {"tensor count too small", [](auto& b) { b.tensor_count = 2; }, ""},
      {"metadata count", [&](auto& b) { b.value_count = huge; }, "metadata entries do not fit"},
      {"metadata count too large by one", [](auto& b) { b.value_count = b.values.size() + 1; }, ""},
      {"key length", [&](auto& b) { b.values[0] = raw64(huge) + "s"; }, "truncated at byte"},
      {"key length wraps", [&](auto& b) { b.values[0] = raw64(~0ULL) + "s"; }, "truncated at byte"},
      {"empty key", [](auto& b) { b.u32("", 1); }, "key of 1 to 65535"},
      {"long key", [](auto& b) { b.u32(std::string(65536, 'k'), 1); }, "key of 1 to 65535"},
      {"key twice", [](auto& b) { b.u32("s", 1); }, "key 's' appears twice"},
      {"key not UTF-8", [](auto& b) { b.u32("\xff", 1); }, "not UTF-8"},
      {"string not UTF-8", [](auto& b) { b.string("x", "\xc0\x80"); }, "not UTF-8"},
      {"string length", [&](auto& b) { b.value("x", 8, raw64(huge)); }, "truncated at byte"},
      {"metadata type 13", [](auto& b) { b.value("x", 13, ""); }, "unknown metadata type 13"},
      {"boolean 2", [](auto& b) { b.value("x", 7, "\2"); }, "expected 0 or 1"},
      {"u64 above 63 bits", [&](auto& b) { b.value("x", 10, raw64(~0ULL)); }, "does not fit 63 bits"},
      {"array count", [&](auto& b) { b.value("x", 9, raw32(4) + raw64(huge)); }, "array elements do not fit"},
      {"array count whose bytes wrap", [&](auto& b) { b.value("x", 9, raw32(10) + raw64((1ULL << 61) + 1)); }, "array elements do not fit"},
      {"array type", [&](auto& b) { b.value("x", 9, raw32(99) + raw64(0)); }, "unknown metadata type 99"},
      {"array of arrays", [&](auto& b) { b.value("x", 9, raw32(9) + raw64(1) + raw32(4) + raw64(0)); }, "arrays of arrays", ErrorCode::kUnsupported},
      {"alignment 0", [](auto& b) { b.u32("general.alignment", 0); }, "power of two"},
      {"alignment 3", [](auto& b) { b.u32("general.alignment", 3); }, "power of two"},
      {"alignment 2^31", [](auto& b) { b.u32("general.alignment", 1u << 31); }, "power of two"},
      {"alignment is a string", [](auto& b) { b.string("general.alignment", "32"); }, "power of two"},
      {"tensor name empty", [](auto& b) { b.tensors[0].name = ""; }, "tensor name of 1 to 64"},
      {"tensor name of 65", [](auto& b) { b.tensors[0].name = std::string(65, 'n'); }, "tensor name of 1 to 64"},
      {"tensor name twice", [](auto& b) { b.tensors[1].name = "t0"; }, "tensor 't0' appears twice"},
      {"rank 0", [](auto& b) { b.tensors[0].dimensions = {}; }, "1 to 4 dimensions, got 0"},
      {"rank 5",
       [](auto& b) {
         b.tensors[0].dimensions = {3, 1, 1, 1, 1};
       },
       "1 to 4 dimensions, got 5"},
      {"dimension 0", [](auto& b) { b.tensors[0].dimensions = {0}; }, "dimension 0 is out of range"},
      {"dimension 2^63", [](auto& b) { b.tensors[0].dimensions = {1ULL << 63}; }, "out of range"},
      {"product wraps",
       [](auto& b) {
         b.tensors[0].dimensions = {1ULL << 32, 1ULL << 32};
       },
       "does not fit 63 bits"},
      {"product wraps to 3",
       [](auto& b) {
         b.tensors[0].dimensions = {3, 1ULL << 32, 1ULL << 32};
       },
       "does not fit 63 bits"},
      {"bytes wrap", [](auto& b) { b.tensors[0].dimensions = {1ULL << 62}; }, "does not fit 63 bits"},
      {"exabytes", [](auto& b) { b.tensors[0].dimensions = {1ULL << 60}; }, "truncated: tensor 't0' needs"},
      {"row no multiple of the block",
       [](auto& b) {
         b.tensors[1].dimensions = {16, 4};
       },
       "no multiple of the Q4_0 block"},
      {"tensor type Q4_K", [](auto& b) { b.tensors[0].type = 12; }, "tensor type Q4_K is not supported; supported: F32", ErrorCode::kUnsupported},
      {"tensor type BF16", [](auto& b) { b.tensors[0].type = 30; }, "tensor type BF16 is not supported", ErrorCode::kUnsupported},
      {"tensor type MXFP4", [](auto& b) { b.tensors[0].type = 39; }, "tensor type MXFP4 is not supported", ErrorCode::kUnsupported},
      {"tensor type withdrawn", [](auto& b) { b.tensors[0].type = 4; }, "unknown tensor type 4"},
      {"tensor type 2^32-1", [](auto& b) { b.tensors[0].type = ~0u; }, "unknown tensor type 4294967295"},
      {"offset not aligned", [](auto& b) { b.tensors[1].offset = 12; }, "expected at offset 32, got 12"},
      {"offset on another tensor", [](auto& b) { b.tensors[1].offset = 0; }, "expected at offset 32, got 0"},
      {"offset leaves a hole", [](auto& b) { b.tensors[1].offset = 64; }, "expected at offset 32, got 64"},
      {"offset 2^64-32", [](auto& b) { b.tensors[1].offset = ~0ULL - 31; }, "expected at offset 32"},
      {"data too short", [](auto& b) { b.tensors[2].data.pop_back(); }, "truncated: tensor 't2' needs 12 bytes"},
      {"data too long", [](auto& b) { b.tensors[2].data += std::string(40, 'x'); }, "trailing bytes"},
  };
  const TestFolder folder;
  for (const Row& row : rows) {
    GgufBuilder b = small_file();
    row.spoil(b);
    const auto result = open_bytes(folder, b.bytes());
    ASSERT_FALSE(result.ok()) << row.name;
    EXPECT_NE(result.error().message.find(row.expected), std::string::npos) << row.name << ": " << result.error().message;
    EXPECT_NE(result.error().message.find("m.gguf: "), std::string::npos) << row.name;
    if (*row.expected == '\0') continue;  // what is misread then depends on the bytes that follow
    EXPECT_EQ(result.error().code, row.code) << row.name << ": " << result.error().message;
  }
}

TEST(Gguf, TruncationAtEveryByteIsRefused) {
  const TestFolder folder;
  const std::string whole = small_file().bytes();
  ASSERT_TRUE(open_bytes(folder, whole).ok());
  for (std::size_t n = 0; n < whole.size(); ++n) {
    const auto result = open_bytes(folder, whole.substr(0, n));
    ASSERT_FALSE(result.ok()) << n;
    EXPECT_EQ(result.error().code, ErrorCode::kCorrupt);
    EXPECT_NE(result.error().message.find("truncated"), std::string::npos) << n << ": " << result.error().message;
  }
}

// Under the sanitizers this is the test that counts: no damage may lead outside the file.
TEST(Gguf, RandomDamageNeverLeavesTheFile) {
  const TestFolder folder;
  const std::string whole = small_file().bytes();
  std::mt19937 random(1);
  for (int i = 0; i < 3000; ++i) {
    std::string damaged = whole;
    for (unsigned k = random() % 4 + 1; k > 0; --k) {
      const std::size_t at = random() % damaged.size();
      damaged[at] = random() % 3 == 0 ? '\xff' : static_cast<char>(random());
    }
    const auto result = open_bytes(folder, damaged);
    if (!result.ok()) continue;
    std::size_t sum = 0;
    for (const GgufTensor& t : result.value().tensors()) {
      for (const std::byte b : t.bytes) sum += static_cast<std::size_t>(b);
    }
    EXPECT_GT(sum, 0u);
  }
}

TEST(Gguf, MissingFile) {
  const TestFolder folder;
  EXPECT_EQ(GgufFile::open(files, folder / "none.gguf").error().code, ErrorCode::kNotFound);
}

TEST(GgufBlocks, ExpandedValuesFollowTheFormulas) {
  // One block a type: scale 0.5, minimum -3, codes counting up.
  const std::string scale = GgufBuilder::raw<std::uint16_t>(0x3800);
  std::string nibbles;
  std::string bytes;
  for (int j = 0; j < 16; ++j) nibbles += static_cast<char>(j | ((15 - j) << 4));
  for (int j = 0; j < 32; ++j) bytes += static_cast<char>(j * 8 - 128);
  const std::pair<GgufType, std::string> cases[] = {{GgufType::kQ4_0, scale + nibbles},
                                                    {GgufType::kQ4_1, scale + GgufBuilder::raw<std::uint16_t>(0xc200) + nibbles},
                                                    {GgufType::kQ8_0, scale + bytes}};
  for (const auto& [type, data] : cases) {
    const GgufTensor tensor{"t", type, {1, 32}, std::as_bytes(std::span(data))};
    float expanded[32];
    gguf_expand_row(tensor, 0, expanded);
    std::uint32_t packed[8];
    float scales[1];
    float biases[1];
    gguf_repack_row(tensor, 0, packed, scales, biases);
    float through_codec[32];
    affine_dequantize(*gguf_affine_equivalent(type), DType::kF32, packed, scales, biases, 1, 32, through_codec);
    for (int j = 0; j < 32; ++j) {
      const int nibble = j < 16 ? j : 15 - (j - 16);
      const float expected = type == GgufType::kQ4_0   ? 0.5F * static_cast<float>(nibble - 8)
                             : type == GgufType::kQ4_1 ? 0.5F * static_cast<float>(nibble) - 3.0F
                                                       : 0.5F * static_cast<float>(j * 8 - 128);
      EXPECT_EQ(expanded[j], expected) << gguf_type_name(type) << j;
      EXPECT_EQ(through_codec[j], expected) << gguf_type_name(type) << j;
    }
  }
}

TEST(GgufBlocks, BiasesOfLargeScalesDoNotFitF16) {
  const auto tensor_of = [](GgufType type, const std::string& data) { return GgufTensor{"t", type, {1, 32}, std::as_bytes(std::span(data))}; };
  const std::string codes(32, '\1');
  const std::string ok = GgufBuilder::raw<std::uint16_t>(0x5ffe) + codes;         // 511.5: -128 d = -65472
  const std::string too_large = GgufBuilder::raw<std::uint16_t>(0x6000) + codes;  // 512: -128 d = -65536
  EXPECT_TRUE(gguf_biases_fit_f16(tensor_of(GgufType::kQ8_0, ok)));
  EXPECT_FALSE(gguf_biases_fit_f16(tensor_of(GgufType::kQ8_0, too_large)));
  const std::string smallest = GgufBuilder::raw<std::uint16_t>(0x0001) + codes;
  EXPECT_TRUE(gguf_biases_fit_f16(tensor_of(GgufType::kQ8_0, smallest))) << "subnormal scales times a power of two stay exact";
  const std::string infinite = GgufBuilder::raw<std::uint16_t>(0x7c00) + codes;
  EXPECT_EQ(check_gguf_finite(tensor_of(GgufType::kQ8_0, infinite)).error().code, ErrorCode::kBadData);
}

TEST(Utf8, AcceptsAndRefuses) {
  for (const char* good : {"", "a", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(is_utf8(good)) << good;
  }
  for (const char* bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x41", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xe1\x80", "\xf0\x8f\xbf\xbf",
                          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "a\xe2\x82"}) {
    EXPECT_FALSE(is_utf8(bad));
  }
}

}  // namespace
}  // namespace evolora
