// Python's float layout and json.dump layout, and reading of JSON files.
#include "formats/json_text.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/test_folder.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

TEST(JsonText, FloatsAsPythonReprWritesThem) {
  const std::pair<double, const char*> rows[] = {{0.0, "0.0"},
                                                 {-0.0, "-0.0"},
                                                 {1.0, "1.0"},
                                                 {20.0, "20.0"},
                                                 {1e-5, "1e-05"},
                                                 {1.5e-5, "1.5e-05"},
                                                 {0.0001, "0.0001"},
                                                 {0.00012, "0.00012"},
                                                 {1e-4 / 3, "3.3333333333333335e-05"},
                                                 {0.1, "0.1"},
                                                 {-2.5, "-2.5"},
                                                 {123456789.0, "123456789.0"},
                                                 {1e15, "1000000000000000.0"},
                                                 {1e16, "1e+16"},
                                                 {1.25e17, "1.25e+17"},
                                                 {9999999999999998.0, "9999999999999998.0"},
                                                 {1e100, "1e+100"},
                                                 {1e-100, "1e-100"},
                                                 {5e-324, "5e-324"},
                                                 {1.7976931348623157e308, "1.7976931348623157e+308"},
                                                 {100.0, "100.0"},
                                                 {10.5, "10.5"},
                                                 {0.30000000000000004, "0.30000000000000004"},
                                                 {-1e-7, "-1e-07"},
                                                 {NAN, "NaN"},
                                                 {INFINITY, "Infinity"},
                                                 {-INFINITY, "-Infinity"}};
  for (const auto& [value, text] : rows) EXPECT_EQ(python_float(value), text);
}

TEST(JsonText, LayoutOfJsonDumpWithIndent4) {
  const Json value =
      Json::parse(R"({"b":[],"a":{},"n":null,"t":true,"f":[1,-2,3.0,[1e-5]],"s":"q\"\\\n\u00e9\ud83d\ude00\u007f/","o":{"z":1,"y":{"x":false}}})");
  EXPECT_EQ(python_json(value), R"({
    "b": [],
    "a": {},
    "n": null,
    "t": true,
    "f": [
        1,
        -2,
        3.0,
        [
            1e-05
        ]
    ],
    "s": "q\"\\\n\u00e9\ud83d\ude00\u007f/",
    "o": {
        "z": 1,
        "y": {
            "x": false
        }
    }
})");
}

TEST(JsonText, SortsTheTopLevelOnly) {
  EXPECT_EQ(with_sorted_keys(Json::parse(R"({"b":{"z":1,"a":2},"a":1,"B":0})")).dump(), R"({"B":0,"a":1,"b":{"z":1,"a":2}})");
}

TEST(JsonText, ReadingNamesFileAndPlace) {
  const TestFolder folder;
  FileSystem& files = real_file_system();
  const auto read = [&](const std::string& text) {
    write_test_file(folder / "c.json", text);
    return read_json_object(files, folder / "c.json");
  };
  EXPECT_EQ(read(R"({"z":1,"a":2})").value().dump(), R"({"z":1,"a":2})");
  const Error syntax = read("{\n\"a\": }").error();
  EXPECT_EQ(syntax.code, ErrorCode::kBadData);
  EXPECT_NE(syntax.message.find("c.json"), std::string::npos);
  EXPECT_NE(syntax.message.find("line 2"), std::string::npos) << syntax.message;
  EXPECT_EQ(syntax.message.find('\n'), std::string::npos);
  EXPECT_NE(read("[1]").error().message.find("got array"), std::string::npos);
  EXPECT_FALSE(read("").ok());
  EXPECT_TRUE(read("{\"a\":" + std::string(99, '[') + std::string(99, ']') + "}").ok());
  EXPECT_NE(read("{\"a\":" + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}").error().message.find("nested deeper"),
            std::string::npos);
  EXPECT_TRUE(read("{\"a\":\"" + std::string(1000, '[') + "\\\"\"}").ok()) << "brackets in strings do not nest";
}

}  // namespace
}  // namespace evolora
