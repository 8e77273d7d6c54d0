// The starting packs of examples/packs/cpu, compiled and loaded, against the fp64 reference: every weight kind, odd shapes, one to three threads.
#include <gtest/gtest.h>

#include <cstring>

#include "base/test_folder.h"
#include "kernels/lora_linear/lora_linear_expected.h"
#include "kernels/pack/pack_compiler.h"

namespace evolora {
namespace {

using namespace testing_support;

struct OpenedPack {
  std::shared_ptr<const PackLibrary> library;
  KernelTable table;
};

// Compiled once per process, in a copy: the folder of the sources stays as it is.
const OpenedPack& starting_pack(const std::string& name) {
  static TestFolder folder;
  static std::map<std::string, OpenedPack> opened;
  const auto found = opened.find(name);
  if (found != opened.end()) return found->second;
  FileSystem& files = real_file_system();
  const auto pack = read_pack(files, fs::path(EVOLORA_SOURCE_DIR) / "examples/packs/cpu" / name);
  CHECK(pack.ok() && write_pack(files, folder / name, *pack).ok());
  const auto library = open_pack(files, *direct_pack_compiler(), folder / name);
  EXPECT_TRUE(library.ok()) << library.error().message;
  CHECK(library.ok());
  return opened[name] = {*library, with_pack(cpu_kernels(), *library)};
}

void run(const KernelTable& table, const Problem& problem, int threads, Outputs& outputs) {
  const std::vector<LoraProjection> bound = outputs.bind(problem);
  const LoraLinearForward forward{problem.x.data(), problem.shape.n, bound};
  TestContext forward_context(threads, table.lora_linear_forward_workspace_bytes(forward, threads));
  table.lora_linear_forward(forward, forward_context.get());
  ASSERT_TRUE(forward_context.intact());
  const LoraLinearBackward backward{problem.x.data(), problem.shape.n, bound, outputs.dx.data()};
  TestContext backward_context(threads, table.lora_linear_backward_workspace_bytes(backward, threads));
  table.lora_linear_backward(backward, backward_context.get());
  ASSERT_TRUE(backward_context.intact());
}

bool same(const Buffer& a, const Buffer& b) { return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0; }

void check(const KernelTable& table, const ProblemShape& shape, std::uint32_t seed = 1) {
  SCOPED_TRACE(shape.name());
  const Problem problem(shape, seed);
  const Expected expected(problem);
  Outputs one(problem);
  run(table, problem, 1, one);
  expected.expect(one);
  Outputs more(problem);
  run(table, problem, 2 + static_cast<int>(seed % 2), more);
  EXPECT_TRUE(same(one.dx, more.dx)) << "dx depends on the number of threads";
  for (std::size_t i = 0; i < one.projections.size(); ++i) {
    EXPECT_TRUE(same(one.projections[i].y, more.projections[i].y) && same(one.projections[i].xa, more.projections[i].xa) &&
                same(one.projections[i].da, more.projections[i].da) && same(one.projections[i].db, more.projections[i].db))
        << "projection " << i << " depends on the number of threads";
  }
}

class StartingPack : public testing::TestWithParam<const char*> {
 protected:
  const KernelTable& table() const { return starting_pack(GetParam()).table; }
};

TEST_P(StartingPack, MatchesReferenceForEveryKind) {
  const std::vector<std::int64_t> rows = {1, 2, 5, 7, 13, 33};
  const std::vector<std::int64_t> widths = {1, 5, 47, 48, 49, 130, 64, 33, 113};
  const std::vector<std::int64_t> ranks = {0, 1, 3, 8, 16, 40, 24};
  std::size_t turn = 0;
  for (const WeightKind& kind : all_weight_kinds()) {
    for (int repeat = 0; repeat < 2; ++repeat, ++turn) {
      ProblemShape shape{kind, rows[turn % rows.size()], 0, {}};
      shape.in = kind.bits == 0 ? widths[(turn * 5) % widths.size()] : kind.group_size * static_cast<std::int64_t>(1 + turn % 4);
      for (std::size_t i = 0; i < 1 + turn % 3; ++i) {
        shape.projections.push_back({widths[(turn * 2 + i * 3 + 1) % widths.size()], ranks[(turn + i * 2) % ranks.size()],
                                     (turn + i) % 3 == 0 ? 0.3f : 0.0f, (turn + i) % 2 == 0});
      }
      check(table(), shape, static_cast<std::uint32_t>(turn + 1));
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(StartingPack, MatchesReferenceOverSeveralBlocks) {
  check(table(), {{4, 64, DType::kF16}, 260, 576, {{65, 8, 0, true}, {64, 16, 0.25f}}});
  check(table(), {{8, 32, DType::kBF16}, 19, 544, {{301, 270, 0.1f}}});
  check(table(), {{0, 0, DType::kF16}, 37, 1151, {{103, 8}, {5, 8, 0.5f}}});
  check(table(), {{3, 128, DType::kF32}, 600, 128, {{49, 4}}});
}

TEST_P(StartingPack, BackwardWithoutInputGradientAndWithoutInput) {
  const Problem problem({{4, 32, DType::kF32}, 20, 96, {{50, 8}, {20, 0}}});
  Outputs with(problem), without(problem);
  run(table(), problem, 2, with);
  const std::vector<LoraProjection> bound = without.bind(problem);
  TestContext forward(2, table().lora_linear_forward_workspace_bytes({problem.x.data(), 20, bound}, 2));
  table().lora_linear_forward({problem.x.data(), 20, bound}, forward.get());
  const LoraLinearBackward no_dx{problem.x.data(), 20, bound, nullptr};
  TestContext backward(2, table().lora_linear_backward_workspace_bytes(no_dx, 2));
  table().lora_linear_backward(no_dx, backward.get());
  EXPECT_TRUE(same(with.projections[0].da, without.projections[0].da) && same(with.projections[0].db, without.projections[0].db));
  EXPECT_TRUE(std::isnan(without.dx[0]));

  const Problem plain({{4, 32, DType::kBF16}, 20, 96, {{50, 0}, {20, 0}}});
  Outputs with_x(plain), without_x(plain);
  run(table(), plain, 2, with_x);
  const std::vector<LoraProjection> plain_bound = without_x.bind(plain);
  const LoraLinearBackward no_x{nullptr, 20, plain_bound, without_x.dx.data()};
  TestContext context(2, table().lora_linear_backward_workspace_bytes(no_x, 2));
  table().lora_linear_backward(no_x, context.get());
  EXPECT_TRUE(same(with_x.dx, without_x.dx));
}

TEST_P(StartingPack, WorkspaceNeedsOnlyShapesAndGrowsWithRows) {
  for (const float dropout : {0.0f, 0.1f}) {
    const LoraProjection p{.weight = {.out = 4864, .in = 896, .bits = 4, .group_size = 64, .dtype = DType::kF16}, .rank = 8, .dropout = dropout};
    const std::vector<LoraProjection> group = {p, p};
    std::size_t forward = 0, backward = 0;
    for (std::int64_t n = 0; n < 2500; n += n < 20 ? 1 : 37) {
      const std::size_t forward_now = table().lora_linear_forward_workspace_bytes({nullptr, n, group}, 2);
      const std::size_t backward_now = table().lora_linear_backward_workspace_bytes({nullptr, n, group, nullptr}, 2);
      ASSERT_GE(forward_now, forward) << n;
      ASSERT_GE(backward_now, backward) << n;
      forward = forward_now;
      backward = backward_now;
    }
  }
}

TEST_P(StartingPack, CountsWhatItComputed) {
  const Problem problem({{4, 32, DType::kF16}, 3, 64, {{16, 4}, {8, 4}}});
  Outputs outputs(problem);
  const std::vector<LoraProjection> bound = outputs.bind(problem);
  AppliedArithmetic applied;
  const LoraLinearForward forward{problem.x.data(), 3, bound};
  TestContext forward_context(1, table().lora_linear_forward_workspace_bytes(forward, 1));
  forward_context.get().applied = &applied;
  table().lora_linear_forward(forward, forward_context.get());
  const LoraLinearBackward backward{problem.x.data(), 3, bound, outputs.dx.data()};
  TestContext backward_context(1, table().lora_linear_backward_workspace_bytes(backward, 1));
  backward_context.get().applied = &applied;
  table().lora_linear_backward(backward, backward_context.get());
  AppliedArithmetic expected;
  for (int i = 0; i < 2; ++i) {
    expected.add_forward(Arithmetic::kFp32);
    expected.add_backward(Arithmetic::kFp32);
  }
  EXPECT_EQ(applied, expected);
}

INSTANTIATE_TEST_SUITE_P(Packs, StartingPack,
                         testing::Values("lora_linear_forward", "lora_linear_backward", "lora_linear_group", "lora_linear_small"));

}  // namespace
}  // namespace evolora
