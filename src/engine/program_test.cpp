// Placement of buffers in the arena, and batch splitting.
#include "engine/program.h"

#include <gtest/gtest.h>

#include "base/philox.h"
#include "engine/batch_split.h"

namespace evolora {
namespace {

KernelCall nothing() {
  return [](const RunContext&, KernelContext&) {};
}

bool alive_together(const Buffer& a, const Buffer& b) { return a.first_call <= b.last_call && b.first_call <= a.last_call; }
bool share_memory(const Buffer& a, const Buffer& b) { return a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes; }

TEST(Program, BuffersAliveTogetherNeverShareMemory) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    ProgramBuilder builder;
    std::vector<BufferId> ids;
    for (std::uint64_t i = 0; i < 60; ++i) ids.push_back(builder.buffer("b", philox4x32(i, seed)[0] % 5000));
    for (std::uint64_t i = 0; i < 120; ++i) {
      const auto r = philox4x32(i, seed + 1000);
      // Every buffer is named at least once (i < 60), then random ones stretch their lives.
      builder.call(Slot::kRope, Pass::kForward, 0, {ids[i % 60], ids[r[0] % 60], kNoBuffer}, r[1] % 3000, nothing());
    }
    const Program program = builder.finish();
    std::size_t sum = 0;
    for (std::size_t a = 0; a < program.buffers().size(); ++a) {
      const Buffer& left = program.buffers()[a];
      EXPECT_EQ(left.offset % 64, 0U);
      EXPECT_LE(left.offset + left.bytes, program.arena_bytes());
      sum += left.bytes;
      for (std::size_t b = 0; b < a; ++b) {
        const Buffer& right = program.buffers()[b];
        EXPECT_FALSE(alive_together(left, right) && share_memory(left, right)) << "seed " << seed << " buffers " << a << " and " << b;
      }
    }
    EXPECT_LT(program.arena_bytes(), sum) << "nothing was shared";
  }
}

TEST(Program, ChainOfTemporariesNeedsTwoPlaces) {
  ProgramBuilder builder;
  BufferId previous = builder.buffer("b", 1024);
  for (int i = 0; i < 20; ++i) {
    const BufferId next = builder.buffer("b", 1024);
    builder.call(Slot::kSwiglu, Pass::kForward, i, {previous, next}, 0, nothing());
    previous = next;
  }
  EXPECT_EQ(builder.finish().arena_bytes(), 2048U);
}

TEST(Program, RunBindsWorkspaceCountsCallsAndPoisonsNewBuffers) {
  ProgramBuilder builder;
  const BufferId x = builder.floats("x", 8);
  bool saw_nan = false;
  bool kept = false;
  builder.call(Slot::kEmbedding, Pass::kForward, -1, {x}, 100, [&](const RunContext& run, KernelContext& context) {
    saw_nan = run.f32(x)[0] != run.f32(x)[0] && run.f32(x)[7] != run.f32(x)[7];
    EXPECT_GE(context.workspace_bytes, 100U);
    EXPECT_NE(reinterpret_cast<float*>(context.workspace), run.f32(x));
    run.f32(x)[0] = 5;
  });
  builder.call(Slot::kRope, Pass::kBackward, 0, {x}, 0, [&](const RunContext& run, KernelContext&) { kept = run.f32(x)[0] == 5; });
  const Program program = builder.finish();
  Arena arena;
  arena.reserve(program.arena_bytes());
  Threads threads(1);
  CallCounts counts;
  const Bindings bindings;
  EXPECT_EQ(program.run(bindings, arena, threads, counts, {.poison = true}), program.arena_bytes());
  EXPECT_TRUE(saw_nan);
  EXPECT_TRUE(kept);
  EXPECT_EQ(counts.of(Slot::kEmbedding, Pass::kForward), 1U);
  EXPECT_EQ(counts.of(Slot::kRope, Pass::kBackward), 1U);
  EXPECT_EQ(counts.of(Slot::kRope, Pass::kForward), 0U);
}

TEST(BatchSplit, WholeSegmentsRebasedAndNothingSupervisedLost) {
  Batch batch;
  batch.tokens = {10, 11, 12, 20, 21, 30, 31, 32, 33, 40};
  batch.positions = {0, 1, 2, 0, 1, 0, 1, 2, 3, 0};
  batch.segment_starts = {0, 3, 5, 9, 10};
  batch.loss_rows = {1, 2, 5, 8, 9};
  batch.targets = {1, 2, 5, 8, 9};
  const std::vector<Batch> pieces = split_batch(batch, 5);
  ASSERT_EQ(pieces.size(), 2U);
  EXPECT_EQ(pieces[0].tokens, (std::vector<std::int32_t>{10, 11, 12, 20, 21}));
  EXPECT_EQ(pieces[0].segment_starts, (std::vector<std::int32_t>{0, 3, 5}));
  EXPECT_EQ(pieces[0].targets, (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(pieces[1].tokens, (std::vector<std::int32_t>{30, 31, 32, 33, 40}));
  EXPECT_EQ(pieces[1].loss_rows, (std::vector<std::int32_t>{0, 3, 4}));
  EXPECT_EQ(pieces[1].targets, (std::vector<std::int32_t>{5, 8, 9}));
  EXPECT_EQ(split_batch(batch, 0).size(), 1U);
  // A piece without supervised rows ({20, 21}) has nothing to add; a segment over the limit stands alone.
  const std::vector<Batch> small = split_batch(batch, 2);
  ASSERT_EQ(small.size(), 3U);
  EXPECT_EQ(small[1].tokens.size(), 4U);
}

}  // namespace
}  // namespace evolora
