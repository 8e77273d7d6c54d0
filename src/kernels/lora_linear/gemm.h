// The one product behind every linear of the engine: c = beta c + bias + sum of terms a x panel, where a panel is decoded block by block from how it
// is stored. The base weight, the LoRA factors, and for gradients the activations themselves are all terms, so forward, backward and the skinny
// products share one driver. Blocking and tiles: Goto & van de Geijn 2008 (doi 10.1145/1356052.1356053), with the decoder as the packing step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kernels/context.h"
#include "model/weight_view.h"

namespace evolora::gemm {

struct Int8Rows;  // int8_rows.h

// The right-hand factor (depth, columns) of a term, read from a stored matrix.
// columns_are_rows: column c of the panel is row c of the matrix (y = x W^T); otherwise row k of the panel is row k of the matrix (dx = dy W).
// dropout > 0 (dense fp32 only): element i of the matrix is dropped unless dropout_keeps(dropout_key, i, dropout), and scaled by 1 / (1 - dropout).
struct PanelSource {
  WeightView weight;
  bool columns_are_rows = true;
  float dropout = 0;
  std::uint64_t dropout_key = 0;
};

// A dense fp32 matrix (rows, columns) as a source.
PanelSource dense_source(const float* data, std::int64_t rows, std::int64_t columns, bool columns_are_rows);

// a (rows, depth) row-major with leading dimension lda.
struct Term {
  const float* a = nullptr;
  std::int64_t lda = 0;
  std::int64_t depth = 0;
  PanelSource source;
  const Int8Rows* quantized = nullptr;  // a once more, for a low-precision term in int8
};

// A rectangle of one product's result, computed by one worker.
struct Block {
  std::size_t product = 0;
  std::int64_t row0 = 0, row1 = 0;
  std::int64_t col0 = 0, col1 = 0;
};

// c (rows, cols), leading dimension ldc: overwritten (accumulate false) or added to. bias (cols) or null, only without accumulate.
// finish, if set, runs on each block when it is complete, on the worker that computed it; panel is that worker's scratch:
// finish_depth floats at least for each column of the block, rounded up to whole vectors.
struct Product {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<Term> terms = {};
  // Computed before the terms, in `arithmetic` (low_precision.h); without dropout. Empty: everything is fp32.
  std::vector<Term> low_terms = {};
  Arithmetic arithmetic = Arithmetic::kFp32;
  bool accumulate = false;
  const float* bias = nullptr;
  float* c = nullptr;
  std::int64_t ldc = 0;
  std::function<void(const Block& block, float* panel)> finish = {};
  std::int64_t finish_depth = 0;
};

// A stretch [k0, k1) of one term's depth.
struct Segment {
  std::size_t term = 0;
  std::int64_t k0 = 0, k1 = 0;
};
// The segments whose panels are decoded together; c is updated once per depth block. It depends on the terms only, so sums have the same order
// whatever the threads, the machine's cache or the blocks.
using DepthBlock = std::vector<Segment>;
std::vector<DepthBlock> split_depth(std::span<const Term> terms);
// Into blocks of about `depth` at most (up to 128 more).
std::vector<DepthBlock> split_depth(std::span<const Term> terms, std::int64_t depth);

// Cuts the products into blocks for threads workers so that all finish at about the same time. lanes: floats per vector.
std::vector<Block> plan_products(std::span<const Product> products, std::int64_t lanes, int threads);
// Scratch per worker, a multiple of 64. About half of L2 whatever the shapes, so a workspace planned for many rows does for few as well.
std::size_t panel_bytes(std::span<const Product> products, std::int64_t lanes);

// Runs independent products. workspace: products_workspace_bytes, 64-byte aligned. Bitwise the same result for every thread count.
void run_products(std::span<const Product> products, Threads& threads, std::byte* workspace);
std::size_t products_workspace_bytes(std::span<const Product> products, int threads);

// Floats per vector of the instruction set in use.
std::int64_t vector_lanes();
// The fp32 terms of one block of a product, added to its low-precision terms if there are any; panel has panel_bytes.
void run_block(const Product& product, const Block& block, float* panel);
// out[row][c] += mask(sum over j of a[row][j] b[c][j]) for the block, mask by element row * columns + c: the LoRA part of dx under dropout.
// a (rows, rank) with leading dimension lda, b (columns, rank). panel: rank * (block columns rounded up to lanes) floats.
struct MaskedOuter {
  const float* a;
  std::int64_t lda;
  const float* b;
  std::int64_t rank;
  std::int64_t columns;
  float dropout;
  std::uint64_t dropout_key;
};
void add_masked_outer(const MaskedOuter& args, const Block& block, float* out, float* panel);

}  // namespace evolora::gemm
