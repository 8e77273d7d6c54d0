// What a judge and its pack worker say to each other: fixed-size messages of plain numbers over two pipes, arrays in two shared memory files. Both
// sides are of one build. The worker's half may be taken over by a candidate at any time, so nothing that it says is believed: replies carry a number
// to match with the request, and results exist only as bytes that the judge poisoned before and compares after.
#pragma once

#include <cstdint>

namespace evolora {

// Descriptor numbers that the worker is born with.
inline constexpr int kWorkerRequests = 3;  // read end
inline constexpr int kWorkerReplies = 4;   // write end
inline constexpr int kWorkerInputs = 5;    // memory file, open for reading only
inline constexpr int kWorkerOutputs = 6;   // memory file
inline constexpr int kWorkerFilters = 7;   // memory file: two lengths (uint64), then the filters kWorkerLoading and kWorkerServing

inline constexpr int kWorkerMaxThreads = 64;
inline constexpr int kWorkerMaxProjections = 8;
inline constexpr int kWorkerMaxFences = 128;
inline constexpr std::uint64_t kWorkerNone = ~std::uint64_t{0};  // an offset: null

// argv: program, library, threads, bytes of the input file, bytes of the output file, "strict" or "trusted" (no filters: the program's own kernels).

enum class WorkerCommand : std::uint32_t {
  kPrepare = 1,  // set fences, make a workspace for the call in the header of the input file, poison it
  kRun = 2,      // run the prepared call
  kNothing = 3,  // only answer
};

struct WorkerRequest {
  std::uint32_t command = 0;
  std::uint32_t threads = 1;
  std::uint64_t nonce = 0;
};

enum class WorkerStatus : std::uint32_t {
  kDone = 1,
  kCannotLoad = 2,       // before any request: text is the loader's
  kNoFunction = 3,       // the library has no kernel for this call
  kWorkspaceTooBig = 4,  // asked for more than the limit
  kThrew = 5,            // of a pack on MLX: text is MLX's, or says what is wrong with a result's shape
};

struct WorkerReply {
  std::uint32_t status = 0;
  std::uint32_t functions = 0;  // before any request: 1 forward, 2 backward
  std::uint64_t nonce = 0;
  char text[240] = {};
};

// At the beginning of the input file. Offsets are bytes into the input file, except those of xa, y, da, db and dx: into the output file.
struct WorkerWeight {
  std::int64_t out = 0, in = 0;
  std::int32_t bits = 0, group_size = 0, dtype = 0, reserved = 0;  // dtype: of evolora_pack.h
  std::uint64_t data = kWorkerNone, scales = kWorkerNone, biases = kWorkerNone;
};
struct WorkerProjection {
  WorkerWeight weight;
  std::uint64_t bias = kWorkerNone, a = kWorkerNone, b = kWorkerNone, dy = kWorkerNone;
  std::uint64_t xa = kWorkerNone, y = kWorkerNone, da = kWorkerNone, db = kWorkerNone;
  std::int64_t rank = 0;
  std::uint64_t dropout_key = 0;
  float scale = 0, dropout = 0;
};
enum class WorkerKernel : std::uint32_t { kForward = 1, kBackward = 2 };
struct WorkerFence {
  std::uint64_t offset = 0;  // of one page that must not be touched
  std::uint32_t output = 0;  // 1: of the output file
  std::uint32_t reserved = 0;
};
struct WorkerCall {
  std::uint32_t kernel = 0;
  std::uint32_t projection_count = 0;
  std::uint32_t fence_count = 0;
  std::uint32_t reserved = 0;
  std::int64_t n = 0;
  std::uint64_t x = kWorkerNone, dx = kWorkerNone;
  std::uint64_t workspace_limit_bytes = 0;
  std::uint64_t workspace_slack_bytes = 0;  // between the workspace and the page behind it: whole lines, less than a page
  WorkerProjection projections[kWorkerMaxProjections];
  WorkerFence fences[kWorkerMaxFences];
};

inline constexpr std::uint64_t kWorkerPageBytes = 4096;
// Bytes up to whole pages.
constexpr std::uint64_t worker_pages(std::uint64_t bytes) { return (bytes + kWorkerPageBytes - 1) / kWorkerPageBytes * kWorkerPageBytes; }
inline constexpr std::uint64_t kWorkerHeaderBytes = 4 * kWorkerPageBytes;
static_assert(sizeof(WorkerCall) <= kWorkerHeaderBytes);

}  // namespace evolora
