// The arithmetic of a recipe as words in a file: read, written, refused.
#include "engine/recipe_json.h"

#include <gtest/gtest.h>

namespace evolora {
namespace {

Result<RecipeChoices> parse(const char* text) { return recipe_from_json(nlohmann::ordered_json::parse(text), "recipe.json"); }

TEST(RecipeJson, ArithmeticIsReadAndWrittenAsItsName) {
  for (const Arithmetic forward : {Arithmetic::kFp32, Arithmetic::kBf16, Arithmetic::kInt8}) {
    for (const Arithmetic backward : {Arithmetic::kFp32, Arithmetic::kBf16}) {
      const Recipe recipe{.forward_arithmetic = forward, .backward_arithmetic = backward};
      const nlohmann::ordered_json json = recipe_to_json(recipe);
      EXPECT_EQ(json["forward_arithmetic"], arithmetic_name(forward));
      EXPECT_EQ(json["backward_arithmetic"], arithmetic_name(backward));
      EXPECT_EQ(with_choices({}, recipe_from_json(json, "recipe.json").value()), recipe);
    }
  }
}

TEST(RecipeJson, ArithmeticThatIsNotChosenStaysOpen) {
  const RecipeChoices choices = parse(R"({"forward_arithmetic": "int8"})").value();
  EXPECT_EQ(choices.forward_arithmetic, Arithmetic::kInt8);
  EXPECT_FALSE(choices.backward_arithmetic);
  EXPECT_EQ(with_choices({}, choices).backward_arithmetic, Arithmetic::kFp32);
}

TEST(RecipeJson, SharedPrefixesAreASwitch) {
  EXPECT_EQ(recipe_to_json(Recipe())["share_prefixes"], "off");
  EXPECT_TRUE(with_choices({}, parse(R"({"share_prefixes": "on"})").value()).share_prefixes);
  EXPECT_FALSE(parse(R"({"share_prefixes": true})").ok());
}

TEST(RecipeJson, BackwardInInt8IsRefused) {
  const Result<RecipeChoices> choices = parse(R"({"backward_arithmetic": "int8"})");
  ASSERT_FALSE(choices.ok());
  EXPECT_EQ(choices.error().message, R"(recipe.json: recipe field 'backward_arithmetic': expected "fp32" or "bf16", got "int8")");
  EXPECT_FALSE(parse(R"({"forward_arithmetic": 8})").ok());
}

}  // namespace
}  // namespace evolora
