// Records: written once, replayed to the byte, errors when the request differs; the manual queue; both resumable.
#include "evolve/llm/recorded_chat.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/test_folder.h"
#include "evolve/llm/chat_doubles.h"
#include "evolve/llm/manual_chat.h"

namespace evolora {
namespace {

using testing::HasSubstr;

const ChatRequest kRequest = {.model = "m", .messages = {{"system", "s"}, {"user", "line\n\"quoted\" \xe2\x82\xac"}}, .temperature = 0.7, .seed = 1};

ChatReply reply_of(const std::string& text) { return {.text = text, .finish_reason = "stop", .used = {11, 7}, .cost = 99}; }

TEST(RecordedChat, AnswersOnceAndThenFromTheRecord) {
  const TestFolder folder;
  ScriptedChat model;
  model.answer = [](std::int64_t, const ChatRequest&) { return reply_of("first \xe2\x82\xac\n\ttab"); };
  RecordedChat recording(real_file_system(), folder / "exchanges", model);
  const auto asked = recording.chat(3, kRequest);
  ASSERT_TRUE(asked.ok()) << asked.error().message;
  const auto file = real_file_system().read(folder / "exchanges/000003.json");
  ASSERT_TRUE(file.ok());
  model.answer = [](std::int64_t, const ChatRequest&) { return reply_of("second"); };
  RecordedChat replay(real_file_system(), folder / "exchanges");
  for (ChatModel* again : {static_cast<ChatModel*>(&recording), static_cast<ChatModel*>(&replay)}) {
    const auto answer = again->chat(3, kRequest);
    ASSERT_TRUE(answer.ok()) << answer.error().message;
    EXPECT_EQ(answer->text, asked->text);
    EXPECT_EQ(answer->finish_reason, "stop");
    EXPECT_EQ(answer->used, asked->used);
    EXPECT_EQ(answer->cost, asked->cost);
  }
  EXPECT_EQ(model.numbers.size(), 1U);
  EXPECT_EQ(*real_file_system().read(folder / "exchanges/000003.json"), *file);
}

TEST(RecordedChat, AnotherRequestOrAChangedRecordIsAnError) {
  const TestFolder folder;
  ScriptedChat model;
  model.answer = [](std::int64_t, const ChatRequest&) { return reply_of("x"); };
  RecordedChat recording(real_file_system(), folder.path(), model);
  ASSERT_TRUE(recording.chat(0, kRequest).ok());
  RecordedChat replay(real_file_system(), folder.path());
  for (const auto& change : std::vector<std::function<void(ChatRequest&)>>{
           [](ChatRequest& r) { r.messages[1].content += " "; }, [](ChatRequest& r) { r.seed = 2; }, [](ChatRequest& r) { r.model = "n"; },
           [](ChatRequest& r) { r.temperature = 0.70001; }, [](ChatRequest& r) { r.max_tokens = 1; }}) {
    ChatRequest other = kRequest;
    change(other);
    const auto answer = replay.chat(0, other);
    ASSERT_FALSE(answer.ok());
    EXPECT_EQ(answer.error().code, ErrorCode::kBadData) << "kUsage and kUnsupported would end a search as if it were done";
    EXPECT_THAT(answer.error().message, HasSubstr("asks something else than was recorded"));
  }
  EXPECT_THAT(replay.chat(1, kRequest).error().message, HasSubstr("ends before exchange 1"));
  EXPECT_EQ(replay.chat(1, kRequest).error().code, ErrorCode::kBadData);
  std::string text = *real_file_system().read(folder / "000000.json");
  const std::string whole = text;
  text.replace(text.find("quoted"), 6, "forged");
  write_test_file(folder / "000000.json", text);
  EXPECT_THAT(replay.chat(0, kRequest).error().message, HasSubstr("the record was changed"));
  write_test_file(folder / "000000.json", whole.substr(0, whole.size() / 2));
  EXPECT_EQ(replay.chat(0, kRequest).error().code, ErrorCode::kBadData);
}

TEST(RecordedChat, AFailureLeavesNoRecord) {
  const TestFolder folder;
  ScriptedChat model;
  model.answer = [](std::int64_t, const ChatRequest&) -> Result<ChatReply> { return Error{ErrorCode::kDependency, "down"}; };
  RecordedChat recording(real_file_system(), folder / "exchanges", model);
  EXPECT_FALSE(recording.chat(0, kRequest).ok());
  EXPECT_FALSE(real_file_system().exists(folder / "exchanges/000000.json"));
}

TEST(ManualChat, WaitsForAWholeAnswerAndGoesOnLater) {
  const TestFolder folder;
  NotingWaiter waiter;
  waiter.during_wait = [&] {  // a person's editor, writing in pieces
    if (waiter.waits.size() == 2) write_test_file(folder / "000000.answer.md", "half");
    if (waiter.waits.size() == 3) write_test_file(folder / "000000.answer.md", "half and whole");
  };
  ManualChat manual(real_file_system(), folder.path(), waiter);
  const auto answer = manual.chat(0, kRequest);
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ(answer->text, "half and whole");
  const std::string prompt = *real_file_system().read(folder / "000000.prompt.md");
  EXPECT_THAT(prompt, HasSubstr("000000.answer.md"));
  EXPECT_THAT(prompt, HasSubstr("\"quoted\""));

  waiter.waits.clear();
  waiter.most_waits = 3;
  EXPECT_EQ(manual.chat(1, kRequest).error().code, ErrorCode::kInterrupted);
  write_test_file(folder / "000001.answer.md", "later");
  waiter.waits.clear();
  EXPECT_EQ(manual.chat(1, kRequest)->text, "later");
  ChatRequest other = kRequest;
  other.messages[0].content = "another search";
  EXPECT_THAT(manual.chat(1, other).error().message, HasSubstr("another prompt"));
}

}  // namespace
}  // namespace evolora
