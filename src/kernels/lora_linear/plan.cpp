// How products are cut: along the depth by what fits a panel, along columns and rows so that every worker finishes at about the same time.
#include <unistd.h>

#include <algorithm>

#include "base/check.h"
#include "kernels/lora_linear/gemm.h"
#include "kernels/lora_linear/low_precision.h"
#include "kernels/lora_linear/matrix_tiles.h"

namespace evolora::gemm {
namespace {

// Beyond about 1100 steps a panel of 4 AVX-512 vectors takes 280 KB and crowds everything else out of L2; below about 128 the tile of c is
// loaded and stored too often for its few steps.
constexpr std::int64_t kDepth = 1100;
// Cuts inside a term fall on multiples of the largest quantization group, so that a decoder always sees whole groups.
constexpr std::int64_t kDepthStep = 128;
constexpr std::int64_t kMaxDepth = (kDepth + kDepthStep - 1) / kDepthStep * kDepthStep;
constexpr std::int64_t kTile = 4;  // vectors of the widest tile; a block is never narrower if there are columns

std::int64_t round_up(std::int64_t value, std::int64_t step) { return (value + step - 1) / step * step; }
std::int64_t divide_up(std::int64_t value, std::int64_t by) { return (value + by - 1) / by; }

// Half of L2 for the decoded panels; the other half is for the rows of a and c that pass by.
std::int64_t panel_limit_bytes() {
  static const std::int64_t limit = [] {
    const long l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
    return std::clamp<std::int64_t>(l2 > 0 ? l2 / 2 : 512 * 1024, 128 * 1024, 600 * 1024);
  }();
  return limit;
}

// Floats per column that a block needs at most.
std::int64_t deepest(const Product& product) {
  std::int64_t result = std::max<std::int64_t>(1, product.finish_depth);
  for (const std::vector<Term>* terms : {&product.terms, &product.low_terms}) {
    for (const DepthBlock& block : split_depth(*terms)) {
      std::int64_t depth = 0;
      for (const Segment& segment : block) depth += segment.k1 - segment.k0;
      result = std::max(result, depth);
    }
  }
  return result;
}

std::int64_t total_depth(std::span<const Term> terms) {
  std::int64_t depth = 0;
  for (const Term& term : terms) depth += term.depth;
  return depth;
}

// Depth of fp32 arithmetic that takes as long. Two bf16 or four int8 multiply-adds take the time of one; int8 loses a quarter of that to its scales.
std::int64_t effective_depth(const Product& product) {
  const std::int64_t speed = product.arithmetic == Arithmetic::kInt8 ? 3 : 2;
  return total_depth(product.terms) + divide_up(total_depth(product.low_terms), speed);
}

// How many columns fit the limit for one of fp32. bf16: 2 bytes a value, and a quarter of the limit for rows. int8: 1 byte and up to 8 in 32 for
// scales and biases, a fifth left over.
double narrower_panel(const Product& product) {
  if (product.low_terms.empty()) return 1;
  return product.arithmetic == Arithmetic::kInt8 ? 2.5 : 1.5;
}

// What the cuts of one product depend on.
struct Shape {
  std::int64_t rows, vectors, depth;
  std::int64_t widest;  // vectors of a block whose panels fit the limit
  std::int64_t most_rows;
  bool tiled;
  bool rounds_rows;  // bf16 on the vector unit: every block rounds the rows of a for itself
};

// Time of a block in fused multiply-adds of one vector. Decoding a vector costs about as much as 6 rows of arithmetic (measured 4 to 10);
// reading the rows of a again for another block about 0.15 vectors.
// bf16 (where depth counts half): decoding is what it was, and reading is rounding, too, for which a training step's profile has about one
// multiply-add of a vector. On matrix tiles a row takes a third.
double block_cost(const Shape& shape, double rows, double vectors) {
  constexpr double kDecode = 6;
  constexpr double kReread = 0.15;
  constexpr double kTiledRow = 0.33;
  constexpr double kTiledDecode = 12;
  constexpr double kTiledReread = 0.6;
  constexpr double kRoundingDecode = 12;
  constexpr double kRoundingReread = 1;
  if (shape.tiled) return static_cast<double>(shape.depth) * (vectors * (rows * kTiledRow + kTiledDecode) + rows * kTiledReread);
  if (shape.rounds_rows) return static_cast<double>(shape.depth) * (vectors * (rows + kRoundingDecode) + rows * kRoundingReread);
  return static_cast<double>(shape.depth) * (vectors * (rows + kDecode) + rows * kReread);
}

struct Cut {
  std::int64_t row_parts = 1, col_parts = 1;
};

Cut cut_for(const Shape& shape, double target) {
  constexpr std::int64_t kNarrow = 3;    // vectors; narrower tiles are bound by loads
  constexpr std::int64_t kFewRows = 16;  // decoding again for fewer rows does not pay
  const double cost = block_cost(shape, static_cast<double>(shape.rows), static_cast<double>(shape.vectors));
  const auto wanted = static_cast<std::int64_t>(std::min(cost / target, 1e9)) + 1;
  Cut cut;
  const std::int64_t fewest = divide_up(shape.vectors, shape.widest);
  cut.col_parts = std::clamp(wanted, fewest, std::max(fewest, shape.vectors / kNarrow));
  const std::int64_t fewest_rows = divide_up(shape.rows, shape.most_rows);
  cut.row_parts = std::clamp<std::int64_t>(divide_up(wanted, cut.col_parts), fewest_rows, std::max<std::int64_t>(fewest_rows, shape.rows / kFewRows));
  return cut;
}

// Expected time of the whole: longest-first list scheduling, plus a share of the largest block, because cores are not equally undisturbed.
double makespan(std::span<const Shape> shapes, std::span<const Cut> cuts, int threads) {
  std::vector<double> costs;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const auto parts = cuts[i].row_parts * cuts[i].col_parts;
    const double cost = block_cost(shapes[i], static_cast<double>(shapes[i].rows) / static_cast<double>(cuts[i].row_parts),
                                   static_cast<double>(divide_up(shapes[i].vectors, cuts[i].col_parts)));
    costs.insert(costs.end(), static_cast<std::size_t>(parts), cost);
  }
  std::sort(costs.begin(), costs.end(), std::greater<>());
  std::vector<double> busy(static_cast<std::size_t>(threads), 0.0);
  for (const double cost : costs) *std::min_element(busy.begin(), busy.end()) += cost;
  return *std::max_element(busy.begin(), busy.end()) + 0.25 * costs.front();
}

std::vector<Cut> best_cuts(std::span<const Shape> shapes, int threads) {
  double total = 0;
  std::int64_t fewest = 0;
  for (const Shape& shape : shapes) {
    total += block_cost(shape, static_cast<double>(shape.rows), static_cast<double>(shape.vectors));
    fewest += divide_up(shape.vectors, shape.widest) * divide_up(shape.rows, shape.most_rows);
  }
  const auto cuts_for = [&](double target) {
    std::vector<Cut> cuts;
    for (const Shape& shape : shapes) cuts.push_back(cut_for(shape, target));
    return cuts;
  };
  // One thread has nothing to balance, and very many blocks balance themselves.
  if (threads == 1 || fewest >= 32 * threads) return cuts_for(total + 1);
  std::vector<Cut> best;
  double best_time = 0;
  for (int per_thread = 1; per_thread <= 12; ++per_thread) {
    std::vector<Cut> cuts = cuts_for(total / (static_cast<double>(threads) * per_thread) + 1);
    const double time = makespan(shapes, cuts, threads);
    if (best.empty() || time < best_time) {
      best = std::move(cuts);
      best_time = time;
    }
  }
  return best;
}

}  // namespace

std::vector<DepthBlock> split_depth(std::span<const Term> terms) { return split_depth(terms, kDepth); }

std::vector<DepthBlock> split_depth(std::span<const Term> terms, std::int64_t depth) {
  const std::int64_t total = total_depth(terms);
  const std::int64_t parts = std::max<std::int64_t>(1, divide_up(total, depth));
  const std::int64_t capacity = round_up(divide_up(total, parts), kDepthStep);
  std::vector<DepthBlock> blocks(1);
  std::int64_t room = capacity;
  for (std::size_t t = 0; t < terms.size(); ++t) {
    for (std::int64_t k = 0; k < terms[t].depth;) {
      std::int64_t take = std::min(terms[t].depth - k, room);
      if (k + take < terms[t].depth) take = take / kDepthStep * kDepthStep;
      if (take == 0) {
        CHECK(!blocks.back().empty());
        blocks.emplace_back();
        room = capacity;
        continue;
      }
      blocks.back().push_back({t, k, k + take});
      k += take;
      room -= take;
    }
  }
  return blocks;
}

std::size_t panel_bytes(std::span<const Product> products, std::int64_t lanes) {
  std::int64_t depth = products.empty() ? 0 : kMaxDepth;
  for (const Product& product : products) depth = std::max(depth, product.finish_depth);
  const auto tile = static_cast<std::size_t>(kTile * lanes * depth) * sizeof(float);
  const bool tiled = std::any_of(products.begin(), products.end(), [](const Product& product) { return runs_on_tiles(product); });
  return products.empty() ? 0 : align_up(std::max({static_cast<std::size_t>(panel_limit_bytes()), tile, tiled ? tile_scratch_bytes() : 0}));
}

std::vector<Block> plan_products(std::span<const Product> products, std::int64_t lanes, int threads) {
  constexpr std::int64_t kWidest = 32;  // vectors; more brings nothing, and a skinny depth would allow any number
  std::vector<Shape> shapes;
  for (const Product& product : products) {
    const std::int64_t vector_bytes = deepest(product) * lanes * static_cast<std::int64_t>(sizeof(float));
    const auto limit = static_cast<std::int64_t>(static_cast<double>(panel_limit_bytes()) * narrower_panel(product));
    Shape shape{product.rows,     divide_up(product.cols, lanes), effective_depth(product), std::clamp(limit / vector_bytes, kTile, kWidest),
                product.rows + 1, runs_on_tiles(product)};
    shape.rounds_rows = !shape.tiled && !product.low_terms.empty() && product.arithmetic == Arithmetic::kBf16;
    if (shape.tiled) {
      shape.most_rows = most_tile_rows(product);
      if (product.terms.empty()) shape.widest = shape.vectors + 1;  // columns pass by and are not kept
    }
    shapes.push_back(shape);
  }
  std::vector<Block> blocks;
  if (products.empty()) return blocks;
  const std::vector<Cut> cuts = best_cuts(shapes, threads);
  for (std::size_t p = 0; p < products.size(); ++p) {
    for (std::int64_t c = 0; c < cuts[p].col_parts; ++c) {
      const std::int64_t v0 = shapes[p].vectors * c / cuts[p].col_parts;
      const std::int64_t v1 = shapes[p].vectors * (c + 1) / cuts[p].col_parts;
      for (std::int64_t r = 0; r < cuts[p].row_parts; ++r) {
        blocks.push_back({p, products[p].rows * r / cuts[p].row_parts, products[p].rows * (r + 1) / cuts[p].row_parts, v0 * lanes,
                          std::min(v1 * lanes, products[p].cols)});
      }
    }
  }
  return blocks;
}

std::size_t products_workspace_bytes(std::span<const Product> products, int threads) {
  return panel_bytes(products, vector_lanes()) * static_cast<std::size_t>(threads);
}

void run_products(std::span<const Product> products, Threads& threads, std::byte* workspace) {
  const std::vector<Block> blocks = plan_products(products, vector_lanes(), threads.count());
  const std::size_t bytes = panel_bytes(products, vector_lanes());
  const auto run = [&](std::size_t index, int worker) {
    const Block& block = blocks[index];
    const Product& product = products[block.product];
    auto* panel = reinterpret_cast<float*>(workspace + static_cast<std::size_t>(worker) * bytes);
    const std::span<std::byte> scratch{reinterpret_cast<std::byte*>(panel), bytes};
    const bool tiled = runs_on_tiles(product);
    if (!product.low_terms.empty() && !tiled) run_low_precision_block(product, block, scratch);
    if (tiled) run_tiled_block(product, block, scratch);
    if (!product.terms.empty() || product.low_terms.empty()) run_block(product, block, panel);
    if (product.finish) product.finish(block, panel);
  };
  // Waking the other threads takes about 10 us, in which one core does this much.
  constexpr std::int64_t kAlone = 200'000;
  std::int64_t multiplications = 0;
  for (const Product& product : products) multiplications += product.rows * product.cols * effective_depth(product);
  if (multiplications <= kAlone) {
    for (std::size_t i = 0; i < blocks.size(); ++i) run(i, 0);
    return;
  }
  threads.for_each(blocks.size(), run);
}

PanelSource dense_source(const float* data, std::int64_t rows, std::int64_t columns, bool columns_are_rows) {
  PanelSource source;
  source.weight = {.out = rows, .in = columns, .data = reinterpret_cast<const std::byte*>(data)};
  source.columns_are_rows = columns_are_rows;
  return source;
}

}  // namespace evolora::gemm
