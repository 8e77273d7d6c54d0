// What a model is told of a pack's interface: all that its kernels need, and nothing of the direction that it has not.
#include "evolve/llm/pack_prompt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace evolora {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(PackPrompt, TellsTheInterfaceOfThePacksSlots) {
  const std::string both =
      pack_objective({.name = "p", .slots = {"lora_linear_forward", "lora_linear_backward"}, .files = {"k.cpp"}}, Objective::kSpeed);
  const std::string forward = pack_objective({.name = "p", .slots = {"lora_linear_forward"}, .files = {"k.cpp"}}, Objective::kSpeed);
  const std::string backward = pack_objective({.name = "p", .slots = {"lora_linear_backward"}, .files = {"k.cpp"}}, Objective::kSpeed);
  for (const std::string& text : {both, forward, backward}) {
    for (const char* part : {"} evolora_weight;", "} evolora_projection;", "} evolora_context;",
                             "evolora_dropout_keeps(uint64_t key, uint64_t index, float p) {\n  /* ... */\n}"}) {
      EXPECT_THAT(text, HasSubstr(part));
    }
    EXPECT_THAT(text, Not(HasSubstr("0xD2511F53")));
    EXPECT_EQ(text.find("} evolora_lora_linear_forward_args;") != std::string::npos, text != backward);
    EXPECT_EQ(text.find("} evolora_lora_linear_backward_args;") != std::string::npos, text != forward);
    EXPECT_EQ(text.find("EXPORT void evolora_lora_linear_forward(") != std::string::npos, text != backward);
    EXPECT_EQ(text.find("EXPORT size_t evolora_lora_linear_backward_workspace_bytes(") != std::string::npos, text != forward);
  }
}

}  // namespace
}  // namespace evolora
