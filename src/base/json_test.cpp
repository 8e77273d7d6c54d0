// Errors of JSON parsing in one line, and the bound on nesting.
#include "base/json.h"

#include <gtest/gtest.h>

#include "base/test_folder.h"

namespace evolora {
namespace {

TEST(JsonText, ErrorsAreOneReadableLine) {
  const auto error = [](std::string_view text) { return parse_json(text).error().message; };
  EXPECT_EQ(error("{\"a\": nope}").substr(0, 55), "not valid JSON: column 8: syntax error while parsing va");
  EXPECT_NE(error("{\n\n\"a\": }").find("line 3, column 6"), std::string::npos) << error("{\n\n\"a\": }");
  EXPECT_EQ(error("\"\xff\"").find_first_of("\n\xff"), std::string::npos) << "bytes that a terminal should not get";
  EXPECT_LT(error("{\"" + std::string(5000, 'x')).size(), 300U);
  EXPECT_FALSE(parse_json("").ok());
  EXPECT_FALSE(parse_json("{} {}").ok());
  EXPECT_FALSE(parse_json("[1e999]").ok());
}

TEST(JsonText, DepthIsBoundedOutsideOfStrings) {
  const std::string open(kMaxJsonDepth, '['), close(kMaxJsonDepth, ']');
  EXPECT_TRUE(parse_json(open + close).ok());
  EXPECT_FALSE(parse_json("[" + open + close + "]").ok());
  EXPECT_TRUE(parse_json("\"\\\"" + std::string(1000, '[') + "\"").ok());
  EXPECT_EQ(parse_json(std::string(1000000, '[')).error().code, ErrorCode::kBadData);
}

TEST(JsonText, StringsThatAreNotUtf8CannotBeWritten) {
  EXPECT_EQ(json_to_text(nlohmann::ordered_json("\xc3")).error().code, ErrorCode::kBadData);
  EXPECT_EQ(json_to_text(nlohmann::ordered_json("\xc3\xa9")).value(), "\"\xc3\xa9\"");
}

TEST(JsonText, FilesMustHoldObjects) {
  const TestFolder folder;
  FileSystem& files = real_file_system();
  ASSERT_TRUE(write_file_atomically(files, folder / "a.json", "[1]").ok());
  EXPECT_EQ(read_json_object(files, folder / "a.json").error().message, (folder / "a.json").string() + ": expected a JSON object, got array");
  EXPECT_EQ(read_json_object(files, folder / "b.json").error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(read_json_object_if_there(files, folder / "b.json").value().empty());
}

TEST(JsonText, SettingsNamedTwiceAreRefusedAndNotDecidedByTheLast) {
  const TestFolder folder;
  FileSystem& files = real_file_system();
  const auto error = [&](const std::string& text) {
    EXPECT_TRUE(write_file_atomically(files, folder / "a.json", text).ok());
    const auto object = read_settings_object(files, folder / "a.json");
    return object.ok() ? "" : object.error().message;
  };
  EXPECT_EQ(error(R"({"threads": 1, "x": {"threads": 2}, "y": [{"a": 1}, {"a": 2}]})"), "");
  EXPECT_EQ(error(R"({"threads": 1, "x": {}, "threads": 2})"),
            (folder / "a.json").string() + ": key 'threads' stands twice in one object; leave one of the two");
  EXPECT_NE(error(R"({"x": {"a": 1, "b": 2, "a": 1}})").find("'a'"), std::string::npos);
  EXPECT_NE(error("[1]").find("got array"), std::string::npos);
}

}  // namespace
}  // namespace evolora
