// The kernel tables: complete, and asking for workspace works while planning, when data pointers are still null.
#include "kernels/kernel_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>

namespace evolora {
namespace {

TEST(KernelTable, NoFunctionIsNull) {
  for (const KernelTable* table : {&reference_kernels(), &cpu_kernels()}) {
    const KernelTable& t = *table;
    // Whoever adds a field adds it here: a structured binding names all of them or does not compile.
    const auto& [name, embedding, norm, norm_back, linear, linear_back, linear_bytes, linear_back_bytes, rope, rope_bytes, attention, attention_back,
                 attention_bytes, attention_back_bytes, swiglu, swiglu_back, narrow, widen, head, logits, head_bytes, logits_bytes, adam] = t;
    const bool present[] = {name != nullptr,
                            embedding != nullptr,
                            norm != nullptr,
                            norm_back != nullptr,
                            linear != nullptr,
                            linear_back != nullptr,
                            linear_bytes != nullptr,
                            linear_back_bytes != nullptr,
                            rope != nullptr,
                            rope_bytes != nullptr,
                            attention != nullptr,
                            attention_back != nullptr,
                            attention_bytes != nullptr,
                            attention_back_bytes != nullptr,
                            swiglu != nullptr,
                            swiglu_back != nullptr,
                            narrow != nullptr,
                            widen != nullptr,
                            head != nullptr,
                            logits != nullptr,
                            head_bytes != nullptr,
                            logits_bytes != nullptr,
                            adam != nullptr};
    EXPECT_EQ(std::count(std::begin(present), std::end(present), false), 0) << t.name;
  }
  EXPECT_STREQ(reference_kernels().name, "reference");
  EXPECT_STREQ(cpu_kernels().name, "cpu");
}

TEST(KernelTable, WorkspaceFromShapesAlone) {
  const AttentionSegment segments[] = {{0, 300, 0, 300}, {300, 1, 300, 1}};
  const WeightView head{.out = 1000, .in = 64, .bits = 4, .group_size = 32, .dtype = DType::kF16};
  LoraProjection projection;
  projection.weight = head;
  projection.rank = 8;
  const HeadLoss loss{.hidden = nullptr,
                      .n = 301,
                      .d = 64,
                      .norm_weight = nullptr,
                      .eps = 1e-5f,
                      .head = head,
                      .rows = nullptr,
                      .targets = nullptr,
                      .m = 100,
                      .loss_scale = 1.0f,
                      .chunk_rows = 32,
                      .d_hidden = nullptr,
                      .row_losses = nullptr,
                      .loss_sum = nullptr};
  const AttentionForward forward{.q = nullptr,
                                 .k = nullptr,
                                 .v = nullptr,
                                 .segments = segments,
                                 .heads = 4,
                                 .kv_heads = 2,
                                 .head_dim = 16,
                                 .window = 0,
                                 .scale = 0.25f,
                                 .out = nullptr,
                                 .lse = nullptr};
  const AttentionBackward backward{.q = nullptr,
                                   .k = nullptr,
                                   .v = nullptr,
                                   .out = nullptr,
                                   .lse = nullptr,
                                   .dout = nullptr,
                                   .segments = segments,
                                   .n = 301,
                                   .heads = 4,
                                   .kv_heads = 2,
                                   .head_dim = 16,
                                   .window = 0,
                                   .scale = 0.25f,
                                   .dq = nullptr,
                                   .dk = nullptr,
                                   .dv = nullptr};
  const Rope rope{.q = nullptr,
                  .k = nullptr,
                  .n = 301,
                  .q_heads = 4,
                  .k_heads = 2,
                  .head_dim = 16,
                  .positions = nullptr,
                  .inverse_frequencies = nullptr,
                  .traditional = false,
                  .direction = 1};
  for (const KernelTable* table : {&reference_kernels(), &cpu_kernels()}) {
    for (const int threads : {1, 2, 16}) {
      const std::size_t bytes[] = {
          table->lora_linear_forward_workspace_bytes({nullptr, 301, {&projection, 1}}, threads),
          table->lora_linear_backward_workspace_bytes({nullptr, 301, {&projection, 1}, nullptr}, threads),
          table->rope_workspace_bytes(rope, threads),
          table->attention_forward_workspace_bytes(forward, threads),
          table->attention_backward_workspace_bytes(backward, threads),
          table->head_loss_workspace_bytes(loss, threads),
          table->head_logits_workspace_bytes(
              {.hidden = nullptr, .d = 64, .norm_weight = nullptr, .eps = 1e-5f, .head = head, .rows = nullptr, .m = 3, .logits = nullptr}, threads)};
      for (const std::size_t size : bytes) EXPECT_LT(size, std::size_t{64} << 20);
    }
  }
  // Chunks never hold more rows than there are.
  HeadLoss few = loss;
  few.m = 2;
  few.chunk_rows = 1 << 20;
  EXPECT_LT(cpu_kernels().head_loss_workspace_bytes(few, 2), cpu_kernels().head_loss_workspace_bytes(loss, 2));
}

}  // namespace
}  // namespace evolora
