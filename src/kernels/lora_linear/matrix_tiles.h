// bf16 products on the matrix tiles of x86 (AMX: 16 x 32 times 32 x 16 numbers in one instruction, sums in fp32). The processors that have tiles need
// them for bf16 to pay at all: vdpbf16ps is no faster there than fp32. fp32 as three bf16 pieces on tiles (Henry, Tang & Heinecke 2019, arXiv
// 1904.06376) was tried and did not beat the vector unit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/lora_linear/gemm.h"

namespace evolora::gemm {

// Whether this machine has the tiles, the system lets the process use them, the instruction set in use is the one they come with, and dot
// instructions are allowed (low_precision.h). Asks the system once. Thread-safe.
bool matrix_tiles_available();
// Tests and benchmarks only: without, everything runs on the vector unit. Not while a product runs.
void allow_matrix_tiles(bool allow);

// Do the low-precision terms of the product run on tiles? In bf16, and not with few rows, which fill a tile badly.
bool runs_on_tiles(const Product& product);
// Rows that a block of it may have: their bf16 values for one depth block stay in L2.
std::int64_t most_tile_rows(const Product& product);
// Scratch per worker.
std::size_t tile_scratch_bytes();

// c (overwritten, or added to if product.accumulate) = bias + sum of low_terms. scratch: tile_scratch_bytes, 64-byte aligned. Rounding as everywhere
// in bf16; products below 2^-126 count as zero.
void run_tiled_block(const Product& product, const Block& block, std::span<std::byte> scratch);

}  // namespace evolora::gemm
