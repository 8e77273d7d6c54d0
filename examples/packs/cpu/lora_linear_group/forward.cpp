// lora_linear forward for a group of projections that share x (q|k|v, gate|up): x is packed once, in tiles of rows, and read by the column blocks of
// all projections, which one loop hands out together, so that small projections do not leave workers idle. Every element of y is computed by one
// worker in a fixed order, so results do not depend on the number of threads.
#include <cstdint>
#include <cstring>

#include "evolora_pack.h"

namespace {

// EVOLVE-BLOCK-START
// The shape of the work. Lines marked "evolve:" are parameters that a search may set without reading the code.
constexpr int kForwardTileRows = 6;      // evolve: int 1..12
constexpr int kForwardTileVectors = 4;   // evolve: int 1..4
constexpr int kForwardPanelTiles = 1;    // evolve: choice 1,2,4,8
constexpr int kForwardDepthBlock = 256;  // evolve: choice 64,128,256,512,1024
constexpr int kForwardRowBlock = 256;    // evolve: choice 64,128,256,512,1024
constexpr int kForwardUnroll = 1;        // evolve: choice 1,2,4
constexpr int kForwardPrefetch = 0;      // evolve: choice 0,4,8,16

constexpr int64_t kForwardTileColumns = kForwardTileVectors * 16;
constexpr int64_t kForwardPanelColumns = kForwardPanelTiles * kForwardTileColumns;

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
#pragma GCC unroll kForwardUnroll
  for (int64_t k = 0; k < depth; ++k) {
    const float* at = panel + k * kVectors * kLanes;
    if constexpr (kForwardPrefetch > 0) __builtin_prefetch(at + kForwardPrefetch * kVectors * kLanes);
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
template <int kVectors, bool kContiguous, int kRows = kForwardTileRows>
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
  for (int64_t column = 0; column < columns; column += kForwardTileColumns) {
    const int64_t valid = columns - column < kForwardTileColumns ? columns - column : kForwardTileColumns;
    rows_of_tiles<kForwardTileVectors, kContiguous>(left, rows, depth, panel + column * depth, c + column, c_stride, valid);
  }
}

// A panel from a dense fp32 matrix: element (k, column) is scale * from[k * depth_stride + column * column_stride]. Columns past the end are zero.
void pack_dense(const float* from, int64_t depth_stride, int64_t column_stride, float scale, int64_t depth, int64_t columns, float* panel) {
  for (int64_t begin = 0; begin < columns; begin += kForwardTileColumns) {
    float* at = panel + begin * depth;
    for (int64_t k = 0; k < depth; ++k, at += kForwardTileColumns) {
      for (int64_t column = 0; column < kForwardTileColumns; ++column) {
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
    float* at = panel + column / kForwardTileColumns * kForwardTileColumns * depth + column % kForwardTileColumns;
    switch (w.bits) {
      case 2: decode_rows<2>(w, row + column, begin, depth, at, kForwardTileColumns); break;
      case 3: decode_rows<3>(w, row + column, begin, depth, at, kForwardTileColumns); break;
      case 4: decode_rows<4>(w, row + column, begin, depth, at, kForwardTileColumns); break;
      case 5: decode_rows<5>(w, row + column, begin, depth, at, kForwardTileColumns); break;
      case 6: decode_rows<6>(w, row + column, begin, depth, at, kForwardTileColumns); break;
      case 8: decode_rows<8>(w, row + column, begin, depth, at, kForwardTileColumns); break;
      default: dense_rows(w, row + column, begin, depth, at, kForwardTileColumns);
    }
  }
}

// What one call needs of the workspace: x packed, (tiles, in, kForwardTileRows); the packed A of each projection; and for each worker a panel or the
// dropped rows of a tile.
struct Workspace {
  size_t x, adapters, worker;
};
Workspace workspace_of(const evolora_lora_linear_forward_args* args) {
  Workspace need = {0, 0, float_bytes(kForwardDepthBlock * kForwardPanelColumns)};
  for (int64_t i = 0; i < args->projection_count; ++i) {
    const evolora_projection& p = args->projections[i];
    need.x = float_bytes(round_up(args->n, kForwardTileRows) * p.weight.in);
    need.adapters += float_bytes(p.weight.in * round_up(p.rank, kLanes));
    const size_t dropped = float_bytes(kForwardTileRows * p.weight.in);
    if (p.rank > 0 && p.dropout > 0 && dropped > need.worker) need.worker = dropped;
  }
  return need;
}

// Element (k, row) of a tile of x; rows past the end are zero.
void pack_rows(const float* x, int64_t n, int64_t in, int64_t row, float* packed) {
  for (int64_t i = 0; i < kForwardTileRows; ++i) {
    for (int64_t k = 0; k < in; ++k) packed[k * kForwardTileRows + i] = row + i < n ? x[(row + i) * in + k] : 0.0f;
  }
}

// xa = drop(x) A for one tile of rows.
void adapter_input(const float* x, int64_t n, const evolora_projection& p, const float* packed_a, int64_t row, float* dropped) {
  const int64_t in = p.weight.in, rows = n - row < kForwardTileRows ? n - row : kForwardTileRows;
  const float* from = x + row * in;
  if (p.dropout > 0) {
    drop(p, x, row, rows, 0, in, dropped);
    from = dropped;
  }
  std::memset(p.xa + row * p.rank, 0, static_cast<size_t>(rows * p.rank) * sizeof(float));
  for (int64_t j = 0; j < p.rank; j += kLanes) {
    const int64_t valid = p.rank - j < kLanes ? p.rank - j : kLanes;
    rows_of_tiles<1, true>({from, in, 1}, rows, in, packed_a + j * in, p.xa + row * p.rank + j, p.rank, valid);
  }
}

// Rows [row, row + rows), whole tiles but at the end, and columns [column, column + columns) of y.
void output_block(const float* packed_x, const evolora_projection& p, int64_t row, int64_t rows, int64_t column, int64_t columns, float* panel) {
  const evolora_weight& w = p.weight;
  float* y = p.y + row * w.out + column;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) y[i * w.out + j] = p.bias != nullptr ? p.bias[column + j] : 0.0f;
  }
  for (int64_t k = 0; k < w.in; k += kForwardDepthBlock) {
    const int64_t depth = w.in - k < kForwardDepthBlock ? w.in - k : kForwardDepthBlock;
    decode_panel(w, column, columns, k, depth, panel);
    for (int64_t i = 0; i < rows; i += kForwardTileRows) {
      const Left left = {packed_x + (row + i) * w.in + k * kForwardTileRows, 1, kForwardTileRows};
      multiply<false>(left, rows - i < kForwardTileRows ? rows - i : kForwardTileRows, depth, panel, y + i * w.out, w.out, columns);
    }
  }
  for (int64_t j = 0; j < p.rank; j += kForwardDepthBlock) {
    const int64_t depth = p.rank - j < kForwardDepthBlock ? p.rank - j : kForwardDepthBlock;
    pack_dense(p.b + j * w.out + column, w.out, 1, p.scale, depth, columns, panel);
    multiply<true>({p.xa + row * p.rank + j, p.rank, 1}, rows, depth, panel, y, w.out, columns);
  }
}

void forward(const evolora_lora_linear_forward_args* args, evolora_context* context) {
  if (args->projection_count == 0 || args->n == 0) return;
  const Workspace need = workspace_of(args);
  const int64_t n = args->n, in = args->projections[0].weight.in;
  auto* packed_x = reinterpret_cast<float*>(context->workspace);
  auto* packed_a = reinterpret_cast<float*>(context->workspace + need.x);
  const auto panel_of = [&](int worker) {
    return reinterpret_cast<float*>(context->workspace + need.x + need.adapters + static_cast<size_t>(worker) * need.worker);
  };
  float* end = packed_a;
  int64_t column_blocks = 0;
  for (int64_t i = 0; i < args->projection_count; ++i) {
    const evolora_projection& p = args->projections[i];
    pack_narrow(p.a, p.rank, 1, 1.0f, in, p.rank, end);
    end += float_bytes(in * round_up(p.rank, kLanes)) / sizeof(float);
    column_blocks += divide_up(p.weight.out, kForwardPanelColumns);
  }
  parallel(context, divide_up(n, kForwardTileRows), [&](int64_t index, int worker) {
    const int64_t row = index * kForwardTileRows;
    pack_rows(args->x, n, in, row, packed_x + row * in);
    const float* a = packed_a;
    for (int64_t i = 0; i < args->projection_count; ++i) {
      const evolora_projection& p = args->projections[i];
      if (p.rank > 0) adapter_input(args->x, n, p, a, row, panel_of(worker));
      a += float_bytes(in * round_up(p.rank, kLanes)) / sizeof(float);
    }
  });
  constexpr int64_t kRows = kForwardRowBlock / kForwardTileRows * kForwardTileRows;  // whole tiles, as x is packed
  const int64_t row_blocks = divide_up(n, kRows);
  parallel(context, row_blocks * column_blocks, [&](int64_t index, int worker) {
    const int64_t row = index % row_blocks * kRows, rows = n - row < kRows ? n - row : kRows;
    int64_t block = index / row_blocks, i = 0;
    while (block >= divide_up(args->projections[i].weight.out, kForwardPanelColumns))
      block -= divide_up(args->projections[i++].weight.out, kForwardPanelColumns);
    const evolora_projection& p = args->projections[i];
    const int64_t column = block * kForwardPanelColumns;
    const int64_t columns = p.weight.out - column < kForwardPanelColumns ? p.weight.out - column : kForwardPanelColumns;
    output_block(packed_x, p, row, rows, column, columns, panel_of(worker));
  });
}
// EVOLVE-BLOCK-END

}  // namespace

void evolora_lora_linear_forward(const evolora_lora_linear_forward_args* args, evolora_context* context) { forward(args, context); }

size_t evolora_lora_linear_forward_workspace_bytes(const evolora_lora_linear_forward_args* args, int threads) {
  const Workspace need = workspace_of(args);
  return need.x + need.adapters + need.worker * static_cast<size_t>(threads);
}
