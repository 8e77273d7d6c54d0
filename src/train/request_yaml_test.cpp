// Scalars as PyYAML resolves them, places in messages, and refusals of documents that are not settings.
#include "train/request_yaml.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <limits>

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

class RequestYaml : public testing::Test {
 protected:
  void TearDown() override { EXPECT_TRUE(real_file_system().remove(path_).ok()); }
  fs::path write(const std::string& text) {
    EXPECT_TRUE(write_file_atomically(real_file_system(), path_, text).ok());
    return path_;
  }
  Result<std::vector<Setting>> read(const std::string& text) { return read_request_yaml(real_file_system(), write(text)); }
  Error error_of(const std::string& text) {
    const auto settings = read(text);
    EXPECT_FALSE(settings.ok()) << text;
    return settings.ok() ? Error{} : settings.error();
  }

  const fs::path path_ = fs::path(testing::TempDir()) / ("request_yaml_" + std::to_string(getpid()) + ".yaml");
};

TEST(PlainScalar, ResolvesLikePyYaml) {
  EXPECT_EQ(resolve_plain_scalar("1e-5"), Json(1e-5));
  EXPECT_TRUE(resolve_plain_scalar("1e3").is_number_float());
  EXPECT_EQ(resolve_plain_scalar("1.0e-5"), Json(1e-5));
  EXPECT_EQ(resolve_plain_scalar(".5"), Json(0.5));
  EXPECT_EQ(resolve_plain_scalar("-1"), Json(-1));
  EXPECT_EQ(resolve_plain_scalar("+7"), Json(7));
  EXPECT_EQ(resolve_plain_scalar("1_000"), Json(1000));
  EXPECT_EQ(resolve_plain_scalar("0x1F"), Json(31));
  EXPECT_EQ(resolve_plain_scalar("0b101"), Json(5));
  EXPECT_EQ(resolve_plain_scalar("017"), Json(15));
  EXPECT_EQ(resolve_plain_scalar("0"), Json(0));
  for (const char* yes : {"yes", "On", "TRUE", "true"}) EXPECT_EQ(resolve_plain_scalar(yes), Json(true)) << yes;
  for (const char* no : {"no", "Off", "FALSE", "false"}) EXPECT_EQ(resolve_plain_scalar(no), Json(false)) << no;
  for (const char* null : {"", "~", "null"}) EXPECT_TRUE(resolve_plain_scalar(null).is_null()) << null;
  EXPECT_EQ(resolve_plain_scalar("-.inf"), Json(-std::numeric_limits<double>::infinity()));
  for (const char* text : {"e5", "1e", "--1", "1-2", "0x", "-", "nan", "inf", "infinity", "y", "99999999999999999999x", "smollm2"}) {
    EXPECT_TRUE(resolve_plain_scalar(text).is_string()) << text;
  }
}

TEST_F(RequestYaml, KeepsOrderTypesAndLines) {
  const auto settings = read("model: \"m\"\n\n# comment\ntrain: yes\nlearning_rate: 1e-5\nseed: '3'\nlora_parameters:\n  rank: 4\n  keys: [a, b]\n");
  ASSERT_TRUE(settings.ok()) << settings.error().message;
  ASSERT_EQ(settings->size(), 5U);
  EXPECT_EQ((*settings)[1].key, "train");
  EXPECT_EQ((*settings)[1].value, Json(true));
  EXPECT_NE((*settings)[1].place.find(".yaml:4: "), std::string::npos);
  EXPECT_EQ((*settings)[2].value, Json(1e-5));
  EXPECT_TRUE((*settings)[3].value.is_string());
  EXPECT_EQ((*settings)[4].value.dump(), R"({"rank":4,"keys":["a","b"]})");
  EXPECT_NE((*settings)[4].nested_places.at("keys").find(".yaml:9: "), std::string::npos);
}

TEST_F(RequestYaml, EmptyFileHasNoSettings) {
  const auto settings = read("# nothing yet\n");
  ASSERT_TRUE(settings.ok());
  EXPECT_TRUE(settings->empty());
}

TEST_F(RequestYaml, SyntaxErrorsNameTheLine) {
  const Error error = error_of("model: m\ndata: [a, b\n");
  EXPECT_EQ(error.code, ErrorCode::kUsage);
  EXPECT_NE(error.message.find(".yaml:"), std::string::npos);
  EXPECT_NE(error.message.find("not valid YAML"), std::string::npos);
}

TEST_F(RequestYaml, RefusesDuplicateKeysListsAndForeignBytes) {
  EXPECT_NE(error_of("iters: 1\niters: 2\n").message.find(":2: key 'iters' is given twice"), std::string::npos);
  EXPECT_NE(error_of("- a\n- b\n").message.find("expected 'key: value' lines"), std::string::npos);
  EXPECT_NE(error_of("model: \xff\xfe\n").message.find("UTF-8"), std::string::npos);
}

TEST_F(RequestYaml, AliasesThatMultiplyAreStopped) {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 8; ++i) {
    const std::string previous = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + previous;
    for (int j = 1; j < 10; ++j) text += ", " + previous;
    text += "]\n";
  }
  EXPECT_EQ(error_of(text).code, ErrorCode::kTooLarge);
}

TEST_F(RequestYaml, MissingFileIsNotFound) {
  const auto settings = read_request_yaml(real_file_system(), "/nonexistent/lora.yaml");
  ASSERT_FALSE(settings.ok());
  EXPECT_EQ(settings.error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace evolora
