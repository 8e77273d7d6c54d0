// One block of a bf16 product on matrix tiles. The rows of a are rounded once for each depth block and stay in L2; the columns pass by, 32 at a time:
// decoded, rounded, multiplied with all rows, gone.
#include "kernels/lora_linear/matrix_tiles.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#if defined(__linux__) && defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "kernels/lora_linear/low_precision.h"
#include "kernels/lora_linear/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/lora_linear/matrix_tiles.cpp"
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include "kernels/lora_linear/low_pack-inl.h"
#include "kernels/lora_linear/tile_steps-inl.h"

#ifndef EVOLORA_TILE_DEPTH
#define EVOLORA_TILE_DEPTH
namespace evolora::gemm {
// Rows and columns of a block, and c, share an L2 of 2 MB; deeper blocks load and store c less often.
inline constexpr std::int64_t kTileDepth = 1100;
inline constexpr std::int64_t kMaxTileDepth = 1280;  // split_depth rounds up, and every segment ends with a whole pair
}  // namespace evolora::gemm
#endif

HWY_BEFORE_NAMESPACE();
namespace evolora::gemm::HWY_NAMESPACE {

#ifdef EVOLORA_MATRIX_TILES

// The block's rows of one depth block: tiles of 16 rows, each (steps, 16, 32) bf16, an even number of tiles.
struct PackedRows {
  std::uint16_t* data;
  std::int64_t steps;
  std::uint16_t* tile(std::int64_t index) const { return data + index * steps * kTileValues; }
};

void pack_rows(const Product& product, const DepthBlock& depth, const Block& block, const PackedRows& packed) {
  HWY_ALIGN std::uint16_t values[kMaxTileDepth];
  const std::int64_t rows = block.row1 - block.row0;
  for (std::int64_t r = 0; r % (2 * kTileRows) != 0 || r < rows; ++r) {
    std::uint16_t* to = values;
    if (r < rows) {
      for (const Segment& s : depth) {
        const Term& term = product.low_terms[s.term];
        pack_bf16_row(term.a + (block.row0 + r) * term.lda + s.k0, s.k1 - s.k0, to);
        to += (s.k1 - s.k0 + 1) / 2 * 2;
      }
    }
    std::fill(to, values + packed.steps * kStepDepth, std::uint16_t{0});
    std::uint16_t* row = packed.tile(r / kTileRows) + r % kTileRows * kStepDepth;
    for (std::int64_t s = 0; s < packed.steps; ++s) std::memcpy(row + s * kTileValues, values + s * kStepDepth, kStepDepth * sizeof(std::uint16_t));
  }
}

// Columns [col, col + vectors * 16): (steps, 16 pairs, vectors * 16) pairs.
void pack_columns(const Product& product, const DepthBlock& depth, std::int64_t col, int vectors, std::int64_t steps, float* decoded,
                  std::uint32_t* out) {
  const std::int64_t width = vectors * kLanes;
  std::uint32_t* to = out;
  for (const Segment& s : depth) {
    pack_bf16_columns(product.low_terms[s.term].source, col, vectors, s.k0, s.k1, decoded, to);
    to += (s.k1 - s.k0 + 1) / 2 * width;
  }
  std::fill(to, out + steps * kStepPairs * width, 0u);
}

// Where 32 rows x (vectors * 16) columns of sums go.
struct TileOutput {
  float* c;  // first row, first column
  std::int64_t ldc;
  std::int64_t rows;
  std::int64_t valid;  // columns that exist
  bool add;            // to c; else to bias, or to zero
  const float* bias;   // at the first column, or null
};

void write_sums(const TileOutput& out, const float* sums) {
  const DF df;
  for (std::int64_t first = 0; first < out.valid; first += kLanes) {
    const auto mask = hn::FirstN(df, static_cast<std::size_t>(std::min(kLanes, out.valid - first)));
    const VF start = out.bias == nullptr ? hn::Zero(df) : hn::MaskedLoad(mask, df, out.bias + first);
    for (std::int64_t i = 0; i < out.rows; ++i) {
      float* c = out.c + i * out.ldc + first;
      const VF before = out.add ? hn::MaskedLoad(mask, df, c) : start;
      hn::BlendedStore(hn::Add(before, hn::Load(df, sums + i * 2 * kLanes + first)), mask, df, c);
    }
  }
}

void run_depth_block(const Product& product, const DepthBlock& depth, const Block& block, std::span<std::byte> scratch, bool add) {
  std::int64_t pairs = 0;
  for (const Segment& s : depth) pairs += (s.k1 - s.k0 + 1) / 2;
  const std::int64_t steps = (pairs + kStepPairs - 1) / kStepPairs;
  CHECK(steps * kStepDepth <= kMaxTileDepth);
  const std::int64_t row_pairs = (block.row1 - block.row0 + 2 * kTileRows - 1) / (2 * kTileRows);
  auto* decoded = reinterpret_cast<float*>(scratch.data());
  auto* columns = reinterpret_cast<std::uint32_t*>(decoded + kDecodedDepth * 2 * kLanes);
  const PackedRows rows{reinterpret_cast<std::uint16_t*>(columns + steps * kStepPairs * 2 * kLanes), steps};
  CHECK(reinterpret_cast<std::byte*>(rows.tile(2 * row_pairs)) <= scratch.data() + scratch.size());
  pack_rows(product, depth, block, rows);
  HWY_ALIGN float sums[2 * kTileRows * 2 * kLanes];
  for (std::int64_t col = block.col0; col < block.col1; col += 2 * kLanes) {
    const int vectors = block.col1 - col > kLanes ? 2 : 1;
    pack_columns(product, depth, col, vectors, steps, decoded, columns);
    const float* bias = product.bias == nullptr ? nullptr : product.bias + col;
    for (std::int64_t r = 0; r < row_pairs; ++r) {
      const std::int64_t row = block.row0 + r * 2 * kTileRows;
      multiply_tiles({rows.tile(2 * r), rows.tile(2 * r + 1), columns, vectors, steps, sums});
      write_sums({product.c + row * product.ldc + col, product.ldc, std::min<std::int64_t>(2 * kTileRows, block.row1 - row),
                  std::min<std::int64_t>(vectors * kLanes, block.col1 - col), add, bias},
                 sums);
    }
  }
}

void run_tiled_block(const Product& product, const Block& block, std::span<std::byte> scratch) {
  const TileUse use;
  bool add = product.accumulate;
  for (const DepthBlock& depth : split_depth(product.low_terms, kTileDepth)) {
    run_depth_block(product, depth, block, scratch, add);
    add = true;
  }
}

bool target_has_tiles() { return use_bf16_dot(); }

#else

bool target_has_tiles() { return false; }
void run_tiled_block(const Product& /*product*/, const Block& /*block*/, std::span<std::byte> /*scratch*/) { CHECK(false); }

#endif

}  // namespace evolora::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace evolora::gemm {
namespace {

std::atomic<bool> allowed = true;

// Linux gives the tile registers to a process that asks (arch_prctl ARCH_REQ_XCOMP_PERM for XTILEDATA), for all its threads.
bool system_grants_tiles() {
#if defined(__linux__) && defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned kAmxBf16 = 1u << 22;
  constexpr unsigned kAmxTile = 1u << 24;
  if ((d & kAmxBf16) == 0 || (d & kAmxTile) == 0) return false;
  constexpr long kRequestPermission = 0x1023;
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

constexpr std::int64_t kMinRows = 24;  // a pair of tiles has 32
constexpr std::int64_t kRowBytes = 256 * kMaxTileDepth * 2;

}  // namespace

HWY_EXPORT(run_tiled_block);
HWY_EXPORT(target_has_tiles);

void allow_matrix_tiles(bool allow) { allowed.store(allow, std::memory_order_relaxed); }

bool matrix_tiles_available() {
  static const bool granted = system_grants_tiles();
  return granted && allowed.load(std::memory_order_relaxed) && HWY_DYNAMIC_DISPATCH(target_has_tiles)();
}

bool runs_on_tiles(const Product& product) {
  return product.arithmetic == Arithmetic::kBf16 && !product.low_terms.empty() && product.rows >= kMinRows && matrix_tiles_available();
}

std::int64_t most_tile_rows(const Product& product) {
  std::int64_t deepest = 1;
  for (const DepthBlock& depth : split_depth(product.low_terms, kTileDepth)) {
    std::int64_t values = 0;
    for (const Segment& s : depth) values += (s.k1 - s.k0 + 1) / 2 * 2;
    deepest = std::max(deepest, (values + 31) / 32 * 32);
  }
  return std::max<std::int64_t>(32, kRowBytes / (2 * deepest) / 32 * 32);
}

// Decoded columns (128 x 32 floats), 32 columns and the rows of the deepest depth block.
std::size_t tile_scratch_bytes() { return static_cast<std::size_t>(128 * 32 * 4 + 32 * kMaxTileDepth * 2 + kRowBytes); }

void run_tiled_block(const Product& product, const Block& block, std::span<std::byte> scratch) {
  HWY_DYNAMIC_DISPATCH(run_tiled_block)(product, block, scratch);
}

}  // namespace evolora::gemm
#endif
