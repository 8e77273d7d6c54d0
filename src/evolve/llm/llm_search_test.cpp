// A whole search with a language model: stopped after every evaluation and taken up again, it proposes what an uninterrupted one does and asks
// nothing twice; tokens end it; a replay needs no model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/test_folder.h"
#include "evolve/llm/chat_doubles.h"
#include "evolve/llm/llm_proposer.h"
#include "evolve/llm/recorded_chat.h"
#include "evolve/search.h"

namespace evolora {
namespace {

constexpr char kProgram[] = "// EVOLVE-BLOCK-START\nconstexpr int kTile = 4;\n// EVOLVE-BLOCK-END\n";

// The larger the tile the faster, up to 9; larger tiles do not compile. Stops the search after `left` judgings.
class TileJudge : public Judge {
 public:
  Result<Judgement> judge(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>*) override { return look(candidate, seed); }
  Result<Judgement> measure_again(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>*) override { return look(candidate, seed); }
  Result<Judgement> confirm(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>*) override { return look(candidate, seed); }

  int left = 1000;

 private:
  Result<Judgement> look(const Candidate& candidate, std::uint64_t seed) {
    if (left-- <= 0) return Error{ErrorCode::kInterrupted, "stopped"};
    const std::string& source = candidate.sources.at("kernel.cpp");
    const int tile = std::stoi(source.substr(source.find("= ") + 2));
    if (tile > 9) return Judgement{.outcome = Outcome::kRejected, .gate = "compile", .reason = "tile too large", .artifact = "error: tile"};
    Judgement judgement = {.outcome = Outcome::kScored, .gate = "bench", .cell = {tile % 3}};
    Random noise(seed, 0);
    for (int i = 0; i < 3; ++i) judgement.log_speed.push_back(0.1 * (tile - 4) + 0.001 * noise.uniform());
    judgement.log_memory = {0, 0, 0};
    return judgement;
  }
};

class LlmSearchTest : public testing::Test {
 protected:
  void SetUp() override {
    plan_.seed = 11;
    plan_.proposers = {"llm"};
    plan_.budget.evaluations = 20;
    plan_.start.sources["kernel.cpp"] = kProgram;
    settings_.models = {{.name = "small", .weight = 1}, {.name = "large", .weight = 2}};
    settings_.operators = {{LlmOperator::kDiff, 2}, {LlmOperator::kRewrite, 1}, {LlmOperator::kRepair, 1}};
    // Edits what it is shown, one time in four uselessly.
    chat_.answer = [](std::int64_t number, const ChatRequest& request) {
      const std::string& user = request.messages[1].content;
      const std::size_t at = user.find("constexpr int kTile");
      const std::string line = user.substr(at, user.find('\n', at) - at);
      const std::string better = "constexpr int kTile = " + std::to_string(5 + number % 8) + ";";
      ChatReply reply = {.text = "no idea", .finish_reason = "stop", .used = {100, 10}, .cost = 1000};
      if (number % 4 != 3) reply.text = "<<<<<<< SEARCH\n" + line + "\n=======\n" + better + "\n>>>>>>> REPLACE\n```\n" + better + "\n```\n";
      return reply;
    };
  }

  Result<SearchState> run(const fs::path& folder, ChatModel& chat, int evaluations) {
    const fs::path path = folder / "search.sqlite";
    auto archive = fs::exists(path) ? Archive::open(path) : Archive::create(path, search_plan_to_json(plan_));
    if (!archive.ok()) return archive.error();
    LlmProposer proposer(settings_, PromptTemplates(), chat);
    judge_.left = evaluations;
    const GeneSpace space;
    SearchObserver silent;
    return run_search(plan_, {.space = &space, .proposers = {&proposer}, .judge = &judge_, .archive = &*archive, .observer = &silent});
  }
  static std::string story(const fs::path& folder) {
    auto archive = Archive::open_read_only(folder / "search.sqlite");
    CHECK(archive.ok());
    auto events = archive->events();
    CHECK(events.ok());
    std::string text;
    for (const SearchEvent& event : *events) {
      text += std::to_string(event.number) + word(event.kind) + judgement_to_json(event.judgement).dump();
      if (event.individual) {
        const Individual& individual = *event.individual;
        text += candidate_to_json(individual.candidate).dump() + individual.origin + individual.rejected + individual.record.dump();
      }
      text += "\n";
    }
    return text;
  }

  SearchPlan plan_;
  LlmProposerSettings settings_;
  ScriptedChat chat_;
  TileJudge judge_;
};

TEST_F(LlmSearchTest, StoppedAnywhereItGoesOnToTheSameEnd) {
  const TestFolder whole, pieces;
  RecordedChat whole_chat(real_file_system(), whole / "exchanges", chat_);
  const auto state = run(whole.path(), whole_chat, 1000);
  ASSERT_TRUE(state.ok()) << state.error().message;
  const std::string expected = story(whole.path());
  const std::size_t asked = chat_.numbers.size();
  EXPECT_GT(asked, 5U);
  EXPECT_THAT(expected, testing::HasSubstr("no_edit: "));
  EXPECT_THAT(expected, testing::HasSubstr("llm repair"));
  EXPECT_THAT(expected, testing::HasSubstr("\"model\":\"small\""));

  chat_.numbers.clear();
  RecordedChat pieces_chat(real_file_system(), pieces / "exchanges", chat_);
  bool ended = false;
  for (int start = 0; start < 200 && !ended; ++start) {
    const auto piece = run(pieces.path(), pieces_chat, 1);
    ended = piece.ok();
    if (!ended) {
      ASSERT_EQ(piece.error().code, ErrorCode::kInterrupted) << piece.error().message;
    }
  }
  ASSERT_TRUE(ended);
  EXPECT_EQ(story(pieces.path()), expected);
  EXPECT_EQ(chat_.numbers.size(), asked) << "an answer on record is not asked for again";

  const TestFolder again;
  RecordedChat replay(real_file_system(), whole / "exchanges");
  ASSERT_TRUE(run(again.path(), replay, 1000).ok());
  EXPECT_EQ(story(again.path()), expected);
}

TEST_F(LlmSearchTest, TokensEndTheSearch) {
  plan_.budget.tokens = 500;  // an exchange takes 110
  const TestFolder folder;
  const auto state = run(folder.path(), chat_, 1000);
  ASSERT_TRUE(state.ok()) << state.error().message;
  EXPECT_EQ(state->runs[0].tokens, 550);
  EXPECT_EQ(chat_.numbers.size(), 5U);
  EXPECT_NEAR(state->runs[0].money, 5e-9, 1e-15);
}

}  // namespace
}  // namespace evolora
