// Genome and sources of a candidate: who follows whom, and when two are one program.
#include "evolve/pack/pack_candidate.h"

#include <gtest/gtest.h>

namespace evolora {
namespace {

std::string text(const std::string& block) { return "int head;\n// EVOLVE-BLOCK-START\n" + block + "// EVOLVE-BLOCK-END\n"; }

const std::string kLine = "constexpr int kTile = 4;  // evolve: int 1..8\n";

KernelPack pack(const std::string& block) {
  return {.manifest = {.name = "p", .slots = {"lora_linear_forward"}, .files = {"k.cpp"}}, .sources = {{"k.cpp", text(block)}}};
}

TEST(PackCandidate, TheStartHasTheDeclaredNumbers) {
  const auto start = start_of_pack(pack(kLine));
  ASSERT_TRUE(start.ok()) << start.error().message;
  EXPECT_EQ(start->genome, (Genome{{"kTile", 4}}));
  EXPECT_EQ(genes_of_program(*start)->genes.size(), 1U);
  KernelPack closed = pack(kLine);
  closed.sources["k.cpp"] = "int head;\n";
  EXPECT_NE(start_of_pack(closed).error().message.find("nothing may change"), std::string::npos);
}

TEST(PackCandidate, TheGenomeGoesBeforeTheText) {
  Candidate candidate = start_of_pack(pack(kLine)).value();
  candidate.genome["kTile"] = 7;
  EXPECT_NE(program_of(candidate)->at("k.cpp").find("kTile = 7;"), std::string::npos);
  Candidate written = candidate;
  written.sources = program_of(candidate).value();
  EXPECT_EQ(program_digest(candidate).value(), program_digest(written).value());
  Candidate spaced = written;
  spaced.sources["k.cpp"] = text("// said otherwise\nconstexpr int  kTile = 7; // evolve: int 1..8\n");
  EXPECT_EQ(program_digest(spaced).value(), program_digest(written).value());
  spaced.genome["kTile"] = 6;
  EXPECT_NE(program_digest(spaced).value(), program_digest(written).value());
}

TEST(PackCandidate, WhatWasNotChangedFollows) {
  const Candidate start = start_of_pack(pack(kLine)).value();
  Candidate candidate = start;
  candidate.genome["kTile"] = 2;
  EXPECT_EQ(agreed(start.sources, candidate, Changed::kGenome)->sources.at("k.cpp"), text("constexpr int kTile = 2;  // evolve: int 1..8\n"));
  candidate = start;
  candidate.sources["k.cpp"] = text("constexpr int kTile = 3;  // evolve: int 1..8\nconstexpr bool kNew = true;  // evolve: bool\n");
  EXPECT_EQ(agreed(start.sources, candidate, Changed::kSources)->genome, (Genome{{"kNew", true}, {"kTile", 3}}));
}

TEST(PackCandidate, RefusalsBeginWithTheirReason) {
  const Candidate start = start_of_pack(pack(kLine)).value();
  const auto reason = [&](const Candidate& candidate, Changed changed) {
    const auto out = agreed(start.sources, candidate, changed);
    return out.ok() ? "ok" : out.error().message.substr(0, out.error().message.find(':'));
  };
  Candidate candidate = start;
  candidate.genome["kTile"] = 9;
  EXPECT_EQ(reason(candidate, Changed::kGenome), "bad_genome");
  candidate = start;
  candidate.sources["k.cpp"] = text("constexpr int kTile = 9;  // evolve: int 1..8\n");
  EXPECT_EQ(reason(candidate, Changed::kSources), "bad_genome");
  candidate.sources["k.cpp"] = "int tail;\n" + text(kLine);
  EXPECT_EQ(reason(candidate, Changed::kSources), "outside_block");
}

}  // namespace
}  // namespace evolora
