// Genomes against their space: what is accepted, what the canonical form leaves out, what messages name.
#include "evolve/gene.h"

#include <gtest/gtest.h>

namespace evolora {
namespace {

GeneSpace space() {
  GeneSpace out;
  out.genes = {{.name = "arithmetic", .kind = GeneKind::kChoice, .choices = {"fp32", "int8"}},
               {.name = "rows", .kind = GeneKind::kLogInteger, .low = 16, .high = 1024},
               {.name = "threads", .kind = GeneKind::kInteger, .low = 1, .high = 4},
               {.name = "exact", .kind = GeneKind::kBoolean, .only_if = GeneCondition{"arithmetic", {"int8"}}},
               {.name = "depth", .kind = GeneKind::kInteger, .low = 1, .high = 3, .only_if = GeneCondition{"exact", {true}}}};
  return out;
}

Genome plain() { return {{"arithmetic", "fp32"}, {"rows", 64}, {"threads", 2}}; }

void expect_error(const Genome& genome, const std::string& part) {
  const auto result = space().canonical(genome);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kUsage);
  EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
}

TEST(Gene, CanonicalFormLeavesInactiveGenesOut) {
  Genome genome = plain();
  genome["exact"] = true;
  genome["depth"] = 2;
  EXPECT_EQ(space().canonical(genome).value(), plain());
  genome["arithmetic"] = "int8";
  EXPECT_EQ(space().canonical(genome).value(), genome);
  genome["exact"] = false;  // depth hangs on it
  Genome without = genome;
  without.erase("depth");
  EXPECT_EQ(space().canonical(genome).value(), without);
}

TEST(Gene, UnsignedAndSignedNumbersAreTheSame) {
  Genome genome = plain();
  genome["rows"] = nlohmann::ordered_json::parse("64");
  EXPECT_EQ(space().canonical(genome).value().at("rows").dump(), "64");
  EXPECT_TRUE(space().canonical(genome).value().at("rows") == plain().at("rows"));
}

TEST(Gene, ErrorsNameGeneExpectedAndGot) {
  Genome genome = plain();
  genome["thread"] = 1;
  expect_error(genome, "'thread': there is no such gene; did you mean 'threads'?");
  genome = plain();
  genome.erase("rows");
  expect_error(genome, "'rows': expected a whole number from 16 to 1024, got nothing");
  genome = plain();
  genome["rows"] = 8;
  expect_error(genome, "'rows': expected a whole number from 16 to 1024, got 8");
  genome["rows"] = UINT64_MAX;
  expect_error(genome, "'rows': expected");
  genome["rows"] = 64.5;
  expect_error(genome, "got 64.5");
  genome = plain();
  genome["arithmetic"] = "fp16";
  expect_error(genome, "'arithmetic': expected \"fp32\" or \"int8\", got \"fp16\"");
  genome["arithmetic"] = "int8";
  genome["exact"] = 1;
  expect_error(genome, "'exact': expected true or false, got 1");
}

TEST(Gene, ConstraintSpeaks) {
  GeneSpace out = space();
  out.constraint = [](const Genome& genome) -> std::optional<std::string> {
    return genome.at("threads") == 3 ? std::optional<std::string>("three is a crowd") : std::nullopt;
  };
  EXPECT_TRUE(out.canonical(plain()).ok());
  Genome genome = plain();
  genome["threads"] = 3;
  const auto result = out.canonical(genome);
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("three is a crowd"), std::string::npos);
}

}  // namespace
}  // namespace evolora
