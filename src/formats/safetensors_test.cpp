// The rule table of the reader, truncation at every byte, and the writer through the reader.
#include "formats/safetensors.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "base/file_system_faults.h"
#include "base/test_folder.h"
#include "formats/safetensors_header.h"

namespace evolora {
namespace {

FileSystem& files = real_file_system();

std::string little_endian(std::uint64_t value) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>((value >> (8 * i)) & 0xff);
  return out;
}

std::string file_of(const std::string& header, std::size_t data_bytes) {
  return little_endian(header.size()) + header + std::string(data_bytes, '\x01');
}

// A file with one tensor "t" given as JSON.
std::string one(const std::string& tensor, std::size_t data_bytes) { return file_of("{\"t\":" + tensor + "}", data_bytes); }

std::string tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

std::string repeat(const std::string& text, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += text;
  return out;
}

struct Row {
  const char* name;
  std::string file;
  const char* expected;  // nullptr: accepted; else part of the message
  ErrorCode code = ErrorCode::kCorrupt;
};

std::vector<Row> rule_table() {
  const std::string u8_2 = tensor("\"U8\"", "[2]", "[0,2]");
  const auto two = [&](const std::string& a, const std::string& b, std::size_t n) { return file_of("{\"a\":" + a + ",\"b\":" + b + "}", n); };
  return {
      // Length and framing
      {"empty file", "", "truncated: expected at least 8 bytes, got 0"},
      {"seven bytes", std::string(7, '\0'), "truncated: expected at least 8 bytes, got 7"},
      {"header length 0", little_endian(0), "begin with '{'"},
      {"header longer than file", little_endian(100) + "{}", "truncated: expected at least 108 bytes (header), got 10"},
      {"header one byte longer than file", little_endian(3) + "{}", "truncated"},
      {"header above 100 MB", little_endian(100'000'001) + "{}", "limit of 100000000"},
      {"header length 2^64-1", little_endian(~0ULL) + "{}", "limit of 100000000"},
      {"header length that wraps with 8", little_endian(~0ULL - 7) + "{}", "limit of 100000000"},
      {"header length 2^63", little_endian(1ULL << 63) + "{}", "limit of 100000000"},
      {"no tensors", file_of("{}", 0), nullptr},
      {"no tensors but data", file_of("{}", 1), "trailing bytes: expected 10 bytes, got 11"},
      {"padding with spaces", file_of("{}      ", 0), nullptr},
      {"padding with zero bytes", file_of(std::string("{}\0\0", 4), 0), "zero byte"},
      {"hidden text after a zero byte", file_of(std::string("{}\0{\"a\":1}", 10), 0), "zero byte"},
      {"leading space", file_of(" {}", 0), "begin with '{'"},
      {"byte order mark", file_of("\xef\xbb\xbf{}", 0), "begin with '{'"},
      {"root is an array", file_of("[]", 0), "begin with '{'"},
      {"root is null", file_of("null", 0), "begin with '{'"},
      {"text after the object", file_of("{}x", 0), "not valid JSON"},
      {"second object", file_of("{}{}", 0), "not valid JSON"},
      {"unclosed object", file_of("{", 0), "not valid JSON"},
      {"trailing comma", file_of("{\"t\":" + u8_2 + ",}", 2), "not valid JSON"},
      {"comment", file_of("{/**/}", 0), "not valid JSON"},
      {"invalid UTF-8 in a name", file_of("{\"\xff\":" + u8_2 + "}", 2), "not valid JSON"},
      {"lone surrogate", file_of("{\"__metadata__\":{\"a\":\"\\ud800\"}}", 0), "not valid JSON"},
      {"raw control character", file_of("{\"__metadata__\":{\"a\":\"\x01\"}}", 0), "not valid JSON"},
      {"100,000 open arrays", file_of("{\"t\":" + std::string(100'000, '['), 0), "expected an object, got an array"},
      {"100,000 open objects", file_of("{\"t\":" + repeat("{\"shape\":", 100'000), 0), "expected an array for shape, got an object"},
      // Metadata
      {"metadata null as mlx writes", file_of("{\"__metadata__\":null,\"t\":" + u8_2 + "}", 2), nullptr},
      {"metadata of strings", file_of("{\"__metadata__\":{\"format\":\"mlx\"},\"t\":" + u8_2 + "}", 2), nullptr},
      {"metadata empty", file_of("{\"__metadata__\":{}}", 0), nullptr},
      {"metadata last", file_of("{\"t\":" + u8_2 + ",\"__metadata__\":null}", 2), nullptr},
      {"metadata number", file_of("{\"__metadata__\":{\"a\":1}}", 0), "expected a string"},
      {"metadata nested", file_of("{\"__metadata__\":{\"a\":{}}}", 0), "expected a string, got an object"},
      {"metadata null value", file_of("{\"__metadata__\":{\"a\":null}}", 0), "expected a string, got null"},
      {"metadata is a string", file_of("{\"__metadata__\":\"a\"}", 0), "expected an object of strings or null"},
      {"metadata is a list", file_of("{\"__metadata__\":[]}", 0), "expected an object of strings or null"},
      {"metadata twice", file_of("{\"__metadata__\":null,\"__metadata__\":null}", 0), "appears twice"},
      {"metadata key twice", file_of("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0), "appears twice in __metadata__"},
      {"metadata in disguise of a tensor", file_of("{\"__metadata__\":" + u8_2 + "}", 2), "expected a string, got an array"},
      // Names
      {"all allowed characters", file_of("{\"aZ09_.:/-\":" + u8_2 + "}", 2), nullptr},
      {"empty name", file_of("{\"\":" + u8_2 + "}", 2), "letters, digits"},
      {"name with space", file_of("{\"a b\":" + u8_2 + "}", 2), "letters, digits"},
      {"name with newline", file_of("{\"a\\nb\":" + u8_2 + "}", 2), "'a?b'"},
      {"name with escaped zero", file_of("{\"a\\u0000b\":" + u8_2 + "}", 2), "letters, digits"},
      {"name with backslash", file_of("{\"a\\\\b\":" + u8_2 + "}", 2), "letters, digits"},
      {"name not ASCII", file_of("{\"\xc3\xa9\":" + u8_2 + "}", 2), "letters, digits"},
      {"name twice", two(tensor("\"U8\"", "[1]", "[0,1]"), tensor("\"U8\"", "[1]", "[1,2]"), 2).replace(8 + 2, 1, "b"), "'b' appears twice"},
      {"name twice by escape", file_of("{\"a\":" + u8_2 + ",\"\\u0061\":" + u8_2 + "}", 2), "'a' appears twice"},
      // Fields
      {"fields in any order", one("{\"data_offsets\":[0,2],\"shape\":[2],\"dtype\":\"U8\"}", 2), nullptr},
      {"no dtype", one("{\"shape\":[2],\"data_offsets\":[0,2]}", 2), "one of them is missing"},
      {"no shape", one("{\"dtype\":\"U8\",\"data_offsets\":[0,2]}", 2), "one of them is missing"},
      {"no offsets", one("{\"dtype\":\"U8\",\"shape\":[2]}", 2), "one of them is missing"},
      {"unknown field", one("{\"x\":1,\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}", 2), "unknown field 'x'"},
      {"dtype twice", one("{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}", 2), "'dtype' appears twice"},
      {"shape twice", one("{\"dtype\":\"U8\",\"shape\":[2],\"shape\":[2],\"data_offsets\":[0,2]}", 2), "'shape' appears twice"},
      {"offsets twice", one("{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2],\"data_offsets\":[0,2]}", 2), "'data_offsets' appears twice"},
      {"tensor is null", one("null", 0), "expected an object, got null"},
      {"tensor is a list", one("[]", 0), "expected an object, got an array"},
      {"dtype is a number", one(tensor("1", "[2]", "[0,2]"), 2), "expected a string for dtype"},
      {"dtype unknown", one(tensor("\"F8_E4M3\"", "[2]", "[0,2]"), 2), "dtype 'F8_E4M3' is not supported", ErrorCode::kUnsupported},
      {"dtype lower case", one(tensor("\"f32\"", "[2]", "[0,8]"), 8), "is not supported", ErrorCode::kUnsupported},
      {"shape is a number", one(tensor("\"U8\"", "2", "[0,2]"), 2), "expected an array for shape"},
      {"shape is null", one(tensor("\"U8\"", "null", "[0,2]"), 2), "expected an array for shape, got null"},
      // Dimensions
      {"rank 0", one(tensor("\"F32\"", "[]", "[0,4]"), 4), nullptr},
      {"zero-size tensor", one(tensor("\"F32\"", "[3,0]", "[0,0]"), 0), nullptr},
      {"negative dimension", one(tensor("\"U8\"", "[-2]", "[0,2]"), 2), "non-negative integer as dimension, got the signed number -2"},
      {"two negative dimensions", one(tensor("\"U8\"", "[-1,-2]", "[0,2]"), 2), "non-negative integer"},
      {"minus zero", one(tensor("\"U8\"", "[-0]", "[0,0]"), 0), "signed number"},
      {"fractional dimension", one(tensor("\"U8\"", "[2.0]", "[0,2]"), 2), "the number 2.0"},
      {"exponent dimension", one(tensor("\"U8\"", "[2e0]", "[0,2]"), 2), "the number 2e0"},
      {"string dimension", one(tensor("\"U8\"", "[\"2\"]", "[0,2]"), 2), "the string '2'"},
      {"boolean dimension", one(tensor("\"U8\"", "[true]", "[0,1]"), 1), "a boolean"},
      {"nested shape", one(tensor("\"U8\"", "[[2]]", "[0,2]"), 2), "got an array"},
      {"dimension 2^63", one(tensor("\"U8\"", "[9223372036854775808]", "[0,2]"), 2), "too large"},
      {"dimension 2^64", one(tensor("\"U8\"", "[18446744073709551616]", "[0,0]"), 0), "the number 18446744073709551616"},
      {"dimension 1e999", one(tensor("\"U8\"", "[1e999]", "[0,0]"), 0), "not valid JSON"},
      {"product wraps to 0", one(tensor("\"U8\"", "[4294967296,4294967296]", "[0,0]"), 0), "does not fit"},
      {"product wraps to 2", one(tensor("\"U8\"", "[9223372036854775807,2,2]", "[0,2]"), 2), "does not fit"},
      {"product times element size wraps", one(tensor("\"F32\"", "[4611686018427387904]", "[0,0]"), 0), "does not fit"},
      {"a zero hides a product that wraps", one(tensor("\"U8\"", "[4294967296,4294967296,0]", "[0,0]"), 0), "does not fit"},
      // Offsets
      {"one offset", one(tensor("\"U8\"", "[2]", "[0]"), 2), "expected two data_offsets, got 1"},
      {"no offsets inside", one(tensor("\"U8\"", "[2]", "[]"), 2), "expected two data_offsets, got 0"},
      {"three offsets", one(tensor("\"U8\"", "[2]", "[0,2,2]"), 2), "two non-negative integers"},
      {"negative offset", one(tensor("\"U8\"", "[2]", "[-2,0]"), 2), "signed number -2"},
      {"fractional offset", one(tensor("\"U8\"", "[2]", "[0,2.0]"), 2), "the number 2.0"},
      {"string offset", one(tensor("\"U8\"", "[2]", "[0,\"2\"]"), 2), "the string '2'"},
      {"offsets in an object", one(tensor("\"U8\"", "[2]", "{\"0\":2}"), 2), "expected an array for data_offsets"},
      {"end before begin", one(tensor("\"U8\"", "[2]", "[2,0]"), 2), "hole"},
      {"end before begin at 0", two(tensor("\"U8\"", "[1]", "[0,1]"), tensor("\"U8\"", "[1]", "[1,0]"), 2), "data_offsets say [1, 0]"},
      {"fewer bytes than the shape", one(tensor("\"F32\"", "[2]", "[0,7]"), 7), "need 8 bytes, data_offsets say [0, 7]"},
      {"more bytes than the shape", one(tensor("\"U8\"", "[2]", "[0,3]"), 3), "need 2 bytes"},
      {"hole at the beginning", one(tensor("\"U8\"", "[2]", "[1,3]"), 3), "a hole before it"},
      {"hole in the middle", two(tensor("\"U8\"", "[1]", "[0,1]"), tensor("\"U8\"", "[1]", "[2,3]"), 3),
       "tensor 'b': a hole before it, expected to begin at offset 1, got 2"},
      {"overlap", two(tensor("\"U8\"", "[2]", "[0,2]"), tensor("\"U8\"", "[2]", "[1,3]"), 3), "overlaps"},
      {"two tensors on the same bytes", two(u8_2, u8_2, 2), "overlaps"},
      {"one byte short", one(u8_2, 1), "truncated: expected 63 bytes, got 62"},
      {"one byte too many", one(u8_2, 3), "trailing bytes: expected 63 bytes, got 64"},
      {"offsets beyond 2^63", one(tensor("\"U8\"", "[2]", "[18446744073709551614,18446744073709551615]"), 2), "hole"},
      {"header order differs from offset order", two(tensor("\"U8\"", "[1]", "[1,2]"), tensor("\"U8\"", "[1]", "[0,1]"), 2), nullptr},
      {"zero-size between tensors",
       file_of("{\"a\":" + tensor("\"U8\"", "[1]", "[0,1]") + ",\"z\":" + tensor("\"U8\"", "[0]", "[1,1]") +
                   ",\"b\":" + tensor("\"U8\"", "[1]", "[1,2]") + "}",
               2),
       nullptr},
      {"exabyte tensor over two bytes", one(tensor("\"U8\"", "[1152921504606846976]", "[0,1152921504606846976]"), 2), "truncated"},
  };
}

TEST(Safetensors, RuleTable) {
  const std::vector<Row> rows = rule_table();
  ASSERT_GE(rows.size(), 60u);
  for (const Row& row : rows) {
    const auto result = parse_safetensors_header(row.file, "file");
    if (row.expected == nullptr) {
      EXPECT_TRUE(result.ok()) << row.name << ": " << (result.ok() ? "" : result.error().message);
      continue;
    }
    ASSERT_FALSE(result.ok()) << row.name;
    EXPECT_EQ(result.error().code, row.code) << row.name;
    EXPECT_NE(result.error().message.find(row.expected), std::string::npos) << row.name << ": " << result.error().message;
    EXPECT_TRUE(result.error().message.starts_with("file: ")) << row.name;
    EXPECT_EQ(result.error().message.find('\n'), std::string::npos) << row.name;
  }
}

std::vector<std::byte> bytes_of(std::size_t n) {
  std::vector<std::byte> out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<std::byte>(i * 37 + 1);
  return out;
}

TEST(Safetensors, TruncationAtEveryByteIsRefused) {
  const TestFolder folder;
  const std::vector<std::byte> a = bytes_of(24);
  const std::vector<std::byte> b = bytes_of(6);
  const std::vector<TensorView> tensors = {{"a", DType::kF32, {2, 3}, a}, {"b", DType::kBF16, {3}, b}};
  ASSERT_TRUE(write_safetensors(files, folder / "x", tensors, std::map<std::string, std::string>{{"format", "mlx"}}).ok());
  const std::string whole = files.read(folder / "x").value();
  ASSERT_TRUE(parse_safetensors_header(whole, "x").ok());
  for (std::size_t n = 0; n < whole.size(); ++n) {
    const auto result = parse_safetensors_header(std::string_view(whole).substr(0, n), "x");
    ASSERT_FALSE(result.ok()) << n;
    EXPECT_NE(result.error().message.find("truncated: expected"), std::string::npos) << result.error().message;
    EXPECT_NE(result.error().message.find("got " + std::to_string(n)), std::string::npos) << result.error().message;
  }
}

TEST(Safetensors, WritesWhatItReads) {
  const TestFolder folder;
  const fs::path path = folder / "model.safetensors";
  const std::vector<std::byte> a = bytes_of(24);
  const std::vector<std::byte> s = bytes_of(2);
  const std::vector<TensorView> tensors = {{"layers.0.w", DType::kF32, {2, 3}, a}, {"scalar", DType::kF16, {}, s}, {"none", DType::kI64, {0, 7}, {}}};
  ASSERT_TRUE(write_safetensors(files, path, tensors, std::map<std::string, std::string>{{"note", "\"quoted\" \xc3\xa9"}}).ok());
  const SafetensorsFile file = SafetensorsFile::open(files, path).value();
  ASSERT_EQ(file.tensors().size(), 3u);
  for (const TensorView& expected : tensors) {
    const TensorView* got = file.find(expected.name);
    ASSERT_NE(got, nullptr) << expected.name;
    EXPECT_EQ(got->dtype, expected.dtype);
    EXPECT_EQ(got->shape, expected.shape);
    EXPECT_TRUE(std::equal(got->bytes.begin(), got->bytes.end(), expected.bytes.begin(), expected.bytes.end()));
  }
  EXPECT_EQ(file.find("layers"), nullptr);
  EXPECT_EQ(file.metadata().at("note"), "\"quoted\" \xc3\xa9");
}

TEST(Safetensors, BytesOfTheFileAreFixed) {
  const TestFolder folder;
  const std::vector<std::byte> b = {std::byte{'A'}, std::byte{'B'}};
  ASSERT_TRUE(write_safetensors(files, folder / "x", {{"w", DType::kU8, {2}, b}}, std::nullopt).ok());
  const std::string header = R"({"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})";
  EXPECT_EQ(files.read(folder / "x").value(), little_endian(56) + header + "   AB");
}

TEST(Safetensors, WriterRefusesNamesThatTheReaderWould) {
  const TestFolder folder;
  for (const char* name : {"", "a b", "__metadata__", "\xc3\xa9"}) {
    EXPECT_EQ(write_safetensors(files, folder / "x", {{name, DType::kU8, {0}, {}}}, std::nullopt).error().code, ErrorCode::kUnsupported) << name;
  }
  EXPECT_TRUE(files.list(folder.path()).value().empty());
}

TEST(Safetensors, AFullDiskLeavesTheOldFile) {
  const TestFolder folder;
  const std::vector<std::byte> data = bytes_of(8);
  ASSERT_TRUE(write_safetensors(files, folder / "x", {{"old", DType::kU8, {8}, data}}, std::nullopt).ok());
  FaultyFileSystem faulty(files);
  faulty.fail(FileOperation::kWrite, 1, ENOSPC);
  const Status status = write_safetensors(faulty, folder / "x", {{"new", DType::kU8, {8}, data}}, std::nullopt);
  EXPECT_EQ(status.error().code, ErrorCode::kIo);
  EXPECT_NE(SafetensorsFile::open(files, folder / "x").value().find("old"), nullptr);
}

TEST(Safetensors, MissingFile) {
  const TestFolder folder;
  EXPECT_EQ(SafetensorsFile::open(files, folder / "x").error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace evolora
