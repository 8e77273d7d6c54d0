// Products with base weights in bf16 or int8: the low-precision terms of a Product (gemm.h). Same blocks and depth blocks as in fp32; the panel holds
// pairs of bf16 or quadruples of stored 8-bit values, so that each step down the depth multiplies 4 bytes of a row with 4 bytes of a column.
// On x86 with AVX-512 the steps are vdpbf16ps and vpdpbusd where the processor has them (one instruction for 32 or 64 multiply-adds); elsewhere they
// are widened to fp32, which gives the same products and, for int8, the same sums.
#pragma once

#include <cstddef>
#include <span>

#include "kernels/lora_linear/gemm.h"
#include "kernels/lora_linear/int8_rows.h"

namespace evolora::gemm {

// c (overwritten, or added to if product.accumulate) = bias + sum of low_terms. scratch: panel_bytes of the product, 64-byte aligned.
// int8: columns_are_rows, and each term has its rows quantized by the weight's group.
void run_low_precision_block(const Product& product, const Block& block, std::span<std::byte> scratch);

// Tests and benchmarks only: without, everything is widened, as on a processor that has no such instructions. Not while a product runs.
void allow_dot_instructions(bool allow);
bool dot_instructions_allowed();

}  // namespace evolora::gemm

namespace evolora {

// What computes products in this arithmetic on this machine: "amx_bf16" (products of few rows: as without), "avx512_bf16", "avx512_vnni", or "widened
// to fp32"; fp32: "fp32".
const char* arithmetic_instructions(Arithmetic arithmetic);

}  // namespace evolora
