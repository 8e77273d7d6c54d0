// Candidates and judgements survive JSON, and digests tell different ones apart.
#include "evolve/candidate.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "evolve/judge.h"

namespace evolora {
namespace {

TEST(Candidate, JsonBothWays) {
  const Candidate candidate{{{"rows", 64}, {"exact", true}, {"mode", "a"}}, {{"k.cpp", "int x;\n\"\\"}}};
  const auto text = candidate_to_json(candidate).dump();
  const Candidate back = candidate_from_json(parse_json(text).value(), "x").value();
  EXPECT_EQ(back, candidate);
  EXPECT_EQ(back.digest(), candidate.digest());
}

TEST(Candidate, DigestSeesEveryPart) {
  const Candidate base{{{"rows", 64}}, {{"k.cpp", "a"}}};
  Candidate gene = base;
  gene.genome["rows"] = 65;
  Candidate text = base;
  text.sources["k.cpp"] = "b";
  Candidate name = base;
  name.sources.clear();
  name.sources["l.cpp"] = "a";
  EXPECT_NE(gene.digest(), base.digest());
  EXPECT_NE(text.digest(), base.digest());
  EXPECT_NE(name.digest(), base.digest());
  EXPECT_EQ(Candidate(base).digest(), base.digest());
}

TEST(Candidate, BadJsonIsNamed) {
  for (const char* text : {"[]", "{}", R"({"genome": {"a": [1]}, "sources": {}})", R"({"genome": {}, "sources": {"k": 1}})"}) {
    const auto result = candidate_from_json(parse_json(text).value(), "place");
    ASSERT_FALSE(result.ok()) << text;
    EXPECT_EQ(result.error().code, ErrorCode::kBadData);
    EXPECT_EQ(result.error().message.substr(0, 6), "place:");
  }
}

TEST(Judgement, JsonBothWays) {
  Judgement judgement;
  judgement.outcome = Outcome::kQuarantined;
  judgement.gate = "bench";
  judgement.reason = "too fast";
  judgement.artifact = "a\nb";
  judgement.log_speed = {0.1, 1.0 / 3, -2e-17};
  judgement.log_memory = {0.0};
  judgement.cell = {0, 3, -1};
  judgement.details = {{"a", 1}};
  judgement.seconds = 1.25;
  const Judgement back = judgement_from_json(parse_json(judgement_to_json(judgement).dump()).value(), "x").value();
  EXPECT_EQ(judgement_to_json(back), judgement_to_json(judgement));
  EXPECT_EQ(back.log_speed, judgement.log_speed);  // to the bit
}

TEST(Judgement, BadJsonIsNamed) {
  const auto good = judgement_to_json({});
  for (const auto& [field, value] : std::vector<std::pair<std::string, nlohmann::ordered_json>>{
           {"outcome", "great"}, {"gate", 1}, {"log_speed", {"a"}}, {"cell", {0.5}}, {"details", 1}, {"seconds", -1}}) {
    auto json = good;
    json[field] = value;
    const auto result = judgement_from_json(json, "place");
    ASSERT_FALSE(result.ok()) << field;
    EXPECT_NE(result.error().message.find("'" + field + "'"), std::string::npos) << result.error().message;
    json.erase(field);
    EXPECT_FALSE(judgement_from_json(json, "place").ok()) << field;
  }
}

}  // namespace
}  // namespace evolora
