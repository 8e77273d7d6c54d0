/* The interface of a kernel pack for target `cpu`: what its source files include and what they define. Plain C structures and functions, so that a
 * pack compiled by another compiler fits. A pack defines one or more of the functions at the end; slots it does not define are filled by the
 * program's own kernels. Meaning, shapes, aliasing and rounding are those of src/kernels/<slot>/contract.h; everything here is fp32. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define EVOLORA_PACK_ABI 1

/* Packs are compiled with hidden symbols; what the program looks for is marked with this. */
#define EVOLORA_PACK_EXPORT __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

enum { EVOLORA_F32 = 0, EVOLORA_F16 = 1, EVOLORA_BF16 = 2 };

/* weight (out, in). bits == 0: dense, data is (out, in) of dtype. bits 2, 3, 4, 5, 6, 8: MLX affine; each row of data is a stream of in * bits bits,
 * lowest first; scales and biases (out, in / group_size) of dtype; value = scale * code + bias. Nothing is aligned: read by memcpy or unaligned
 * loads. */
typedef struct evolora_weight {
  int64_t out, in;
  int32_t bits, group_size;
  int32_t dtype; /* of dense data, scales and biases */
  int32_t reserved;
  const uint8_t* data;
  const uint8_t* scales;
  const uint8_t* biases;
} evolora_weight;

/* y = x W^T + bias + scale * (drop(x) A) B. rank == 0: no adapter, and a, b, xa, da, db are null. */
typedef struct evolora_projection {
  evolora_weight weight;
  const float* bias; /* (out) or null */
  const float* a;    /* (in, rank) */
  const float* b;    /* (rank, out) */
  int64_t rank;
  float scale;
  float dropout; /* p; element (row, k) of x is kept iff evolora_dropout_keeps(dropout_key, row * in + k, dropout), then multiplied by 1 / (1 - p) */
  uint64_t dropout_key;
  float* xa;       /* (n, rank) = drop(x) A, without scale; written by forward, read by backward */
  float* y;        /* (n, out); written by forward */
  const float* dy; /* (n, out); read by backward */
  float* da;       /* (in, rank); backward adds to it */
  float* db;       /* (rank, out); backward adds to it */
} evolora_projection;

/* What every kernel gets. workspace: 64-byte aligned, at least what the kernel's _workspace_bytes said; undefined before and after.
 * for_each(pool, n, body, arg) runs body(arg, index, worker) once for every index in [0, n), on up to `threads` workers, and returns when all are
 * done; two bodies that run at the same time have different workers in [0, threads). Loops do not nest. Results must not depend on which worker ran
 * what. */
typedef struct evolora_context {
  int32_t threads;
  int32_t reserved;
  unsigned char* workspace;
  size_t workspace_bytes;
  void* pool;
  void (*for_each)(void* pool, size_t n, void (*body)(void* arg, size_t index, int worker), void* arg);
} evolora_context;

/* A group of projections that share the input x (n, in). */
typedef struct evolora_lora_linear_forward_args {
  const float* x;
  int64_t n;
  const evolora_projection* projections;
  int64_t projection_count;
} evolora_lora_linear_forward_args;

/* dx (n, in) = sum over projections of dy W + drop'(scale * (dy B^T) A^T), overwritten; null: not needed. x may be null if no projection has an
 * adapter. */
typedef struct evolora_lora_linear_backward_args {
  const float* x;
  int64_t n;
  const evolora_projection* projections;
  int64_t projection_count;
  float* dx;
} evolora_lora_linear_backward_args;

/* A pack defines both functions of a kernel or neither, and may have one direction only. _workspace_bytes looks only at shapes, formats and ranks,
 * and never shrinks as n grows. */
EVOLORA_PACK_EXPORT void evolora_lora_linear_forward(const evolora_lora_linear_forward_args* args, evolora_context* context);
EVOLORA_PACK_EXPORT size_t evolora_lora_linear_forward_workspace_bytes(const evolora_lora_linear_forward_args* args, int threads);
EVOLORA_PACK_EXPORT void evolora_lora_linear_backward(const evolora_lora_linear_backward_args* args, evolora_context* context);
EVOLORA_PACK_EXPORT size_t evolora_lora_linear_backward_workspace_bytes(const evolora_lora_linear_backward_args* args, int threads);

/* EVOLORA_PACK_ABI as the pack was compiled with it. Added by the program when it compiles a pack; a pack does not define it. */
EVOLORA_PACK_EXPORT int evolora_pack_abi(void);

/* Philox4x32-10 (Salmon et al., SC 2011), the dropout mask as a function of key and element. */
static inline int evolora_dropout_keeps(uint64_t key, uint64_t index, float p) {
  uint32_t c[4] = {(uint32_t)(index / 4), (uint32_t)((index / 4) >> 32), 0, 0};
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
  int round;
  for (round = 0; round < 10; ++round) {
    const uint64_t p0 = 0xD2511F53ULL * c[0], p1 = 0xCD9E8D57ULL * c[2];
    c[0] = (uint32_t)(p1 >> 32) ^ c[1] ^ k0;
    c[2] = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
    c[1] = (uint32_t)p1;
    c[3] = (uint32_t)p0;
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return (double)c[index % 4] >= (double)p * 4294967296.0;
}

#ifdef __cplusplus
}
#endif
