// Formats, and every error with its file and line.
#include "data/records.h"

#include <gtest/gtest.h>

#include "base/test_folder.h"

namespace evolora {
namespace {

class Records : public ::testing::Test {
 protected:
  Result<RecordFile> read(std::string_view content) {
    EXPECT_TRUE(write_file_atomically(real_file_system(), path_, content).ok());
    return read_records(real_file_system(), path_, names_);
  }
  // The error's words after "path:".
  std::string error(std::string_view content) {
    const Result<RecordFile> out = read(content);
    if (out.ok()) return "no error";
    EXPECT_EQ(out.error().code, ErrorCode::kBadData);
    EXPECT_EQ(out.error().message.find('\n'), std::string::npos);
    const std::string prefix = path_.string() + ":";
    EXPECT_EQ(out.error().message.substr(0, prefix.size()), prefix);
    return out.error().message.substr(prefix.size());
  }

  TestFolder folder_;
  fs::path path_ = folder_ / "train.jsonl";
  FeatureNames names_;
};

TEST_F(Records, FormatIsThatOfTheFirstRecord) {
  EXPECT_EQ(read(R"({"prompt": "a", "completion": "b", "messages": [], "text": "t"})")->format, RecordFormat::kCompletions);
  EXPECT_EQ(read(R"({"prompt": "a", "text": "t", "messages": [{"role": "user"}]})")->format, RecordFormat::kChat);
  EXPECT_EQ(read(R"({"completion": "b", "text": "t"})")->format, RecordFormat::kText);
  EXPECT_EQ(record_format_name(RecordFormat::kChat), "chat");
}

TEST_F(Records, OtherKeyNames) {
  names_.prompt = "question";
  names_.completion = "answer";
  EXPECT_EQ(read(R"({"question": "a", "answer": "b", "prompt": 3})")->format, RecordFormat::kCompletions);
  EXPECT_EQ(error(R"({"prompt": "a", "completion": "b"})"),
            "1: no known format: expected the keys \"question\" and \"answer\", or \"messages\", or \"text\"");
}

TEST_F(Records, LinesAreNumberedFromOne) {
  const RecordFile file = read("{\"text\": \"a\"}\r\n{\"text\": \"\", \"id\": 7}\n\n  \n").value();
  ASSERT_EQ(file.records.size(), 2U);
  EXPECT_EQ(file.records[1].line, 2U);
  EXPECT_EQ(file.records[1].fields.size(), 2U);
  EXPECT_EQ(file.path, path_);
}

TEST_F(Records, EmptyFilesHaveNoRecords) {
  EXPECT_TRUE(read("")->records.empty());
  EXPECT_TRUE(read("\n\n")->records.empty());
  EXPECT_EQ(read_records(real_file_system(), folder_ / "none.jsonl", names_).error().code, ErrorCode::kNotFound);
}

TEST_F(Records, ErrorsSayWhere) {
  const std::string good = "{\"text\": \"a\"}\n";
  EXPECT_EQ(error(good + "{\"text\": \"b\"\n").substr(0, 27), "2: not valid JSON: column 1");
  EXPECT_EQ(error(good + "\n" + good), "2: blank line; every line must hold one JSON object");
  EXPECT_EQ(error(good + "[1]"), "2: expected a JSON object, found array");
  EXPECT_EQ(error("7"), "1: expected a JSON object, found number");
  EXPECT_EQ(error(good + good + "{\"txt\": \"b\"}"), "3: key \"text\" is missing (the file's format, set by its first record, is text)");
  EXPECT_EQ(error("{\"text\": 1}"), "1: \"text\": expected text, found number (the file's format, set by its first record, is text)");
  EXPECT_EQ(error("{\"text\": null}").substr(0, 37), "1: \"text\": expected text, found null ");
  EXPECT_EQ(error("{}").substr(0, 20), "1: no known format: ");
  EXPECT_EQ(error("{\"text\": \"\xc3(\"}").substr(0, 19), "1: not valid JSON: ");
  EXPECT_EQ(error("{\"text\": \"\\ud800\"}").substr(0, 19), "1: not valid JSON: ");
  EXPECT_EQ(error("{\"text\": " + std::string(100000, '[') + "}").substr(0, 25), "1: nested deeper than 100");
  EXPECT_EQ(error("{\"text\": \"a\"} {}").substr(0, 19), "1: not valid JSON: ");
}

TEST_F(Records, ConversationsAreChecked) {
  EXPECT_EQ(error(R"({"messages": []})").substr(0, 26), "1: \"messages\" is empty; a ");
  EXPECT_EQ(error(R"({"messages": "hi"})").substr(0, 48), "1: \"messages\": expected a list of messages, foun");
  EXPECT_EQ(error(R"({"messages": ["hi"]})").substr(0, 44), "1: \"messages\"[0]: expected an object, found ");
  EXPECT_EQ(error(R"({"messages": [{"role": "user"}, {"content": "x"}]})").substr(0, 39), "1: \"messages\"[1]: key \"role\" is missing");
  EXPECT_EQ(error(R"({"prompt": "x", "completion": ["y"]})").substr(0, 44), "1: \"completion\": expected text, found array ");
}

}  // namespace
}  // namespace evolora
