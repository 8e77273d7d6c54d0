// What a judge and the worker of packs on MLX say to each other, beside worker_protocol.h: the same pipes, files and answers, another call. The call
// is a chain of linears, each of which has the one before it as input, with the gradient of the last one's output.
#pragma once

#include <cstdint>

#include "evolve/sandbox/worker_protocol.h"

namespace evolora {

inline constexpr int kMlxWorkerMaxLinears = 8;

// argv: program, library, bytes of the input file, bytes of the output file, "strict" or "trusted".

enum class MlxWorkerCommand : std::uint32_t {
  kPlace = 1,    // make arrays of the inputs in the header
  kPrepare = 2,  // let the pack prepare what it wants of the weights, and give freed memory back
  kRun = 3,      // y and all gradients, copied to the output file
};

// WorkerRequest::threads of kPlace: how memory is allocated until the next.
inline constexpr std::uint32_t kMlxPlainMemory = 1;    // as the C library does
inline constexpr std::uint32_t kMlxCountedMemory = 2;  // what is freed is not resident any more, so that the process's high-water mark is the arrays'

// Offsets are bytes into the input file; of dx, y, da, db and dm into the output file, where all is fp32.
struct MlxWorkerLinear {
  std::int64_t out = 0, in = 0, rank = 0;
  std::int32_t bits = 0, group_size = 0;
  std::uint64_t values = kWorkerNone, scales = kWorkerNone, biases = kWorkerNone, bias = kWorkerNone;
  std::uint64_t a = kWorkerNone, b = kWorkerNone, m = kWorkerNone;
  std::uint64_t da = kWorkerNone, db = kWorkerNone, dm = kWorkerNone;
  float scale = 0, reserved = 0;
};
struct MlxWorkerCall {
  std::uint32_t linear_count = 0;
  std::uint32_t dtype = 0;  // of evolora_pack.h's enum: of x, dy, dense values, scales, biases and bias
  std::uint32_t dora = 0;
  std::uint32_t reserved = 0;
  std::int64_t n = 0;
  std::uint64_t x = kWorkerNone, dy = kWorkerNone, y = kWorkerNone, dx = kWorkerNone;
  MlxWorkerLinear linears[kMlxWorkerMaxLinears];
};
static_assert(sizeof(MlxWorkerCall) <= kWorkerHeaderBytes);

}  // namespace evolora
