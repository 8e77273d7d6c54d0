// lora_linear forward, one projection after the other: y = x W^T + bias + scale (drop(x) A) B.
// Rows of W are decoded and transposed, a block at a time, into a panel in the worker's part of the workspace; then tiles of y stay in registers
// while they run down the panel. Every element of y is computed by one worker in a fixed order, so results do not depend on the number of threads.
#include <cstdint>
#include <cstring>

#include "evolora_pack.h"

namespace {

// EVOLVE-BLOCK-START
// The shape of the work. Lines marked "evolve:" are parameters that a search may set without reading the code.
constexpr int kTileRows = 6;      // evolve: int 1..12
constexpr int kTileVectors = 4;   // evolve: int 1..4
constexpr int kPanelTiles = 1;    // evolve: choice 1,2,4,8
constexpr int kDepthBlock = 256;  // evolve: choice 64,128,256,512,1024
constexpr int kRowBlock = 256;    // evolve: choice 64,128,256,512,1024
constexpr int kUnroll = 1;        // evolve: choice 1,2,4
constexpr int kPrefetch = 0;      // evolve: choice 0,4,8,16

constexpr int64_t kTileColumns = kTileVectors * 16;
constexpr int64_t kPanelColumns = kPanelTiles * kTileColumns;

typedef float vec __attribute__((vector_size(64)));
typedef float vec_unaligned __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint32_t uvec __attribute__((vector_size(64)));
typedef int32_t ivec __attribute__((vector_size(64)));
constexpr int64_t kLanes = 16;

int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }
int64_t round_up(int64_t value, int64_t by) { return divide_up(value, by) * by; }
size_t float_bytes(int64_t count) { return static_cast<size_t>(round_up(count, kLanes)) * sizeof(float); }

// Element i of an array of 32 or 16 bit floats that begins anywhere.
float load_float(int32_t dtype, const uint8_t* from, int64_t i) {
  if (dtype == EVOLORA_F32) {
    float value;
    std::memcpy(&value, from + i * 4, 4);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, from + i * 2, 2);
  if (dtype == EVOLORA_BF16) return __builtin_bit_cast(float, static_cast<uint32_t>(half) << 16);
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, exponent = half >> 10 & 31, mantissa = half & 1023;
  if (exponent == 31) return __builtin_bit_cast(float, sign | 0x7f800000u | mantissa << 13);
  if (exponent != 0) return __builtin_bit_cast(float, sign | (exponent + 112) << 23 | mantissa << 13);
  const float tiny = static_cast<float>(mantissa) * 0x1p-24f;
  return sign != 0 ? -tiny : tiny;
}

// body(index, worker) for index in [0, count), on all workers.
template <typename Body>
void parallel(evolora_context* context, int64_t count, const Body& body) {
  context->for_each(
      context->pool, static_cast<size_t>(count),
      [](void* arg, size_t index, int worker) { (*static_cast<const Body*>(arg))(static_cast<int64_t>(index), worker); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

// The left factor of a product: element (row, k) is data[row * row_stride + k * depth_stride].
struct Left {
  const float* data;
  int64_t row_stride;
  int64_t depth_stride;
};

// c[row][column] += sum over k of left(row, k) panel[k][column] for kRows rows and the first `columns` of kVectors * 16 columns. Sums start from zero
// and stay in registers.
template <int kRows, int kVectors, bool kContiguous>
void tile(const Left& left, int64_t depth, const float* panel, float* c, int64_t c_stride, int64_t columns) {
  vec sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sum[i][v] = vec{};
  }
  const int64_t step = kContiguous ? 1 : left.depth_stride;
#pragma GCC unroll kUnroll
  for (int64_t k = 0; k < depth; ++k) {
    const float* at = panel + k * kVectors * kLanes;
    if constexpr (kPrefetch > 0) __builtin_prefetch(at + kPrefetch * kVectors * kLanes);
    vec b[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) b[v] = *reinterpret_cast<const vec*>(at + v * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const float a = left.data[i * left.row_stride + k * step];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[i][v] += a * b[v];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    float* row = c + i * c_stride;
    if (columns == kVectors * kLanes) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) *reinterpret_cast<vec_unaligned*>(row + v * kLanes) += sum[i][v];
    } else {
      alignas(64) float values[kVectors * kLanes];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) *reinterpret_cast<vec*>(values + v * kLanes) = sum[i][v];
      for (int64_t column = 0; column < columns; ++column) row[column] += values[column];
    }
  }
}

// tile() for any number of rows: full tiles, then what is left in one.
template <int kVectors, bool kContiguous, int kRows = kTileRows>
void rows_of_tiles(const Left& left, int64_t rows, int64_t depth, const float* panel, float* c, int64_t c_stride, int64_t columns) {
  int64_t row = 0;
  for (; row + kRows <= rows; row += kRows) {
    const Left here = {left.data + row * left.row_stride, left.row_stride, left.depth_stride};
    tile<kRows, kVectors, kContiguous>(here, depth, panel, c + row * c_stride, c_stride, columns);
  }
  if constexpr (kRows > 1) {
    if (row < rows) {
      const Left rest = {left.data + row * left.row_stride, left.row_stride, left.depth_stride};
      rows_of_tiles<kVectors, kContiguous, kRows - 1>(rest, rows - row, depth, panel, c + row * c_stride, c_stride, columns);
    }
  }
}

// The same for a panel of several tiles side by side, one behind the other in memory.
template <bool kContiguous>
void multiply(const Left& left, int64_t rows, int64_t depth, const float* panel, float* c, int64_t c_stride, int64_t columns) {
  for (int64_t column = 0; column < columns; column += kTileColumns) {
    const int64_t valid = columns - column < kTileColumns ? columns - column : kTileColumns;
    rows_of_tiles<kTileVectors, kContiguous>(left, rows, depth, panel + column * depth, c + column, c_stride, valid);
  }
}

// A panel from a dense fp32 matrix: element (k, column) is scale * from[k * depth_stride + column * column_stride]. Columns past the end are zero.
void pack_dense(const float* from, int64_t depth_stride, int64_t column_stride, float scale, int64_t depth, int64_t columns, float* panel) {
  for (int64_t begin = 0; begin < columns; begin += kTileColumns) {
    float* at = panel + begin * depth;
    for (int64_t k = 0; k < depth; ++k, at += kTileColumns) {
      for (int64_t column = 0; column < kTileColumns; ++column) {
        at[column] = begin + column < columns ? scale * from[k * depth_stride + (begin + column) * column_stride] : 0.0f;
      }
    }
  }
}

// The narrow factor of a product with an adapter, 16 columns at a time: element (k, column) of chunk c is
// scale * from[k * depth_stride + (16 c + column) * column_stride], zero past `rank`.
void pack_narrow(const float* from, int64_t depth_stride, int64_t column_stride, float scale, int64_t depth, int64_t rank, float* packed) {
  for (int64_t chunk = 0; chunk < rank; chunk += kLanes) {
    for (int64_t k = 0; k < depth; ++k, packed += kLanes) {
      for (int64_t column = 0; column < kLanes; ++column) {
        packed[column] = chunk + column < rank ? scale * from[k * depth_stride + (chunk + column) * column_stride] : 0.0f;
      }
    }
  }
}

// Rows [0, rows) and columns [begin, end) of x after dropout, (rows, end - begin). index: of element (0, 0) of x in the mask.
void drop(const evolora_projection& p, const float* x, int64_t first_row, int64_t rows, int64_t begin, int64_t end, float* out) {
  const int64_t in = p.weight.in;
  const float keep = static_cast<float>(1.0 / (1.0 - static_cast<double>(p.dropout)));
  for (int64_t row = first_row; row < first_row + rows; ++row) {
    for (int64_t k = begin; k < end; ++k) {
      const bool kept = evolora_dropout_keeps(p.dropout_key, static_cast<uint64_t>(row * in + k), p.dropout) != 0;
      *out++ = kept ? x[row * in + k] * keep : 0.0f;
    }
  }
}

// 32 codes of each of 16 rows, from `byte` of the row on: they lie across kBits words, code j at bit j * kBits.
template <int kBits>
void decode_unit(const uint8_t* const* rows, int64_t byte, const vec& scale, const vec& bias, float* panel, int64_t stride) {
  uvec words[kBits];
#pragma GCC unroll 8
  for (int i = 0; i < kBits; ++i) {
    uint32_t lanes[kLanes];
#pragma GCC unroll 16
    for (int lane = 0; lane < kLanes; ++lane) std::memcpy(lanes + lane, rows[lane] + byte + 4 * i, 4);
    std::memcpy(&words[i], lanes, sizeof lanes);
  }
#pragma GCC unroll 32
  for (int j = 0; j < 32; ++j) {
    const int word = j * kBits / 32, shift = j * kBits % 32;
    uvec code = words[word] >> shift;
    if (shift + kBits > 32) code |= words[word + 1 < kBits ? word + 1 : word] << ((32 - shift) % 32);
    code &= (1u << kBits) - 1;
    const vec value = __builtin_convertvector(reinterpret_cast<ivec&>(code), vec);
    *reinterpret_cast<vec*>(panel + j * stride) = scale * value + bias;
  }
}

// Rows [row, row + 16) of a quantized weight, transposed, as 16 columns of a panel whose rows are `stride` floats apart.
template <int kBits>
void decode_rows(const evolora_weight& w, int64_t row, int64_t begin, int64_t depth, float* panel, int64_t stride) {
  const uint8_t* rows[kLanes];
  int64_t groups[kLanes];
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    const int64_t o = row + lane < w.out ? row + lane : w.out - 1;  // columns past the end are never stored
    rows[lane] = w.data + o * (w.in * kBits / 8);
    groups[lane] = o * (w.in / w.group_size);
  }
  vec scale = {}, bias = {};
  for (int64_t k = begin; k < begin + depth; k += 32) {
    if (k == begin || k % w.group_size == 0) {
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        scale[lane] = load_float(w.dtype, w.scales, groups[lane] + k / w.group_size);
        bias[lane] = load_float(w.dtype, w.biases, groups[lane] + k / w.group_size);
      }
    }
    decode_unit<kBits>(rows, k * kBits / 8, scale, bias, panel + (k - begin) * stride, stride);
  }
}

void dense_rows(const evolora_weight& w, int64_t row, int64_t begin, int64_t depth, float* panel, int64_t stride) {
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    const int64_t o = row + lane < w.out ? row + lane : w.out - 1;
    for (int64_t k = 0; k < depth; ++k) panel[k * stride + lane] = load_float(w.dtype, w.data, o * w.in + begin + k);
  }
}

// Panel of W^T: element (k, column) is W[row + column][begin + k].
void decode_panel(const evolora_weight& w, int64_t row, int64_t columns, int64_t begin, int64_t depth, float* panel) {
  for (int64_t column = 0; column < columns; column += kLanes) {
    float* at = panel + column / kTileColumns * kTileColumns * depth + column % kTileColumns;
    switch (w.bits) {
      case 2: decode_rows<2>(w, row + column, begin, depth, at, kTileColumns); break;
      case 3: decode_rows<3>(w, row + column, begin, depth, at, kTileColumns); break;
      case 4: decode_rows<4>(w, row + column, begin, depth, at, kTileColumns); break;
      case 5: decode_rows<5>(w, row + column, begin, depth, at, kTileColumns); break;
      case 6: decode_rows<6>(w, row + column, begin, depth, at, kTileColumns); break;
      case 8: decode_rows<8>(w, row + column, begin, depth, at, kTileColumns); break;
      default: dense_rows(w, row + column, begin, depth, at, kTileColumns);
    }
  }
}

// What one call needs of the workspace: the packed A of one projection, and for each worker a panel or the dropped rows of a tile.
struct Workspace {
  size_t shared, worker;
};
Workspace workspace_of(const evolora_lora_linear_forward_args* args) {
  Workspace need = {0, float_bytes(kDepthBlock * kPanelColumns)};
  for (int64_t i = 0; i < args->projection_count; ++i) {
    const evolora_projection& p = args->projections[i];
    const size_t packed = float_bytes(p.weight.in * round_up(p.rank, kLanes)), dropped = float_bytes(kTileRows * p.weight.in);
    if (packed > need.shared) need.shared = packed;
    if (p.rank > 0 && p.dropout > 0 && dropped > need.worker) need.worker = dropped;
  }
  return need;
}

// xa = drop(x) A, by tiles of rows.
void adapter_input(const float* x, int64_t n, const evolora_projection& p, const Workspace& need, evolora_context* context) {
  auto* packed = reinterpret_cast<float*>(context->workspace);
  const int64_t in = p.weight.in;
  pack_narrow(p.a, p.rank, 1, 1.0f, in, p.rank, packed);
  std::memset(p.xa, 0, static_cast<size_t>(n * p.rank) * sizeof(float));
  parallel(context, divide_up(n, kTileRows), [&](int64_t index, int worker) {
    const int64_t row = index * kTileRows, rows = n - row < kTileRows ? n - row : kTileRows;
    const float* from = x + row * in;
    if (p.dropout > 0) {
      auto* dropped = reinterpret_cast<float*>(context->workspace + need.shared + static_cast<size_t>(worker) * need.worker);
      drop(p, x, row, rows, 0, in, dropped);
      from = dropped;
    }
    for (int64_t j = 0; j < p.rank; j += kLanes) {
      const int64_t valid = p.rank - j < kLanes ? p.rank - j : kLanes;
      rows_of_tiles<1, true>({from, in, 1}, rows, in, packed + j * in, p.xa + row * p.rank + j, p.rank, valid);
    }
  });
}

// Rows [row, row + rows) and columns [column, column + columns) of y.
void output_block(const float* x, const evolora_projection& p, int64_t row, int64_t rows, int64_t column, int64_t columns, float* panel) {
  const evolora_weight& w = p.weight;
  float* y = p.y + row * w.out + column;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) y[i * w.out + j] = p.bias != nullptr ? p.bias[column + j] : 0.0f;
  }
  for (int64_t k = 0; k < w.in; k += kDepthBlock) {
    const int64_t depth = w.in - k < kDepthBlock ? w.in - k : kDepthBlock;
    decode_panel(w, column, columns, k, depth, panel);
    multiply<true>({x + row * w.in + k, w.in, 1}, rows, depth, panel, y, w.out, columns);
  }
  for (int64_t j = 0; j < p.rank; j += kDepthBlock) {
    const int64_t depth = p.rank - j < kDepthBlock ? p.rank - j : kDepthBlock;
    pack_dense(p.b + j * w.out + column, w.out, 1, p.scale, depth, columns, panel);
    multiply<true>({p.xa + row * p.rank + j, p.rank, 1}, rows, depth, panel, y, w.out, columns);
  }
}

void forward(const evolora_lora_linear_forward_args* args, evolora_context* context) {
  const Workspace need = workspace_of(args);
  for (int64_t i = 0; i < args->projection_count && args->n > 0; ++i) {
    const evolora_projection& p = args->projections[i];
    if (p.rank > 0) adapter_input(args->x, args->n, p, need, context);
    const int64_t row_blocks = divide_up(args->n, kRowBlock), column_blocks = divide_up(p.weight.out, kPanelColumns);
    parallel(context, row_blocks * column_blocks, [&](int64_t index, int worker) {
      const int64_t row = index % row_blocks * kRowBlock, column = index / row_blocks * kPanelColumns;
      const int64_t rows = args->n - row < kRowBlock ? args->n - row : kRowBlock;
      const int64_t columns = p.weight.out - column < kPanelColumns ? p.weight.out - column : kPanelColumns;
      auto* panel = reinterpret_cast<float*>(context->workspace + need.shared + static_cast<size_t>(worker) * need.worker);
      output_block(args->x, p, row, rows, column, columns, panel);
    });
  }
}
// EVOLVE-BLOCK-END

}  // namespace

void evolora_lora_linear_forward(const evolora_lora_linear_forward_args* args, evolora_context* context) { forward(args, context); }

size_t evolora_lora_linear_forward_workspace_bytes(const evolora_lora_linear_forward_args* args, int threads) {
  const Workspace need = workspace_of(args);
  return need.shared + need.worker * static_cast<size_t>(threads);
}
