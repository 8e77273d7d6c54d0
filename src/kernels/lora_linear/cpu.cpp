// lora_linear on the CPU as two rounds of products (gemm.h). Forward: x A of all adapters, then every y with its LoRA term on the hot tile of the
// base product. In int8 x is quantized once, for all of them. Backward: dy B^T of all adapters, then dx, dA and dB together. Few rows (decoding token
// by token) go by dot products with the stored weight (few_rows.h).
#include <algorithm>

#include "base/check.h"
#include "kernels/lora_linear/adapters.h"
#include "kernels/lora_linear/contract.h"
#include "kernels/lora_linear/few_rows.h"
#include "kernels/lora_linear/gemm.h"
#include "kernels/lora_linear/int8_rows.h"

namespace evolora::gemm {
namespace {

struct Forward {
  explicit Forward(const LoraLinearForward& forward, std::byte* workspace);
  void pack_factors();
  void quantize_x(Threads& threads) const;
  Product plain_xa();
  Product dropped_xa(const AdapterSlot& slot, std::int64_t index);
  const Int8Rows* quantized_x(std::int64_t group);
  Product output(const LoraProjection& p);

  const LoraLinearForward& args;
  AdapterLayout layout;
  std::int64_t k;
  Scratch scratch;
  float* scaled_xa;                 // (n, total_rank) scale * xa, the left factor of the LoRA terms
  float* plain_a;                   // (K, plain_rank) the A of all adapters without dropout side by side; unused if there is only one
  std::vector<float*> dropped_at;   // (r, K) A^T of each adapter with dropout
  std::vector<float*> dropped_xat;  // (r, n)
  std::vector<Int8Rows> quantized;  // x in int8, once for each group size among the weights
  std::vector<Product> first, second;
};

Forward::Forward(const LoraLinearForward& forward, std::byte* workspace)
    : args(forward), layout(adapter_layout(forward.projections)), k(forward.projections.front().weight.in), scratch(workspace) {
  scaled_xa = scratch.floats(args.n * layout.total_rank);
  plain_a = scratch.floats(layout.plain.size() > 1 ? k * layout.plain_rank : 0);
  for (const AdapterSlot& slot : layout.dropped) {
    dropped_at.push_back(scratch.floats(k * slot.projection->rank));
    dropped_xat.push_back(scratch.floats(args.n * slot.projection->rank));
  }
  quantized.reserve(args.projections.size());
  if (!layout.plain.empty()) first.push_back(plain_xa());
  for (std::size_t i = 0; i < layout.dropped.size(); ++i) first.push_back(dropped_xa(layout.dropped[i], static_cast<std::int64_t>(i)));
  for (const LoraProjection& p : args.projections) second.push_back(output(p));
}

void Forward::pack_factors() {
  if (layout.plain.size() > 1) {
    for (const AdapterSlot& slot : layout.plain) {
      const std::int64_t r = slot.projection->rank;
      for (std::int64_t row = 0; row < k; ++row) std::copy_n(slot.projection->a + row * r, r, plain_a + row * layout.plain_rank + slot.first);
    }
  }
  for (std::size_t i = 0; i < layout.dropped.size(); ++i) {
    const LoraProjection& p = *layout.dropped[i].projection;
    for (std::int64_t row = 0; row < k; ++row) {
      for (std::int64_t j = 0; j < p.rank; ++j) dropped_at[i][j * k + row] = p.a[row * p.rank + j];
    }
  }
}

Product Forward::plain_xa() {
  const float* a = layout.plain.size() > 1 ? plain_a : layout.plain.front().projection->a;
  Product product{.rows = args.n, .cols = layout.plain_rank, .c = scaled_xa, .ldc = layout.total_rank};
  product.terms.push_back({args.x, k, k, dense_source(a, k, layout.plain_rank, false)});
  product.finish = [this](const Block& block, float*) {
    for (std::int64_t row = block.row0; row < block.row1; ++row) {
      float* scaled = scaled_xa + row * layout.total_rank;
      for_each_rank(layout.plain, block.col0, block.col1, [&](const AdapterSlot& slot, std::int64_t j, std::int64_t i) {
        slot.projection->xa[row * slot.projection->rank + j] = scaled[i];
        scaled[i] *= slot.projection->scale;
      });
    }
  };
  return product;
}

// Transposed, (r, n) = A^T drop(x)^T: then the masked x is the panel, and each element of it is drawn once.
Product Forward::dropped_xa(const AdapterSlot& slot, std::int64_t index) {
  const LoraProjection& p = *slot.projection;
  float* xat = dropped_xat[static_cast<std::size_t>(index)];
  Product product{.rows = p.rank, .cols = args.n, .c = xat, .ldc = args.n};
  Term term{dropped_at[static_cast<std::size_t>(index)], k, k, dense_source(args.x, args.n, k, true)};
  term.source.dropout = p.dropout;
  term.source.dropout_key = p.dropout_key;
  product.terms.push_back(term);
  product.finish = [this, slot, xat](const Block& block, float*) {
    const LoraProjection& projection = *slot.projection;
    for (std::int64_t row = block.col0; row < block.col1; ++row) {
      for (std::int64_t j = block.row0; j < block.row1; ++j) {
        projection.xa[row * projection.rank + j] = xat[j * args.n + row];
        scaled_xa[row * layout.total_rank + slot.first + j] = projection.scale * xat[j * args.n + row];
      }
    }
  };
  return product;
}

const Int8Rows* Forward::quantized_x(std::int64_t group) {
  for (const Int8Rows& rows : quantized) {
    if (rows.group == group) return &rows;
  }
  Int8Rows rows{.rows = args.n, .depth = k, .group = group};
  rows.data = scratch.take<std::int8_t>(args.n * k);
  rows.second = scratch.take<std::int8_t>(args.n * k);
  rows.coarse = scratch.take<std::uint8_t>(rows.groups() * rows.row_stride());
  rows.scales = scratch.floats(rows.groups() * rows.row_stride());
  rows.sums = scratch.floats(rows.groups() * rows.row_stride());
  quantized.push_back(rows);  // never moves: as many are reserved as there are projections
  return &quantized.back();
}

void Forward::quantize_x(Threads& threads) const {
  for (const Int8Rows& rows : quantized) quantize_rows(args.x, rows, threads);
}

Product Forward::output(const LoraProjection& p) {
  const Arithmetic arithmetic = arithmetic_for(p.weight, args.arithmetic);
  Product product{.rows = args.n, .cols = p.weight.out, .arithmetic = arithmetic, .bias = p.bias, .c = p.y, .ldc = p.weight.out};
  Term base{args.x, k, k, {.weight = p.weight}};
  if (arithmetic == Arithmetic::kInt8) base.quantized = quantized_x(p.weight.group_size);
  (arithmetic == Arithmetic::kFp32 ? product.terms : product.low_terms).push_back(base);
  for (const auto* slots : {&layout.plain, &layout.dropped}) {
    for (const AdapterSlot& slot : *slots) {
      if (slot.projection != &p) continue;
      product.terms.push_back({offset(scaled_xa, slot.first), layout.total_rank, p.rank, dense_source(p.b, p.rank, p.weight.out, false)});
    }
  }
  return product;
}

struct Backward {
  explicit Backward(const LoraLinearBackward& backward, std::byte* workspace);
  Product dxa(const AdapterSlot& slot);
  Product dx();
  Product da(std::span<const AdapterSlot> slots, std::int64_t rank);
  Product db(const AdapterSlot& slot);

  const LoraLinearBackward& args;
  AdapterLayout layout;
  std::vector<AdapterSlot> slots;  // all of them
  std::int64_t k;
  Scratch scratch;
  float* dxa_all;   // (n, total_rank) scale * dy B^T
  float* dxa_rows;  // (total_rank, n) its transpose
  float* xa_rows;   // (total_rank, n) transpose of scale * xa
  float* da_rows;   // (total_rank, K) transposed gradients of A
  std::vector<Product> first, second;
};

Backward::Backward(const LoraLinearBackward& backward, std::byte* workspace)
    : args(backward), layout(adapter_layout(backward.projections)), k(backward.projections.front().weight.in), scratch(workspace) {
  slots = layout.plain;
  slots.insert(slots.end(), layout.dropped.begin(), layout.dropped.end());
  dxa_all = scratch.floats(args.n * layout.total_rank);
  dxa_rows = scratch.floats(args.n * layout.total_rank);
  xa_rows = scratch.floats(args.n * layout.total_rank);
  da_rows = scratch.floats(k * layout.total_rank);
  for (const AdapterSlot& slot : slots) first.push_back(dxa(slot));
  if (args.dx != nullptr) second.push_back(dx());
  if (!layout.plain.empty()) second.push_back(da(layout.plain, layout.plain_rank));
  for (std::size_t i = 0; i < layout.dropped.size(); ++i) second.push_back(da({&layout.dropped[i], 1}, layout.dropped[i].projection->rank));
  for (const AdapterSlot& slot : slots) second.push_back(db(slot));
}

Product Backward::dxa(const AdapterSlot& slot) {
  const LoraProjection& p = *slot.projection;
  Product product{.rows = args.n, .cols = p.rank, .c = offset(dxa_all, slot.first), .ldc = layout.total_rank};
  product.terms.push_back({p.dy, p.weight.out, p.weight.out, dense_source(p.b, p.rank, p.weight.out, true)});
  product.finish = [this, slot](const Block& block, float*) {
    const LoraProjection& projection = *slot.projection;
    for (std::int64_t row = block.row0; row < block.row1; ++row) {
      for (std::int64_t j = block.col0; j < block.col1; ++j) {
        const std::int64_t i = slot.first + j;
        float& value = dxa_all[row * layout.total_rank + i];
        value *= projection.scale;
        dxa_rows[i * args.n + row] = value;
        xa_rows[i * args.n + row] = projection.scale * projection.xa[row * projection.rank + j];
      }
    }
  };
  return product;
}

Product Backward::dx() {
  Product product{.rows = args.n, .cols = k, .arithmetic = args.arithmetic, .c = args.dx, .ldc = k};
  for (const LoraProjection& p : args.projections) {
    (args.arithmetic == Arithmetic::kFp32 ? product.terms : product.low_terms)
        .push_back({p.dy, p.weight.out, p.weight.out, {.weight = p.weight, .columns_are_rows = false}});
  }
  for (const AdapterSlot& slot : layout.plain) {
    const LoraProjection& p = *slot.projection;
    product.terms.push_back({offset(dxa_all, slot.first), layout.total_rank, p.rank, dense_source(p.a, k, p.rank, true)});
  }
  if (layout.dropped.empty()) return product;
  for (const AdapterSlot& slot : layout.dropped) product.finish_depth = std::max(product.finish_depth, slot.projection->rank + 1);
  product.finish = [this](const Block& block, float* panel) {
    for (const AdapterSlot& slot : layout.dropped) {
      const LoraProjection& p = *slot.projection;
      add_masked_outer({dxa_all + slot.first, layout.total_rank, p.a, p.rank, k, p.dropout, p.dropout_key}, block, args.dx, panel);
    }
  };
  return product;
}

// (ranks, K) = (scale dy B^T)^T drop(x); all slots have the same mask (none, or there is one slot).
Product Backward::da(std::span<const AdapterSlot> group, std::int64_t rank) {
  const std::int64_t top = group.front().first;
  Product product{.rows = rank, .cols = k, .c = offset(da_rows, top * k), .ldc = k};
  Term term{offset(dxa_rows, top * args.n), args.n, args.n, dense_source(args.x, args.n, k, false)};
  term.source.dropout = group.front().projection->dropout;
  term.source.dropout_key = group.front().projection->dropout_key;
  product.terms.push_back(term);
  product.finish = [this, group, top](const Block& block, float*) {
    for_each_rank(group, top + block.row0, top + block.row1, [&](const AdapterSlot& slot, std::int64_t j, std::int64_t i) {
      const LoraProjection& p = *slot.projection;
      for (std::int64_t c = block.col0; c < block.col1; ++c) p.da[c * p.rank + j] += da_rows[i * k + c];
    });
  };
  return product;
}

Product Backward::db(const AdapterSlot& slot) {
  const LoraProjection& p = *slot.projection;
  Product product{.rows = p.rank, .cols = p.weight.out, .accumulate = true, .c = p.db, .ldc = p.weight.out};
  product.terms.push_back({offset(xa_rows, slot.first * args.n), args.n, args.n, dense_source(p.dy, args.n, p.weight.out, false)});
  return product;
}

template <typename Pass>
std::size_t pass_bytes(const Pass& pass, int threads) {
  return pass.scratch.bytes() + std::max(products_workspace_bytes(pass.first, threads), products_workspace_bytes(pass.second, threads));
}

void check_group(std::span<const LoraProjection> projections) {
  CHECK(!projections.empty());
  for (const LoraProjection& p : projections) {
    CHECK(p.weight.in == projections.front().weight.in);
    CHECK(p.rank >= 0 && p.dropout >= 0 && p.dropout < 1);
  }
}

}  // namespace
}  // namespace evolora::gemm

namespace evolora::cpu {
namespace {

void count_forward(const LoraLinearForward& args, const KernelContext& context) {
  if (context.applied == nullptr) return;
  for (const LoraProjection& p : args.projections) context.applied->add_forward(arithmetic_for(p.weight, args.arithmetic));
}

void count_backward(const LoraLinearBackward& args, const KernelContext& context) {
  if (context.applied == nullptr || args.dx == nullptr) return;
  for (std::size_t i = 0; i < args.projections.size(); ++i) context.applied->add_backward(args.arithmetic);
}

}  // namespace

void lora_linear_forward(const LoraLinearForward& args, KernelContext& context) {
  gemm::check_group(args.projections);
  if (args.n == 0) return;
  CHECK(context.workspace_bytes >= lora_linear_forward_workspace_bytes(args, context.threads.count()));
  count_forward(args, context);
  if (args.arithmetic == Arithmetic::kFp32 && args.n <= gemm::kFewRows) return gemm::few_rows_forward(args, context);
  gemm::Forward pass(args, context.workspace);
  pass.pack_factors();
  pass.quantize_x(context.threads);
  gemm::run_products(pass.first, context.threads, pass.scratch.here());
  gemm::run_products(pass.second, context.threads, pass.scratch.here());
}

std::size_t lora_linear_forward_workspace_bytes(const LoraLinearForward& args, int threads) {
  gemm::check_group(args.projections);
  if (args.n == 0) return 0;
  if (args.arithmetic != Arithmetic::kFp32) return gemm::pass_bytes(gemm::Forward(args, nullptr), threads);
  LoraLinearForward few = args;
  few.n = std::min(args.n, gemm::kFewRows);
  const std::size_t few_bytes = gemm::few_rows_forward_workspace_bytes(few);
  return args.n <= gemm::kFewRows ? few_bytes : std::max(few_bytes, gemm::pass_bytes(gemm::Forward(args, nullptr), threads));
}

void lora_linear_backward(const LoraLinearBackward& args, KernelContext& context) {
  gemm::check_group(args.projections);
  if (args.n == 0) return;
  CHECK(context.workspace_bytes >= lora_linear_backward_workspace_bytes(args, context.threads.count()));
  CHECK(args.arithmetic != Arithmetic::kInt8);
  count_backward(args, context);
  const gemm::Backward pass(args, context.workspace);
  gemm::run_products(pass.first, context.threads, pass.scratch.here());
  gemm::run_products(pass.second, context.threads, pass.scratch.here());
}

std::size_t lora_linear_backward_workspace_bytes(const LoraLinearBackward& args, int threads) {
  gemm::check_group(args.projections);
  if (args.n == 0) return 0;
  return gemm::pass_bytes(gemm::Backward(args, nullptr), threads);
}

}  // namespace evolora::cpu
