// Tokens, special tokens and files of a model folder. Expected ids come from Python's tokenizers; tests/oracle/text_oracle.py compares at length.
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include "text/bridge_handles.h"
#include "text/tiny_tokenizer.h"

namespace evolora {
namespace {

using Ids = std::vector<std::int32_t>;

Tokenizer tiny() { return Tokenizer::load(real_file_system(), tiny_tokenizer_folder()).value(); }

TEST(Tokenizer, EncodesAsPython) {
  const Tokenizer tokenizer = tiny();
  EXPECT_EQ(tokenizer.encode("hello the user", true).value(), (Ids{282, 263, 276}));
  EXPECT_EQ(tokenizer.encode("h\u00e9llo \u2602 \U0001F44D\U0001F3FD", true).value(),
            (Ids{74, 130, 105, 274, 81, 223, 161, 249, 227, 223, 175, 256, 242, 238, 175, 256, 240, 124}));
  EXPECT_EQ(tokenizer.encode("<|im_start|>user\nhi<|im_end|>", false).value(), (Ids{1, 269, 201, 74, 75, 2}));
  EXPECT_EQ(tokenizer.encode("<tool>x", true).value(), (Ids{300, 90}));
  EXPECT_EQ(tokenizer.encode("", true).value(), Ids{});
  EXPECT_EQ(tokenizer.encode(std::string_view("\0", 1), true).value().size(), 1U);
  EXPECT_EQ(tokenizer.encode("\xff", true).error().code, ErrorCode::kBadData);
  EXPECT_EQ(tokenizer.vocabulary_size(), 301U);
  EXPECT_EQ(tokenizer.token_to_id("<|im_end|>"), 2);
  EXPECT_EQ(tokenizer.token_to_id("nothing"), std::nullopt);
}

TEST(Tokenizer, Decodes) {
  const Tokenizer tokenizer = tiny();
  EXPECT_EQ(tokenizer.decode({1, 269, 201, 282, 2}, false).value(), "<|im_start|>user\nhello<|im_end|>");
  EXPECT_EQ(tokenizer.decode({1, 269, 201, 282, 2}, true).value(), "user\nhello");
  EXPECT_EQ(tokenizer.decode({300}, true).value(), "<tool>") << "an added token need not be special";
  EXPECT_EQ(tokenizer.decode({161, 249}, true).value(), "\uFFFD");
  EXPECT_EQ(tokenizer.decode({}, true).value(), "");
  EXPECT_EQ(tokenizer.decode({100000}, true).value(), "") << "as the crate has it";
  EXPECT_EQ(tokenizer.decode({-1}, true).error().code, ErrorCode::kBadData);
}

TEST(Tokenizer, StopIdsAreThoseOfTokenizerAndGenerationConfig) {
  TinyModel model;
  EXPECT_EQ(model.load()->eos_token_id(), 2);
  EXPECT_EQ(model.load()->stop_token_ids(), (std::set<std::int32_t>{0, 2}));
  model.write("config.json", R"({"eos_token_id": 7})");
  EXPECT_EQ(model.load()->stop_token_ids(), (std::set<std::int32_t>{0, 2})) << "generation_config.json wins over config.json";
  model.write("generation_config.json", R"({"eos_token_id": null})");
  EXPECT_EQ(model.load()->stop_token_ids(), (std::set<std::int32_t>{2, 7}));
  model.remove("generation_config.json");
  model.remove("tokenizer_config.json");
  EXPECT_EQ(model.load()->eos_token_id(), std::nullopt);
  EXPECT_EQ(model.load()->stop_token_ids(), (std::set<std::int32_t>{7}));
  model.write("config.json", R"({"eos_token_id": "seven"})");
  EXPECT_EQ(model.load().error().message,
            (model.path() / "config.json").string() + ": \"eos_token_id\": expected a token id or a list of them, found \"seven\"");
}

TEST(Tokenizer, TokensThatOnlyTheConfigurationNamesAreAdded) {
  TinyModel model;
  model.write("tokenizer_config.json", R"({"eos_token": {"content": "<end>"}, "additional_special_tokens": ["<extra>"], "image_token": "<image>"})");
  const Tokenizer tokenizer = model.load().value();
  EXPECT_EQ(tokenizer.eos_token_id(), 301);
  EXPECT_EQ(tokenizer.encode("a<extra>b<image>", true).value().size(), 4U);
  EXPECT_EQ(tokenizer.decode({302, 303}, true).value(), "");
  EXPECT_EQ(tokenizer.vocabulary_size(), 304U);
}

TEST(Tokenizer, OldFoldersNameTheirTokensInSpecialTokensMap) {
  TinyModel model;
  model.write("tokenizer_config.json", R"({"eos_token": "<|endoftext|>"})");
  model.write("special_tokens_map.json", R"({"eos_token": {"content": "<|im_end|>", "lstrip": false}})");
  EXPECT_EQ(model.load()->eos_token_id(), 2);
  model.write("tokenizer_config.json", R"({"eos_token": "<|endoftext|>", "added_tokens_decoder": {}})");
  EXPECT_EQ(model.load()->eos_token_id(), 0);
}

// transformers 5 drops the two flags where there is a tokenizer.json; its post-processor is what counts.
TEST(Tokenizer, BosAndEosComeFromThePostProcessorOnly) {
  TinyModel model;
  model.write("tokenizer_config.json", R"({"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "add_bos_token": true, "add_eos_token": true})");
  EXPECT_EQ(model.load()->encode("hello", true).value(), (Ids{282}));
  std::string json = real_file_system().read(model.path() / "tokenizer.json").value();
  const std::string none = "\"post_processor\":null";
  ASSERT_NE(json.find(none), std::string::npos);
  json.replace(
      json.find(none), none.size(),
      R"("post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<|im_start|>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],)"
      R"("pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],)"
      R"("special_tokens":{"<|im_start|>":{"id":"<|im_start|>","ids":[1],"tokens":["<|im_start|>"]}}})");
  model.write("tokenizer.json", json);
  EXPECT_EQ(model.load()->encode("hello", true).value(), (Ids{1, 282}));
  EXPECT_EQ(model.load()->encode("hello", false).value(), (Ids{282}));
}

TEST(Tokenizer, TruncationAndPaddingOfTheFileAreIgnored) {
  TinyModel model;
  std::string json = real_file_system().read(model.path() / "tokenizer.json").value();
  const std::string none = "\"truncation\":null,\"padding\":null";
  ASSERT_NE(json.find(none), std::string::npos);
  json.replace(
      json.find(none), none.size(),
      R"("truncation":{"direction":"Right","max_length":2,"strategy":"LongestFirst","stride":0},"padding":{"strategy":{"Fixed":16},"direction":"Left",)"
      R"("pad_to_multiple_of":null,"pad_id":0,"pad_type_id":0,"pad_token":"<|endoftext|>"})");
  model.write("tokenizer.json", json);
  EXPECT_EQ(model.load()->encode("hello the user", true).value(), (Ids{282, 263, 276}));
}

TEST(Tokenizer, BadFilesAreNamed) {
  TinyModel model;
  const auto message = [&] {
    const Result<Tokenizer> loaded = model.load();
    return loaded.ok() ? std::string("loaded") : loaded.error().message;
  };
  model.write("tokenizer_config.json", "{\"eos_token\": 5}");
  EXPECT_NE(message().find("tokenizer_config.json: \"eos_token\": expected a token"), std::string::npos) << message();
  model.write("tokenizer_config.json", "{\"added_tokens_decoder\": {\"x\": \"<a>\"}}");
  EXPECT_NE(message().find("expected an id, found \"x\""), std::string::npos) << message();
  model.write("tokenizer_config.json", "{");
  EXPECT_NE(message().find("tokenizer_config.json: not valid JSON"), std::string::npos) << message();
  model.remove("tokenizer_config.json");
  EXPECT_EQ(message(), "loaded");
  const std::string json = real_file_system().read(model.path() / "tokenizer.json").value();
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, json.size() / 2, json.size() - 3}) {
    model.write("tokenizer.json", std::string_view(json).substr(0, size));
    EXPECT_NE(message().find("tokenizer.json: not a usable tokenizer"), std::string::npos) << message();
    EXPECT_EQ(message().find('\n'), std::string::npos);
  }
  model.write("tokenizer.json", "{\"version\":\"1.0\",\"model\":{\"type\":\"Nonsense\"}}");
  EXPECT_EQ(model.load().error().code, ErrorCode::kBadData);
  model.remove("tokenizer.json");
  EXPECT_EQ(model.load().error().code, ErrorCode::kNotFound);
}

TEST(StreamDecoder, GivesWholeCharactersAndTheSameTextInTheEnd) {
  const Tokenizer tokenizer = tiny();
  const std::string text = "hello \u2602 \U0001F44D\U0001F3FD the user<|im_end|>\n";
  StreamDecoder decoder(tokenizer);
  std::string streamed;
  const Ids ids = tokenizer.encode(text, false).value();
  for (const std::int32_t id : ids) {
    const std::string piece = decoder.push(id).value();
    EXPECT_EQ(piece.find("\uFFFD"), std::string::npos);
    streamed += piece;
  }
  EXPECT_EQ(decoder.finish().value(), "");
  EXPECT_EQ(streamed, text);
}

TEST(StreamDecoder, UnfinishedCharacterComesOutAtTheEnd) {
  const Tokenizer tokenizer = tiny();
  StreamDecoder decoder(tokenizer);
  EXPECT_EQ(decoder.push(74).value(), "h");
  EXPECT_EQ(decoder.push(161).value(), "");
  EXPECT_EQ(decoder.push(249).value(), "");
  EXPECT_EQ(decoder.finish().value(), "\uFFFD");
  EXPECT_EQ(decoder.finish().value(), "");
}

TEST(Bridge, PanicBecomesAnError) {
  BridgeText error;
  EXPECT_FALSE(evb_panic_for_test(error.out()));
  EXPECT_EQ(error.str(), "internal failure of the text library: on purpose");
}

}  // namespace
}  // namespace evolora
