// Fuzz target: any bytes as what a language model, or its endpoint, answers. Whatever is accepted changes nothing outside the marked blocks, and what
// is shown of it has no hidden characters.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "evolve/llm/answer.h"
#include "evolve/llm/endpoint.h"
#include "evolve/llm/source_edits.h"
#include "evolve/llm/untrusted_text.h"
#include "formats/utf8.h"

namespace evolora {
namespace {

constexpr std::string_view kHead = "int outside;\n// EVOLVE-BLOCK-START\n";
constexpr std::string_view kTail = "// EVOLVE-BLOCK-END\nint after;\n";

bool is_one_line(const Error& error) { return !error.message.empty() && error.message.find('\n') == std::string::npos; }

void check_outside(const Result<Sources>& changed) {
  if (!changed.ok()) {
    CHECK(is_one_line(changed.error()));
    return;
  }
  const std::string& text = changed->at("a.cpp");
  CHECK(changed->size() == 1 && text.starts_with(kHead) && text.ends_with(kTail));
  const auto blocks = find_blocks(*changed);
  CHECK(blocks.ok() && blocks->size() == 1);
}

void try_answer(std::string_view answer) {
  const Sources sources = {{"a.cpp", std::string(kHead) + "int x = 1;\n  f(x);\n\nint y = 2;\n" + std::string(kTail)}};
  const auto blocks = find_blocks(sources);
  CHECK(blocks.ok());
  if (const auto edits = edits_in_answer(answer); edits.ok()) check_outside(apply_edits(sources, *edits));
  if (const auto code = code_in_answer(answer); code.ok()) check_outside(replace_block(sources, blocks->front(), *code));
  if (const auto object = object_in_answer(answer); !object.ok()) CHECK(is_one_line(object.error()));
}

}  // namespace
}  // namespace evolora

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  evolora::try_answer(text);
  const std::string shown = evolora::harmless_text(text, 4096);
  CHECK(evolora::is_utf8(shown) && evolora::harmless_text(shown, shown.size()) == shown);
  CHECK(evolora::one_line(text, 200).find('\n') == std::string::npos);
  if (const auto parsed = evolora::parse_chat_completion(std::string(text)); parsed.ok()) {
    CHECK(parsed->reply.used.prompt >= 0 && parsed->reply.used.completion >= 0);
    evolora::try_answer(parsed->reply.text);
  }
  return 0;
}
