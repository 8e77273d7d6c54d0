// Blocks of products, compiled for every instruction set that Highway knows on this architecture and chosen at run time.
#include "kernels/lora_linear/gemm.h"

#include <algorithm>

#include "kernels/lora_linear/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/lora_linear/gemm.cpp"
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include "kernels/lora_linear/decode-inl.h"
#include "kernels/lora_linear/dropout-inl.h"
#include "kernels/lora_linear/micro_kernel-inl.h"

HWY_BEFORE_NAMESPACE();
namespace evolora::gemm::HWY_NAMESPACE {

// One tile-wide strip of a block: columns [col, col + valid) of c, decoded at `panel`.
struct Strip {
  std::int64_t col;
  std::int64_t valid;
  int vectors;
  const float* panel;
};

// What the sums of a depth block are added to.
struct Start {
  const float* zeros_or_bias;  // by column of the strip, the same for every row; null: c itself
};

// Rows [row0, row1) of one strip, cut into tiles of nearly equal height: 8, 8, 7, 7 runs at full speed, 8, 8, 8, 6 or a last 1 does not.
void compute_strip(const Product& product, const Strip& strip, std::span<const Rows> segments, std::int64_t block_row0, std::int64_t row0,
                   std::int64_t row1, Start start) {
  const std::int64_t rows = row1 - row0;
  const std::int64_t height = tile_rows(strip.vectors);
  const std::int64_t tiles = (rows + height - 1) / height;
  const std::int64_t width = strip.vectors * kLanes;
  HWY_ALIGN float spare[kMaxRows * kMaxVectors * kLanes];
  for (std::int64_t t = 0; t < tiles; ++t) {
    const std::int64_t first = row0 + rows * t / tiles;
    const auto count = static_cast<int>(row0 + rows * (t + 1) / tiles - first);
    float* c = product.c + first * product.ldc + strip.col;
    TileArgs tile{segments.data(), segments.size(), first - block_row0, strip.panel, start.zeros_or_bias, 0, c, product.ldc};
    if (start.zeros_or_bias == nullptr) {
      tile.before = c;
      tile.before_stride = product.ldc;
    }
    if (strip.valid == width) {
      tile_function(count, strip.vectors)(tile);
      continue;
    }
    // The last columns of c: the tile works beside c on its full width.
    for (int i = 0; i < count; ++i) {
      float* row = spare + i * width;
      std::fill_n(std::copy_n(tile.before + i * tile.before_stride, strip.valid, row), width - strip.valid, 0.0f);
    }
    tile.before = tile.c = spare;
    tile.before_stride = tile.ldc = width;
    tile_function(count, strip.vectors)(tile);
    for (int i = 0; i < count; ++i) std::copy_n(spare + i * width, strip.valid, c + i * product.ldc);
  }
}

std::vector<Strip> decode_strips(const Product& product, const Block& block, const DepthBlock& depth, float* panel) {
  std::vector<Strip> strips;
  for (std::int64_t col = block.col0; col < block.col1;) {
    const int vectors = panel_vectors((block.col1 - col + kLanes - 1) / kLanes);
    strips.push_back({col, std::min(vectors * kLanes, block.col1 - col), vectors, panel});
    for (const Segment& s : depth) {
      decode_panel(product.terms[s.term].source, col, vectors, s.k0, s.k1, panel);
      panel += (s.k1 - s.k0) * vectors * kLanes;
    }
    col += vectors * kLanes;
  }
  return strips;
}

void run_block(const Product& product, const Block& block, float* panel) {
  // Rows that pass together: their part of a (about 200 KB) stays in L2 while all strips of the block use it.
  constexpr std::int64_t kRowsTogether = 48;
  static constexpr float kZeros[kMaxVectors * kLanes] = {};
  const std::int64_t rows = block.row1 - block.row0;
  const std::int64_t groups = (rows + kRowsTogether - 1) / kRowsTogether;
  bool first = !product.accumulate && product.low_terms.empty();
  for (const DepthBlock& depth : split_depth(product.terms)) {
    const std::vector<Strip> strips = decode_strips(product, block, depth, panel);
    std::vector<Rows> segments;
    for (const Segment& s : depth) {
      const Term& term = product.terms[s.term];
      segments.push_back({term.a + block.row0 * term.lda + s.k0, term.lda, s.k1 - s.k0});
    }
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::int64_t row0 = block.row0 + rows * g / groups;
      const std::int64_t row1 = block.row0 + rows * (g + 1) / groups;
      for (const Strip& strip : strips) {
        // A bias that ends with the matrix is read only up to there (compute_strip copies a narrow strip's start).
        const float* bias = product.bias == nullptr ? kZeros : product.bias + strip.col;
        compute_strip(product, strip, segments, block.row0, row0, row1, {first ? bias : nullptr});
      }
    }
    first = false;
  }
}

void add_masked_outer(const MaskedOuter& args, const Block& block, float* out, float* panel) {
  const DF df;
  const PanelSource source = dense_source(args.b, args.columns, args.rank, true);
  const std::int64_t count = block.col1 - block.col0;
  const std::int64_t vectors = (count + kLanes - 1) / kLanes;
  const std::int64_t width = vectors * kLanes;
  for (std::int64_t v = 0; v < vectors; ++v) decode_panel(source, block.col0 + v * kLanes, 1, 0, args.rank, panel + v * args.rank * kLanes);
  float* sums = panel + args.rank * width;
  for (std::int64_t row = block.row0; row < block.row1; ++row) {
    const float* a = args.a + row * args.lda;
    for (std::int64_t v = 0; v < vectors; ++v) {
      VF sum = hn::Zero(df);
      const float* b = panel + v * args.rank * kLanes;
      for (std::int64_t j = 0; j < args.rank; ++j) sum = hn::MulAdd(hn::Set(df, a[j]), hn::Load(df, b + j * kLanes), sum);
      hn::Store(sum, df, sums + v * kLanes);
    }
    const std::int64_t index = row * args.columns + block.col0;
    dropout_row(sums, sums, static_cast<std::uint64_t>(index), count, args.dropout_key, args.dropout);
    for (std::int64_t c = 0; c < count; ++c) out[index + c] += sums[c];
  }
}

std::int64_t lanes() { return kLanes; }

}  // namespace evolora::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace evolora::gemm {

HWY_EXPORT(run_block);
HWY_EXPORT(add_masked_outer);
HWY_EXPORT(lanes);

std::int64_t vector_lanes() { return HWY_DYNAMIC_DISPATCH(lanes)(); }
void run_block(const Product& product, const Block& block, float* panel) { HWY_DYNAMIC_DISPATCH(run_block)(product, block, panel); }
void add_masked_outer(const MaskedOuter& args, const Block& block, float* out, float* panel) {
  HWY_DYNAMIC_DISPATCH(add_masked_outer)(args, block, out, panel);
}

}  // namespace evolora::gemm
#endif
