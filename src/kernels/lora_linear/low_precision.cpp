// Blocks of low-precision products, compiled for every instruction set and chosen at run time.
#include "kernels/lora_linear/low_precision.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "kernels/lora_linear/matrix_tiles.h"
#include "kernels/lora_linear/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/lora_linear/low_precision.cpp"
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include "kernels/lora_linear/low_int8-inl.h"
#include "kernels/lora_linear/low_pack-inl.h"
#include "kernels/lora_linear/low_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace evolora::gemm::HWY_NAMESPACE {

// One tile-wide strip of a block, packed.
struct LowStrip {
  std::int64_t col;
  std::int64_t valid;  // columns that exist
  int vectors;
  const std::byte* panel;  // (steps, vectors * kLanes) of 4 bytes
  const float* scales;     // int8: (groups, vectors * kLanes)
  const float* biases;
};

// Rows of one strip: where their sums go.
struct LowOutput {
  float* c;  // first row, first column of the strip
  std::int64_t ldc;
  int rows;
  std::int64_t valid;
  bool add;           // to c; else to
  const float* bias;  // by column, or null
};

// 1, 2 and 3 vectors; never a 1 beside a 3, because a single vector is bound by loads.
constexpr int low_panel_vectors(std::int64_t left) {
  if (left == 4 && kLowVectors == 3) return 2;
  return left < kLowVectors ? static_cast<int>(left) : kLowVectors;
}

// c = start + sums, on the columns that exist.
void write_tile(const LowOutput& out, const float* sums, std::int64_t width) {
  const DF df;
  HWY_ALIGN float start[kLowVectors * kLanes] = {};
  HWY_ALIGN float row[kLowVectors * kLanes];
  if (!out.add && out.bias != nullptr) std::copy_n(out.bias, out.valid, start);
  for (int i = 0; i < out.rows; ++i) {
    float* c = out.c + i * out.ldc;
    if (out.valid == width) {
      const float* from = out.add ? c : start;
      for (std::int64_t v = 0; v < width; v += kLanes) hn::StoreU(hn::Add(hn::LoadU(df, from + v), hn::Load(df, sums + i * width + v)), df, c + v);
      continue;
    }
    if (out.add) std::copy_n(c, out.valid, start);
    for (std::int64_t v = 0; v < width; v += kLanes) hn::Store(hn::Add(hn::Load(df, start + v), hn::Load(df, sums + i * width + v)), df, row + v);
    std::copy_n(row, out.valid, c);
  }
}

template <int kVectors>
void bf16_tile(const LowStrip& strip, const LowTile& tile, const LowOutput& out) {
  HWY_ALIGN float sums[kLowRows * kVectors * kLanes];
  bf16_steps<kVectors>()(tile, sums);
  write_tile(out, sums, strip.vectors * kLanes);
}

// Hands out aligned pieces of the scratch.
class Pieces {
 public:
  explicit Pieces(std::span<std::byte> scratch) : left_(scratch) {}
  template <typename T>
  T* take(std::int64_t count) {
    const std::size_t bytes = align_up(static_cast<std::size_t>(count) * sizeof(T));
    CHECK(bytes <= left_.size());
    auto* at = reinterpret_cast<T*>(left_.data());
    left_ = left_.subspan(bytes);
    return at;
  }
  std::int64_t left() const { return static_cast<std::int64_t>(left_.size()); }

 private:
  std::span<std::byte> left_;
};

// One depth block of one block.
class LowBlock {
 public:
  LowBlock(const Product& product, const Block& block, const DepthBlock& depth, std::span<std::byte> scratch, bool add)
      : product_(product), block_(block), depth_(depth), add_(add), pieces_(scratch) {
    const std::int64_t per_step = int8() ? 4 : 2;
    for (const Segment& s : depth_) steps_ += (s.k1 - s.k0 + per_step - 1) / per_step;
    pack_strips();
  }

  void run() { int8() ? run_int8() : run_bf16(); }

 private:
  bool int8() const { return product_.arithmetic == Arithmetic::kInt8; }

  void run_bf16() {
    // Rows that pass together stay in L2 while all strips use them.
    constexpr std::int64_t kRowsTogether = 48;
    const std::int64_t together = std::min(kRowsTogether, pieces_.left() / (4 * steps_ + 64) / kLowRows * kLowRows);
    CHECK(together >= kLowRows);
    rows_ = pieces_.take<std::uint16_t>(together * 2 * steps_);
    for (std::int64_t row0 = block_.row0; row0 < block_.row1; row0 += together) {
      const std::int64_t row1 = std::min(row0 + together, block_.row1);
      pack_rows(row0, row1);
      for (const LowStrip& strip : strips_) {
        for (std::int64_t row = row0; row < row1; row += kLowRows) {
          compute_bf16(strip, row0, row, static_cast<int>(std::min<std::int64_t>(kLowRows, row1 - row)));
        }
      }
    }
  }

  void run_int8() {
    const Int8Rows& x = *product_.low_terms.front().quantized;
    for (std::int64_t row0 = block_.row0; row0 < block_.row1; row0 += kInt8RowsTogether) {
      const std::int64_t row1 = std::min(row0 + kInt8RowsTogether, block_.row1);
      for (const LowStrip& strip : strips_) compute_int8(strip, x, row0, row1);
    }
  }

  void pack_strips() {
    float* decoded = int8() ? nullptr : pieces_.take<float>(kDecodedDepth * kLowVectors * kLanes);
    for (std::int64_t col = block_.col0; col < block_.col1;) {
      const int vectors = low_panel_vectors((block_.col1 - col + kLanes - 1) / kLanes);
      const std::int64_t width = vectors * kLanes;
      LowStrip strip{.col = col, .valid = std::min(width, block_.col1 - col), .vectors = vectors};
      auto* panel = pieces_.take<std::uint32_t>(steps_ * width);
      strip.panel = reinterpret_cast<const std::byte*>(panel);
      if (int8()) {
        pack_int8_strip(strip, panel);
      } else {
        for (const Segment& s : depth_) {
          pack_bf16_columns(product_.low_terms[s.term].source, col, vectors, s.k0, s.k1, decoded, panel);
          panel += (s.k1 - s.k0 + 1) / 2 * width;
        }
      }
      strips_.push_back(strip);
      col += width;
    }
  }

  void pack_int8_strip(LowStrip& strip, std::uint32_t* panel) {
    CHECK(product_.low_terms.size() == 1 && depth_.size() == 1);
    const Segment& s = depth_.front();
    const PanelSource& source = product_.low_terms.front().source;
    const WeightView& w = source.weight;
    CHECK(w.quantized() && source.columns_are_rows && product_.low_terms.front().quantized->group == w.group_size);
    const std::int64_t g0 = s.k0 / w.group_size;
    const std::int64_t g1 = s.k1 / w.group_size;
    auto* scales = pieces_.take<float>((g1 - g0) * strip.vectors * kLanes);
    auto* biases = pieces_.take<float>((g1 - g0) * strip.vectors * kLanes);
    pack_int8_columns(w, strip.col, strip.vectors, s.k0, s.k1, panel);
    pack_group_values(w, w.scales, strip.col, strip.vectors, g0, g1, scales);
    pack_group_values(w, w.biases, strip.col, strip.vectors, g0, g1, biases);
    strip.scales = scales;
    strip.biases = biases;
  }

  void pack_rows(std::int64_t row0, std::int64_t row1) {
    std::uint16_t* to = rows_;
    for (std::int64_t row = row0; row < row1; ++row) {
      for (const Segment& s : depth_) {
        const Term& term = product_.low_terms[s.term];
        pack_bf16_row(term.a + row * term.lda + s.k0, s.k1 - s.k0, to);
        to += (s.k1 - s.k0 + 1) / 2 * 2;
      }
    }
  }

  LowOutput output(const LowStrip& strip, std::int64_t row, std::int64_t count) const {
    const float* bias = product_.bias == nullptr ? nullptr : product_.bias + strip.col;
    return {product_.c + row * product_.ldc + strip.col, product_.ldc, static_cast<int>(count), strip.valid, add_, bias};
  }

  template <int kVectors>
  void compute_int8_strip(const LowStrip& strip, const Int8Rows& x, std::int64_t row0, std::int64_t row1) const {
    HWY_ALIGN float totals[kInt8RowsTogether * kVectors * kLanes];
    const std::int64_t g0 = depth_.front().k0 / x.group;
    const std::int64_t g1 = depth_.front().k1 / x.group;
    const auto rows_of = use_int8_dot() ? int8_rows_of<true, kVectors> : int8_rows_of<false, kVectors>;
    rows_of({strip.panel, strip.scales, strip.biases}, x, row0, row1, g0, g1, totals);
    write_tile(output(strip, row0, row1 - row0), totals, kVectors * kLanes);
  }

  void compute_int8(const LowStrip& strip, const Int8Rows& x, std::int64_t row0, std::int64_t row1) const {
    if (strip.vectors == 1) return compute_int8_strip<1>(strip, x, row0, row1);
    if (strip.vectors == 2) return compute_int8_strip<2>(strip, x, row0, row1);
    if constexpr (kLowVectors == 3) return compute_int8_strip<3>(strip, x, row0, row1);
    CHECK(false);
  }

  void compute_bf16(const LowStrip& strip, std::int64_t row0, std::int64_t row, int count) const {
    const LowOutput out = output(strip, row, count);
    LowTile tile{.panel = strip.panel, .steps = steps_};
    // Rows that do not exist repeat the last one; their sums are dropped.
    for (int i = 0; i < kLowRows; ++i) tile.rows[i] = reinterpret_cast<const std::byte*>(rows_ + (row - row0 + std::min(i, count - 1)) * 2 * steps_);
    if (strip.vectors == 1) return bf16_tile<1>(strip, tile, out);
    if (strip.vectors == 2) return bf16_tile<2>(strip, tile, out);
    if constexpr (kLowVectors == 3) return bf16_tile<3>(strip, tile, out);
    CHECK(false);
  }

  const Product& product_;
  const Block& block_;
  const DepthBlock& depth_;
  bool add_;
  Pieces pieces_;
  std::int64_t steps_ = 0;
  std::vector<LowStrip> strips_;
  std::uint16_t* rows_ = nullptr;  // bf16: (rows together, 2 * steps)
};

void run_low_precision_block(const Product& product, const Block& block, std::span<std::byte> scratch) {
  bool add = product.accumulate;
  for (const DepthBlock& depth : split_depth(product.low_terms)) {
    LowBlock(product, block, depth, scratch, add).run();
    add = true;
  }
}

const char* arithmetic_instructions(Arithmetic arithmetic) {
  if (arithmetic == Arithmetic::kFp32) return "fp32";
  if (arithmetic == Arithmetic::kInt8 && use_int8_dot()) return "avx512_vnni";
  if (arithmetic == Arithmetic::kBf16 && matrix_tiles_available()) return "amx_bf16";
  if (arithmetic == Arithmetic::kBf16 && use_bf16_dot()) return "avx512_bf16";
  return "widened to fp32";
}

}  // namespace evolora::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace evolora::gemm {

namespace {
std::atomic<bool> allowed = true;
}  // namespace

bool dot_instructions_allowed() { return allowed.load(std::memory_order_relaxed); }
void allow_dot_instructions(bool allow) { allowed.store(allow, std::memory_order_relaxed); }

HWY_EXPORT(run_low_precision_block);
HWY_EXPORT(arithmetic_instructions);

void run_low_precision_block(const Product& product, const Block& block, std::span<std::byte> scratch) {
  HWY_DYNAMIC_DISPATCH(run_low_precision_block)(product, block, scratch);
}

}  // namespace evolora::gemm

namespace evolora {

const char* arithmetic_instructions(Arithmetic arithmetic) {
  using namespace gemm;  // NOLINT(google-build-using-namespace): HWY_DYNAMIC_DISPATCH finds its table by an unqualified name
  return HWY_DYNAMIC_DISPATCH(arithmetic_instructions)(arithmetic);
}

}  // namespace evolora
#endif
