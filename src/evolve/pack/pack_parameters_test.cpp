// Declared parameters: read, refused, set.
#include "evolve/pack/pack_parameters.h"

#include <gtest/gtest.h>

namespace evolora {
namespace {

PackSources block(const std::string& lines) { return {{"k.cpp", "// EVOLVE-BLOCK-START\n" + lines + "\n// EVOLVE-BLOCK-END\n"}}; }

std::string refusal(const PackSources& sources) {
  const auto parameters = pack_parameters(sources);
  return parameters.ok() ? "" : parameters.error().message;
}

const std::string kLines =
    "// Lines marked \"evolve:\" are parameters.\n"
    "constexpr int kRows = 6;   // evolve: int 1..16\n"
    "constexpr int kBlock=256 ; // evolve: log 16..4096\n"
    "constexpr int kVectors = 4; /* evolve: choice 1, 2,4,8 */\n"
    "constexpr bool kAhead = true;  // evolve: bool\n"
    "SHIFT = -3  # evolve: int -4..4";

TEST(PackParameters, EachKindIsAGene) {
  const auto parameters = pack_parameters(block(kLines)).value();
  ASSERT_EQ(parameters.size(), 5u);
  EXPECT_EQ(parameters[0].line, 3);
  const GeneSpace space = pack_gene_space(parameters);
  EXPECT_EQ(space.genes[0].name, "kRows");
  EXPECT_EQ(space.genes[0].kind, GeneKind::kInteger);
  EXPECT_EQ(space.genes[0].low, 1);
  EXPECT_EQ(space.genes[0].high, 16);
  EXPECT_EQ(space.genes[1].kind, GeneKind::kLogInteger);
  EXPECT_EQ(space.genes[2].choices, (std::vector<nlohmann::ordered_json>{1, 2, 4, 8}));
  EXPECT_EQ(space.genes[3].kind, GeneKind::kBoolean);
  EXPECT_EQ(space.genes[4].low, -4);
  const Genome expected = {{"kRows", 6}, {"kBlock", 256}, {"kVectors", 4}, {"kAhead", true}, {"SHIFT", -3}};
  EXPECT_EQ(pack_genome(parameters), expected);
  EXPECT_EQ(space.canonical(expected).value(), expected);
}

TEST(PackParameters, SettingRewritesTheLiteralsAndNothingElse) {
  const Genome values = {{"kRows", 12}, {"kBlock", 4096}, {"kVectors", 1}, {"kAhead", false}, {"SHIFT", 0}};
  const PackSources changed = with_parameters(block(kLines), values).value();
  EXPECT_EQ(pack_genome(pack_parameters(changed).value()), values);
  EXPECT_TRUE(check_change(block(kLines), changed).ok());
  std::string expected = block(kLines)["k.cpp"];
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{{"kRows = 6;", "kRows = 12;"},
                                                                                 {"kBlock=256 ;", "kBlock=4096 ;"},
                                                                                 {"kVectors = 4;", "kVectors = 1;"},
                                                                                 {"= true;", "= false;"},
                                                                                 {"= -3 ", "= 0 "}}) {
    expected.replace(expected.find(from), from.size(), to);
  }
  EXPECT_EQ(changed.at("k.cpp"), expected);
  EXPECT_EQ(with_parameters(block(kLines), {}).value(), block(kLines));
}

TEST(PackParameters, ValuesThatAreNotDeclaredAreRefused) {
  const auto error = [](const Genome& values) { return with_parameters(block(kLines), values).error().message; };
  EXPECT_EQ(error({{"kRows", 17}}), "parameter 'kRows' of k.cpp: expected a whole number from 1 to 16, got 17");
  EXPECT_EQ(error({{"kVectors", 3}}), "parameter 'kVectors' of k.cpp: expected one of 1, 2, 4, 8, got 3");
  EXPECT_EQ(error({{"kAhead", 1}}), "parameter 'kAhead' of k.cpp: expected true or false, got 1");
  EXPECT_EQ(error({{"kRows", 2.5}}), "parameter 'kRows' of k.cpp: expected a whole number from 1 to 16, got 2.5");
  EXPECT_EQ(error({{"kRow", 2}}), "the pack has no parameter 'kRow'; did you mean 'kRows'?");
}

TEST(PackParameters, DeclarationsThatSayTooLittleNameFileAndLine) {
  EXPECT_EQ(refusal({{"k.cpp", "int a = 1; // evolve: int 1..2\n"}}), "k.cpp:1: a parameter outside the blocks: nothing could set it");
  EXPECT_EQ(refusal(block("int a = 3; // evolve: int 1..2")), "k.cpp:2: a: expected a whole number from 1 to 2, got 3");
  EXPECT_EQ(refusal(block("int a = 1; // evolve: int 1..2\nint a = 1; // evolve: int 1..2")), "k.cpp:3: a: declared in k.cpp:2 already");
  for (const char* line :
       {"int a = 1 + 1; // evolve: int 1..2", "int a; // evolve: int 1..2", "int a = 1, b = 2; // evolve: int 1..2", "int a = 1; // evolve: int 2..1",
        "int a = 1; // evolve: int 1", "int a = 1; // evolve: log 0..2", "int a = 1; // evolve: choice 1,1", "int a = 1; // evolve: choice",
        "int a = 1; // evolve: maybe", "int a = 99999999999999999999; // evolve: int 1..2", "= 1; // evolve: int 1..2"}) {
    EXPECT_TRUE(refusal(block(line)).starts_with("k.cpp:2: ")) << line << ": " << refusal(block(line));
  }
}

TEST(PackParameters, ProseAboutParametersDeclaresNothing) {
  EXPECT_TRUE(pack_parameters(block("// say evolve: int 1..2 to declare one\nf(\"evolve: bool\");")).value().empty());
}

}  // namespace
}  // namespace evolora
