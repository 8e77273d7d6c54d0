// Tokens and supervision of samples with the tiny ChatML tokenizer. mlx-lm's own results are compared in tests/oracle/data_oracle.py.
#include "data/samples.h"

#include <gtest/gtest.h>

#include "text/tiny_tokenizer.h"

namespace evolora {
namespace {

class Samples : public ::testing::Test {
 protected:
  Result<SampleSet> make(std::string_view content) {
    const fs::path path = folder_ / "train.jsonl";
    write_test_file(path, content);
    const Result<RecordFile> records = read_records(real_file_system(), path, options_.names);
    if (!records.ok()) return records.error();
    return make_samples(*records, *model_.load(), options_);
  }
  // The text of the supervised tokens, with | where they are interrupted.
  std::string supervised_text(const Sample& sample) {
    const Tokenizer tokenizer = model_.load().value();
    std::string out;
    for (std::size_t i = 1; i < sample.tokens.size(); ++i) {
      if (sample.supervised[i] != 0) out += tokenizer.decode({sample.tokens[i]}, false).value();
      if (sample.supervised[i] == 0 && sample.supervised[i - 1] != 0) out += "|";
    }
    return out;
  }

  TinyModel model_;
  TestFolder folder_;
  SampleOptions options_;
};

constexpr std::string_view kTwoTurns =
    R"({"messages": [{"role": "system", "content": "the system"}, {"role": "user", "content": "hello"}, {"role": "assistant", "content": "hello there"},)"
    R"( {"role": "user", "content": "and"}, {"role": "assistant", "content": "the user"}]})";

TEST_F(Samples, TextEndsWithOneEos) {
  const SampleSet set = make("{\"text\": \"hello\"}\n{\"text\": \"hello<|im_end|>\", \"id\": 1}").value();
  EXPECT_EQ(set.samples[0].tokens, (std::vector<std::int32_t>{282, 2}));
  EXPECT_EQ(set.samples[1].tokens, (std::vector<std::int32_t>{282, 2}));
  EXPECT_EQ(set.samples[0].supervised, (std::vector<std::uint8_t>{0, 1}));
  EXPECT_EQ(set.samples[1].line, 2U);
  EXPECT_EQ(set.samples[1].top_level_keys, 2U);
}

TEST_F(Samples, WithoutMaskEverythingButTheFirstTokenIsLearned) {
  const SampleSet set = make(std::string(kTwoTurns)).value();
  const Sample& sample = set.samples[0];
  EXPECT_EQ(sample.tokens, (std::vector<std::int32_t>{1,   281, 201, 260, 293, 2,   201, 1,  269, 201, 282, 2,   201, 1,   283, 201, 282,
                                                      298, 2,   201, 1,   269, 201, 265, 70, 2,   201, 1,   283, 201, 260, 276, 2,   201}));
  EXPECT_EQ(std::count(sample.supervised.begin(), sample.supervised.end(), 1), static_cast<std::ptrdiff_t>(sample.tokens.size()) - 1);
  EXPECT_EQ(sample.supervised[0], 0);
}

TEST_F(Samples, NativeMaskLearnsEveryAssistantTurnWithItsEnd) {
  options_.mask_prompt = true;
  EXPECT_EQ(supervised_text(make(std::string(kTwoTurns))->samples[0]), "hello there<|im_end|>\n|the user<|im_end|>\n");
  const SampleSet completions = make(R"({"prompt": "the user", "completion": "hello"})").value();
  EXPECT_EQ(supervised_text(completions.samples[0]), "hello<|im_end|>\n");
  EXPECT_EQ(completions.samples[0].offset, 0) << "only compat batches use it";
  const std::string first = R"({"messages": [{"role": "assistant", "content": "Ahello"}, {"role": "user", "content": "hello"}]})";
  EXPECT_EQ(supervised_text(make(first)->samples[0]), "Ahello<|im_end|>\n|");
}

// A template that gives earlier answers without their reasoning, and ends generation prompts with an empty one: neither rendering is a prefix of the
// other.
TEST_F(Samples, NativeMaskSurvivesTemplatesThatRewriteEarlierTurns) {
  model_.write("chat_template.jinja",
               "{%- for message in messages %}{%- set content = message.content %}"
               "{%- if message.role == 'assistant' and not loop.last %}{%- set content = content.split('</think>')[-1] %}{%- endif %}"
               "{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}{%- endfor %}"
               "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think></think>' }}{%- endif %}");
  options_.mask_prompt = true;
  const std::string record =
      R"({"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "<think>the</think>hello there"},)"
      R"( {"role": "user", "content": "and"}, {"role": "assistant", "content": "<think>a</think>the user"}]})";
  EXPECT_EQ(supervised_text(make(record)->samples[0]), "hello there<|im_end|>\n|a</think>the user<|im_end|>\n")
      << "what both share, \"<think>\", is header here";
}

TEST_F(Samples, NativeMaskFailsWhereTheTemplateHidesATurn) {
  model_.write("chat_template.jinja", "{{ messages[-1].content }}");
  options_.mask_prompt = true;
  const Result<SampleSet> set = make("{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}\n" + std::string(kTwoTurns));
  ASSERT_FALSE(set.ok());
  EXPECT_NE(set.error().message.find("train.jsonl:2: cannot find the assistant's message 3"), std::string::npos) << set.error().message;
}

TEST_F(Samples, CompatMaskIsMlxLmsOffset) {
  options_.semantics = Semantics::kCompatMlxLm;
  EXPECT_EQ(make(std::string(kTwoTurns))->samples[0].offset, 0);
  options_.mask_prompt = true;
  const SampleSet set = make(std::string(kTwoTurns)).value();
  EXPECT_EQ(set.samples[0].offset, 30);
  EXPECT_EQ(supervised_text(set.samples[0]), "the user<|im_end|>\n");
  const std::string ends_with_user = R"({"messages": [{"role": "assistant", "content": "hello"}, {"role": "user", "content": "hello"}]})";
  EXPECT_EQ(supervised_text(make(ends_with_user)->samples[0]), "<|im_start|>user\nhello<|im_end|>\n");
  EXPECT_NE(make(R"({"messages": [{"role": "assistant", "content": "hello"}]})")
                .error()
                .message.find(":1: the chat template cannot be applied to an empty"),
            std::string::npos);
}

TEST_F(Samples, NativeCutsAndCompatLeavesThatToTheBatcher) {
  options_.max_seq_length = 4;
  EXPECT_EQ(make(std::string(kTwoTurns))->samples[0].tokens.size(), 4U);
  EXPECT_EQ(make(std::string(kTwoTurns))->samples[0].supervised.size(), 4U);
  EXPECT_EQ(make(std::string(kTwoTurns))->truncated, 1U);
  EXPECT_EQ(make(std::string(kTwoTurns))->longest_tokens, 34U);
  options_.semantics = Semantics::kCompatMlxLm;
  EXPECT_EQ(make(std::string(kTwoTurns))->samples[0].tokens.size(), 34U);
  EXPECT_EQ(make(std::string(kTwoTurns))->truncated, 1U);
}

TEST_F(Samples, WithoutSupervisionTheyAreDroppedAndListed) {
  options_.mask_prompt = true;
  options_.max_seq_length = 12;
  const std::string too_long = R"({"prompt": "hello hello hello hello hello hello", "completion": "hello"})";
  const std::string fits = R"({"prompt": "hello", "completion": "hello"})";
  const SampleSet set = make(too_long + "\n" + fits + "\n" + too_long).value();
  EXPECT_EQ(set.samples.size(), 1U);
  EXPECT_EQ(set.without_supervision, 2U);
  EXPECT_EQ(set.unsupervised_lines, (std::vector<std::size_t>{1, 3}));
  const Result<SampleSet> none = make(too_long);
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().code, ErrorCode::kBadData);
  EXPECT_NE(none.error().message.find("train.jsonl:1: nothing to learn"), std::string::npos);
  options_.semantics = Semantics::kCompatMlxLm;
  EXPECT_EQ(make(too_long)->samples.size(), 1U);
}

TEST_F(Samples, EmptyTextIsNothingToLearnOrMlxLmsError) {
  EXPECT_EQ(make("{\"text\": \"\"}\n{\"text\": \"hello\"}")->without_supervision, 1U);
  options_.semantics = Semantics::kCompatMlxLm;
  EXPECT_NE(make("{\"text\": \"\"}").error().message.find(":1: empty text"), std::string::npos);
}

TEST_F(Samples, Refusals) {
  options_.mask_prompt = true;
  EXPECT_EQ(make("{\"text\": \"a\"}").error().code, ErrorCode::kUsage);
  options_.max_seq_length = 0;
  EXPECT_EQ(make(std::string(kTwoTurns)).error().code, ErrorCode::kUsage);
  options_ = {};
  EXPECT_NE(make(R"({"prompt": "a", "completion": "b", "tools": 3})").error().message.find("train.jsonl:1: \"tools\" must be a list"),
            std::string::npos);
  model_.write("chat_template.jinja", "{{ raise_exception('roles must alternate') }}");
  EXPECT_NE(make(std::string(kTwoTurns)).error().message.find("roles must alternate"), std::string::npos);
  model_.remove("chat_template.jinja");
  EXPECT_NE(make(std::string(kTwoTurns)).error().message.find("no chat template"), std::string::npos);
  model_.write("tokenizer_config.json", "{}");
  EXPECT_NE(make("{\"text\": \"a\"}").error().message.find("no \"eos_token\""), std::string::npos) << make("{\"text\": \"a\"}").error().message;
}

TEST_F(Samples, NullToolsAreNoTools) {
  model_.write("chat_template.jinja", "{{ tools is none }}");
  EXPECT_EQ(make(R"({"prompt": "a", "completion": "b", "tools": null})")->samples[0].tokens, model_.load()->encode("True", false).value());
}

TEST_F(Samples, NoRecordsNoSamples) { EXPECT_TRUE(make("")->samples.empty()); }

}  // namespace
}  // namespace evolora
