// lora_linear backward for a group of projections that share x: dx = sum over projections of dy W + drop'(scale (dy B^T) A^T), da += drop(x)^T (scale
// dy B^T), db += scale xa^T dy. Blocks of W are decoded as they lie into a panel in the worker's part of the workspace; then tiles of dx stay in
// registers while they run down the panel. Every element of a result is computed by one worker in a fixed order, so results do not depend on the
// number of threads.
#include <cstdint>
#include <cstring>

#include "evolora_pack.h"

namespace {

// EVOLVE-BLOCK-START
// The shape of the work. Lines marked "evolve:" are parameters that a search may set without reading the code.
constexpr int kBackwardTileRows = 6;      // evolve: int 1..12
constexpr int kBackwardTileVectors = 4;   // evolve: int 1..4
constexpr int kBackwardPanelTiles = 1;    // evolve: choice 1,2,4,8
constexpr int kBackwardDepthBlock = 256;  // evolve: choice 64,128,256,512,1024
constexpr int kBackwardRowBlock = 256;    // evolve: choice 64,128,256,512,1024
constexpr int kBackwardUnroll = 1;        // evolve: choice 1,2,4
constexpr int kBackwardPrefetch = 0;      // evolve: choice 0,4,8,16

constexpr int64_t kBackwardTileColumns = kBackwardTileVectors * 16;
constexpr int64_t kBackwardPanelColumns = kBackwardPanelTiles * kBackwardTileColumns;

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
#pragma GCC unroll kBackwardUnroll
  for (int64_t k = 0; k < depth; ++k) {
    const float* at = panel + k * kVectors * kLanes;
    if constexpr (kBackwardPrefetch > 0) __builtin_prefetch(at + kBackwardPrefetch * kVectors * kLanes);
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
template <int kVectors, bool kContiguous, int kRows = kBackwardTileRows>
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
  for (int64_t column = 0; column < columns; column += kBackwardTileColumns) {
    const int64_t valid = columns - column < kBackwardTileColumns ? columns - column : kBackwardTileColumns;
    rows_of_tiles<kBackwardTileVectors, kContiguous>(left, rows, depth, panel + column * depth, c + column, c_stride, valid);
  }
}

// A panel from a dense fp32 matrix: element (k, column) is scale * from[k * depth_stride + column * column_stride]. Columns past the end are zero.
void pack_dense(const float* from, int64_t depth_stride, int64_t column_stride, float scale, int64_t depth, int64_t columns, float* panel) {
  for (int64_t begin = 0; begin < columns; begin += kBackwardTileColumns) {
    float* at = panel + begin * depth;
    for (int64_t k = 0; k < depth; ++k, at += kBackwardTileColumns) {
      for (int64_t column = 0; column < kBackwardTileColumns; ++column) {
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

// 16 consecutive codes of a row, from `from` on: kBits * 2 bytes, code j at bit j * kBits.
template <int kBits>
vec codes_of(const uint8_t* from) {
  uvec words = {}, low_word = {}, low_shift = {}, high_word = {}, high_shift = {};
  std::memcpy(&words, from, kBits * 2);
#pragma GCC unroll 16
  for (int j = 0; j < kLanes; ++j) {
    const uint32_t word = static_cast<uint32_t>(j * kBits / 32), shift = static_cast<uint32_t>(j * kBits % 32);
    low_word[j] = word;
    low_shift[j] = shift;
    high_word[j] = shift + kBits > 32 ? word + 1 : 15;  // word 15 is zero
    high_shift[j] = (32 - shift) % 32;
  }
  uvec code = __builtin_shuffle(words, low_word) >> low_shift;
  if constexpr (32 % kBits != 0) code |= __builtin_shuffle(words, high_word) << high_shift;
  code &= (1u << kBits) - 1;
  return __builtin_convertvector(reinterpret_cast<ivec&>(code), vec);
}

// Columns [begin, begin + columns) of rows [row, row + depth) of a quantized weight as a panel. Columns past the end are zero: a row is a whole
// number of 32 codes.
template <int kBits>
void decode_columns(const evolora_weight& w, int64_t row, int64_t depth, int64_t begin, int64_t columns, float* panel) {
  for (int64_t tile_begin = 0; tile_begin < columns; tile_begin += kBackwardTileColumns) {
    float* at = panel + tile_begin * depth;
    for (int64_t o = row; o < row + depth; ++o, at += kBackwardTileColumns) {
      int64_t group = -1;
      float scale = 0, bias = 0;
      for (int64_t column = 0; column < kBackwardTileColumns; column += kLanes) {
        const int64_t k = begin + tile_begin + column;
        vec value = {};
        if (k < w.in) {
          if (k / w.group_size != group) {
            group = k / w.group_size;
            scale = load_float(w.dtype, w.scales, o * (w.in / w.group_size) + group);
            bias = load_float(w.dtype, w.biases, o * (w.in / w.group_size) + group);
          }
          value = scale * codes_of<kBits>(w.data + (o * w.in + k) * kBits / 8) + bias;
        }
        *reinterpret_cast<vec*>(at + column) = value;
      }
    }
  }
}

void dense_columns(const evolora_weight& w, int64_t row, int64_t depth, int64_t begin, int64_t columns, float* panel) {
  for (int64_t tile_begin = 0; tile_begin < columns; tile_begin += kBackwardTileColumns) {
    float* at = panel + tile_begin * depth;
    for (int64_t o = row; o < row + depth; ++o, at += kBackwardTileColumns) {
      for (int64_t column = 0; column < kBackwardTileColumns; ++column) {
        const int64_t k = begin + tile_begin + column;
        at[column] = k < w.in ? load_float(w.dtype, w.data, o * w.in + k) : 0.0f;
      }
    }
  }
}

// Panel of W: element (o, column) is W[row + o][begin + column].
void decode_panel(const evolora_weight& w, int64_t row, int64_t depth, int64_t begin, int64_t columns, float* panel) {
  switch (w.bits) {
    case 2: return decode_columns<2>(w, row, depth, begin, columns, panel);
    case 3: return decode_columns<3>(w, row, depth, begin, columns, panel);
    case 4: return decode_columns<4>(w, row, depth, begin, columns, panel);
    case 5: return decode_columns<5>(w, row, depth, begin, columns, panel);
    case 6: return decode_columns<6>(w, row, depth, begin, columns, panel);
    case 8: return decode_columns<8>(w, row, depth, begin, columns, panel);
    default: return dense_columns(w, row, depth, begin, columns, panel);
  }
}

// What one call needs of the workspace: the packed B^T of one projection, scale dy B^T of all, and for each worker a panel.
struct Workspace {
  size_t packed, gradients, worker;
};
Workspace workspace_of(const evolora_lora_linear_backward_args* args) {
  constexpr int64_t kWidest = kBackwardPanelColumns > kBackwardTileRows * kLanes ? kBackwardPanelColumns : kBackwardTileRows * kLanes;
  Workspace need = {0, 0, float_bytes(kBackwardDepthBlock * kWidest)};
  for (int64_t i = 0; i < args->projection_count; ++i) {
    const evolora_projection& p = args->projections[i];
    const size_t packed = float_bytes(p.weight.out * round_up(p.rank, kLanes));
    if (packed > need.packed) need.packed = packed;
    need.gradients += float_bytes(args->n * round_up(p.rank, kLanes));
  }
  return need;
}

// scale dy B^T of projection i: chunks of 16 columns, each (n, 16), zero past the rank.
float* adapter_gradient(const evolora_lora_linear_backward_args* args, int64_t i, const Workspace& need, evolora_context* context) {
  unsigned char* at = context->workspace + need.packed;
  for (int64_t before = 0; before < i; ++before) at += float_bytes(args->n * round_up(args->projections[before].rank, kLanes));
  return reinterpret_cast<float*>(at);
}

void make_adapter_gradient(const evolora_lora_linear_backward_args* args, const evolora_projection& p, float* gradient, evolora_context* context) {
  auto* packed = reinterpret_cast<float*>(context->workspace);
  const int64_t out = p.weight.out, n = args->n;
  pack_narrow(p.b, 1, out, p.scale, out, p.rank, packed);
  parallel(context, divide_up(n, kBackwardTileRows), [&](int64_t index, int) {
    const int64_t row = index * kBackwardTileRows, rows = n - row < kBackwardTileRows ? n - row : kBackwardTileRows;
    for (int64_t j = 0; j < p.rank; j += kLanes) {
      float* to = gradient + j * n + row * kLanes;
      std::memset(to, 0, static_cast<size_t>(rows * kLanes) * sizeof(float));
      rows_of_tiles<1, true>({p.dy + row * out, out, 1}, rows, out, packed + j * out, to, kLanes, kLanes);
    }
  });
}

// dx += mask(gradient A^T) for the block: under dropout the adapter's part is masked before it is added.
void add_dropped_input(const evolora_projection& p, const float* gradient, int64_t n, int64_t row, int64_t rows, int64_t column, int64_t columns,
                       float* dx) {
  const int64_t in = p.weight.in;
  const float keep = static_cast<float>(1.0 / (1.0 - static_cast<double>(p.dropout)));
  for (int64_t i = row; i < row + rows; ++i) {
    for (int64_t k = column; k < column + columns; ++k) {
      if (evolora_dropout_keeps(p.dropout_key, static_cast<uint64_t>(i * in + k), p.dropout) == 0) continue;
      float sum = 0;
      for (int64_t j = 0; j < p.rank; ++j) sum += gradient[j / kLanes * kLanes * n + i * kLanes + j % kLanes] * p.a[k * p.rank + j];
      dx[i * in + k] += sum * keep;
    }
  }
}

// Rows [row, row + rows) and columns [column, column + columns) of dx.
void input_block(const evolora_lora_linear_backward_args* args, const Workspace& need, int64_t row, int64_t rows, int64_t column, int64_t columns,
                 float* panel, evolora_context* context) {
  const int64_t in = args->projections[0].weight.in;
  float* dx = args->dx + row * in + column;
  for (int64_t i = 0; i < rows; ++i) std::memset(dx + i * in, 0, static_cast<size_t>(columns) * sizeof(float));
  for (int64_t i = 0; i < args->projection_count; ++i) {
    const evolora_projection& p = args->projections[i];
    const int64_t out = p.weight.out;
    for (int64_t o = 0; o < out; o += kBackwardDepthBlock) {
      const int64_t depth = out - o < kBackwardDepthBlock ? out - o : kBackwardDepthBlock;
      decode_panel(p.weight, o, depth, column, columns, panel);
      multiply<true>({p.dy + row * out + o, out, 1}, rows, depth, panel, dx, in, columns);
    }
    const float* gradient = adapter_gradient(args, i, need, context);
    if (p.rank > 0 && p.dropout > 0) {
      add_dropped_input(p, gradient, args->n, row, rows, column, columns, args->dx);
      continue;
    }
    for (int64_t j = 0; j < p.rank; j += kLanes) {
      const int64_t depth = p.rank - j < kLanes ? p.rank - j : kLanes;
      pack_dense(p.a + column * p.rank + j, 1, p.rank, 1.0f, depth, columns, panel);
      multiply<true>({gradient + j * args->n + row * kLanes, kLanes, 1}, rows, depth, panel, dx, in, columns);
    }
  }
}

// Rows [row, row + rows) of da += drop(x)^T gradient; rows: at most 16 tiles.
void a_block(const float* x, int64_t n, const evolora_projection& p, const float* gradient, int64_t row, int64_t rows, float* dropped) {
  const int64_t in = p.weight.in;
  for (int64_t k = 0; k < n; k += kBackwardDepthBlock) {
    const int64_t depth = n - k < kBackwardDepthBlock ? n - k : kBackwardDepthBlock;
    Left left = {x + k * in + row, 1, in};
    if (p.dropout > 0) {
      drop(p, x, k, depth, row, row + rows, dropped);
      left = {dropped, 1, rows};
    }
    for (int64_t j = 0; j < p.rank; j += kLanes) {
      const int64_t valid = p.rank - j < kLanes ? p.rank - j : kLanes;
      rows_of_tiles<1, false>(left, rows, depth, gradient + j * n + k * kLanes, p.da + row * p.rank + j, p.rank, valid);
    }
  }
}

// Columns [column, column + columns) of db += scale xa^T dy.
void b_block(int64_t n, const evolora_projection& p, int64_t column, int64_t columns, float* panel) {
  const int64_t out = p.weight.out;
  for (int64_t k = 0; k < n; k += kBackwardDepthBlock) {
    const int64_t depth = n - k < kBackwardDepthBlock ? n - k : kBackwardDepthBlock;
    pack_dense(p.dy + k * out + column, out, 1, p.scale, depth, columns, panel);
    multiply<false>({p.xa + k * p.rank, 1, p.rank}, p.rank, depth, panel, p.db + column, out, columns);
  }
}

void backward(const evolora_lora_linear_backward_args* args, evolora_context* context) {
  if (args->projection_count == 0 || args->n == 0) return;
  const Workspace need = workspace_of(args);
  const int64_t in = args->projections[0].weight.in, n = args->n;
  const auto panel_of = [&](int worker) {
    return reinterpret_cast<float*>(context->workspace + need.packed + need.gradients + static_cast<size_t>(worker) * need.worker);
  };
  for (int64_t i = 0; i < args->projection_count; ++i) {
    if (args->projections[i].rank > 0) make_adapter_gradient(args, args->projections[i], adapter_gradient(args, i, need, context), context);
  }
  // da of all projections, then db of all: one loop for the group, so that a small projection leaves no worker idle.
  constexpr int64_t kRows = 16 * kBackwardTileRows;
  const int64_t a_blocks = divide_up(in, kRows);
  int64_t b_blocks = 0;
  for (int64_t i = 0; i < args->projection_count; ++i) b_blocks += divide_up(args->projections[i].weight.out, kBackwardPanelColumns);
  parallel(context, a_blocks * args->projection_count + b_blocks, [&](int64_t index, int worker) {
    if (index < a_blocks * args->projection_count) {
      const int64_t i = index / a_blocks, row = index % a_blocks * kRows, rows = in - row < kRows ? in - row : kRows;
      const evolora_projection& p = args->projections[i];
      if (p.rank > 0) a_block(args->x, n, p, adapter_gradient(args, i, need, context), row, rows, panel_of(worker));
      return;
    }
    int64_t block = index - a_blocks * args->projection_count, i = 0;
    while (block >= divide_up(args->projections[i].weight.out, kBackwardPanelColumns))
      block -= divide_up(args->projections[i++].weight.out, kBackwardPanelColumns);
    const evolora_projection& p = args->projections[i];
    const int64_t column = block * kBackwardPanelColumns, left = p.weight.out - column;
    if (p.rank > 0) b_block(n, p, column, left < kBackwardPanelColumns ? left : kBackwardPanelColumns, panel_of(worker));
  });
  if (args->dx == nullptr) return;
  const int64_t row_blocks = divide_up(n, kBackwardRowBlock), column_blocks = divide_up(in, kBackwardPanelColumns);
  parallel(context, row_blocks * column_blocks, [&](int64_t index, int worker) {
    const int64_t row = index % row_blocks * kBackwardRowBlock, column = index / row_blocks * kBackwardPanelColumns;
    const int64_t rows = n - row < kBackwardRowBlock ? n - row : kBackwardRowBlock,
                  columns = in - column < kBackwardPanelColumns ? in - column : kBackwardPanelColumns;
    input_block(args, need, row, rows, column, columns, panel_of(worker), context);
  });
}
// EVOLVE-BLOCK-END

}  // namespace

void evolora_lora_linear_backward(const evolora_lora_linear_backward_args* args, evolora_context* context) { backward(args, context); }

size_t evolora_lora_linear_backward_workspace_bytes(const evolora_lora_linear_backward_args* args, int threads) {
  const Workspace need = workspace_of(args);
  return need.packed + need.gradients + need.worker * static_cast<size_t>(threads);
}
