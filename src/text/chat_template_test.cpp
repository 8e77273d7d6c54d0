// Choice, variables and limits of chat templates. That Jinja itself is right is compared with transformers in tests/oracle/text_oracle.py.
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <chrono>

#include "text/tiny_tokenizer.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

const Json kHello = Json::parse(R"([{"role": "user", "content": "hello"}])");

// What the template makes of kHello, or "error: ...".
std::string rendered(TinyModel& model, std::string_view source, const Json& messages = kHello, const Json* tools = nullptr) {
  model.write("chat_template.jinja", source);
  const Result<std::string> out = model.load()->render_chat(messages, ChatOptions{false, tools});
  return out.ok() ? *out : "error: " + out.error().message;
}

TEST(ChatTemplate, ChatMl) {
  const TinyModel model;
  const Tokenizer tokenizer = model.load().value();
  EXPECT_TRUE(tokenizer.has_chat_template());
  EXPECT_EQ(tokenizer.render_chat(kHello, {}).value(), "<|im_start|>user\nhello<|im_end|>\n");
  EXPECT_EQ(tokenizer.render_chat(kHello, ChatOptions{true, nullptr}).value(), "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(tokenizer.encode_chat(kHello, {}).value(), (std::vector<std::int32_t>{1, 269, 201, 282, 2, 201}));
}

TEST(ChatTemplate, Variables) {
  TinyModel model;
  EXPECT_EQ(
      rendered(model, "{{ eos_token }} {{ pad_token }} {{ bos_token is defined }} {{ tools is none }} {{ documents is none }} {{ enable_thinking }}"),
      "<|im_end|> <|endoftext|> False True True False");
  const Json tools = Json::parse(R"([{"type": "function", "b": 1.0, "a": "\u00e9<\"&"}])");
  EXPECT_EQ(rendered(model, "{{ tools | tojson }}", kHello, &tools), "[{\"type\": \"function\", \"b\": 1.0, \"a\": \"\u00e9<\\\"&\"}]");
  const Json null_tools = nullptr;
  EXPECT_EQ(rendered(model, "{{ tools is none }}", kHello, &null_tools), "True");
  const Json nulls = Json::parse(R"([{"role": "user", "content": null, "reasoning": "r"}])");
  EXPECT_EQ(rendered(model, "{{ messages[0].content is defined }} {{ messages[0].reasoning_content }} {{ messages[0].thinking }}", nulls),
            "False r r");
  model.write("tokenizer_config.json", R"({"added_tokens_decoder": {"301": {"content": "<think>"}, "302": {"content": "</think>"}}})");
  EXPECT_EQ(rendered(model, "{{ enable_thinking }}"), "True");
}

TEST(ChatTemplate, FileOverConfigurationAndNamedTemplates) {
  TinyModel model;
  model.write("tokenizer_config.json",
              R"({"chat_template": [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "with tools"}]})");
  EXPECT_EQ(rendered(model, "file"), "file");
  model.remove("chat_template.jinja");
  const Json tools = Json::array();
  EXPECT_EQ(model.load()->render_chat(kHello, {}).value(), "plain");
  EXPECT_EQ(model.load()->render_chat(kHello, ChatOptions{false, &tools}).value(), "with tools");
  ASSERT_TRUE(real_file_system().create_directories(model.path() / "additional_chat_templates").ok());
  model.write("additional_chat_templates/tool_use.jinja", "from the folder");
  EXPECT_EQ(model.load()->render_chat(kHello, ChatOptions{false, &tools}).value(), "from the folder");
  EXPECT_NE(model.load()->render_chat(kHello, {}).error().message.find("none is named \"default\""), std::string::npos);
  model.remove("additional_chat_templates");
  model.write("tokenizer_config.json", R"({"chat_template": 3})");
  EXPECT_NE(model.load().error().message.find("\"chat_template\" must be a text or a list"), std::string::npos);
  model.write("tokenizer_config.json", "{}");
  EXPECT_FALSE(model.load()->has_chat_template());
  EXPECT_NE(model.load()->render_chat(kHello, {}).error().message.find("no chat template"), std::string::npos);
}

TEST(ChatTemplate, ErrorsAreTheTemplatesOwnWords) {
  TinyModel model;
  EXPECT_NE(rendered(model, "\n{{ raise_exception('no such role') }}").find("no such role (template line 2)"), std::string::npos);
  EXPECT_NE(rendered(model, "{% if %}").find("does not compile: syntax error"), std::string::npos);
  EXPECT_NE(rendered(model, "{{ messages[0].nothing.more }}").find("undefined"), std::string::npos);
  EXPECT_NE(rendered(model, "x", Json::array()).find("empty conversation"), std::string::npos);
  EXPECT_NE(rendered(model, "x", Json::parse("[[]]")).find("message 1 must be an object"), std::string::npos);
  EXPECT_NE(rendered(model, "x", Json(3)).find("must be a list of messages"), std::string::npos);
  const Json tools = Json::parse("[4]");
  EXPECT_NE(rendered(model, "x", kHello, &tools).find("JSON schema"), std::string::npos);
  const Json not_utf8 = Json::array({{{"role", "user"}, {"content", "\xff"}}});
  EXPECT_EQ(model.load()->render_chat(not_utf8, {}).error().code, ErrorCode::kBadData);
}

TEST(ChatTemplate, GenerationTagsOnlyGroup) {
  TinyModel model;
  EXPECT_EQ(rendered(model, "a\n{%- generation -%}\n b {% set x = 1 %}\n{%- endgeneration %}\nc{{ x is defined }} {{ '{% x' }}"), "ab cFalse {% x");
}

TEST(ChatTemplate, StrftimeNowUsesTheClock) {
  TinyModel model;
  const std::string year = rendered(model, "{{ strftime_now('%Y') }}");
  EXPECT_EQ(year.size(), 4U);
  EXPECT_GE(year, "2024");
  EXPECT_EQ(rendered(model, "{{ strftime_now('') }}"), "");
}

// A template comes with a model from anywhere: none of these may take long, fill the memory or end the process.
TEST(ChatTemplate, BombsStopEarly) {
  TinyModel model;
  const std::string deep(20000, '(');
  std::string nested;
  for (int i = 0; i < 3000; ++i) nested += "{% if true %}";
  const std::vector<std::string> bombs = {
      "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
      "{% for i in range(1000000000) %}x{% endfor %}",
      "{{ range(1000000000) | list | length }}",
      "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s | length }}",
      "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s | length }}",
      "{% set ns = namespace(s='a') %}{% for i in range(60) %}{% set ns.s = ns.s.replace('a', 'aaaaaaaa') %}{% endfor %}{{ ns.s | length }}",
      "{% set ns = namespace(s='a') %}{% for i in range(60) %}{% set ns.s = ns.s | replace('a', 'aaaaaaaa') %}{% endfor %}{{ ns.s | length }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l | tojson }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l | string | length }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(5000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l | tojson }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(5000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
      "{{ 'a' * 1000000000 }}",
      "{{ 'a' * 99999999 * 10 }}",
      "{{ ('a' * 4000000) | indent(1000000000) }}",
      "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
      "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(0) }}",
      "{% set s = 'a' * 4000000 %}{% for i in range(100000) %}{% if s.count('b') %}{% endif %}{% endfor %}{{ 1 }}",
      "{% set s = 'a' * 4000000 %}{% for i in range(100000) %}{% if 'b' in s %}{% endif %}{% endfor %}{{ 1 }}",
      "{% set s = ' ' * 4000000 %}{% for i in range(100000) %}{% if s | trim %}{% endif %}{% endfor %}{{ 1 }}",
      "{{ messages | tojson(indent=1000000000) }}{{ ('a' * 1000000) | list | tojson(indent='" + std::string(100, ' ') + "') }}",
      "{{ 10 ** 10 ** 10 ** 10 }}{{ range(100000) | map('string') | join('x' * 100000) | length }}",
      "{{ " + deep + " }}",
      nested,
      "{{ strftime_now('%c' * 1000000) }}{% for i in range(1000000) %}{{ strftime_now('%c') }}{% endfor %}",
      "{% include 'x' %}",
      std::string(2 << 20, 'x'),
  };
  for (const std::string& bomb : bombs) {
    const auto begin = std::chrono::steady_clock::now();
    const std::string out = rendered(model, bomb);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    EXPECT_EQ(out.substr(0, 6), "error:") << bomb.substr(0, 100) << " -> " << out.substr(0, 100);
    EXPECT_LT(seconds, 5.0) << bomb.substr(0, 100);  // 0.05 s where nothing else runs; the bound is for sanitizers on a busy machine
  }
}

TEST(ChatTemplate, LongConversationsAreNotBombs) {
  const TinyModel model;
  Json messages = Json::array();
  for (int i = 0; i < 20000; ++i) messages.push_back({{"role", i % 2 == 0 ? "user" : "assistant"}, {"content", "x"}});
  EXPECT_TRUE(model.load()->render_chat(messages, {}).ok());
  messages = Json::array({{{"role", "user"}, {"content", std::string(20 << 20, 'x')}}});
  EXPECT_EQ(model.load()->render_chat(messages, {}).value().size(), (20U << 20) + 28);
}

}  // namespace
}  // namespace evolora
