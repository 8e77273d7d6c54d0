// What the engine trains on: real tokens only, rows concatenated. Padding never exists; a causal model with right padding computes the same without
// it.
#pragma once

#include <cstdint>
#include <vector>

namespace evolora {

// N input tokens in S segments (sequences that do not see each other), M supervised rows.
struct Batch {
  std::vector<std::int32_t> tokens;           // (N)
  std::vector<std::int32_t> positions;        // (N) rotary position: 0.. within each segment
  std::vector<std::int32_t> segment_starts;   // (S+1) first token of each segment, then N
  std::vector<std::int32_t> loss_rows;        // (M) ascending: rows whose next token is learned
  std::vector<std::int32_t> targets;          // (M) that next token
  std::vector<std::int64_t> segment_samples;  // (S) the sample of each segment, Sample::id; may be empty
  // The first so many tokens of segment 0 also begin all other segments, which have only what comes after them (positions go on from there).
  std::int32_t shared_tokens = 0;
  std::int64_t real_tokens = 0;  // tokens of the samples it came from, for tokens/s (no padding)

  std::int64_t token_count() const { return static_cast<std::int64_t>(tokens.size()); }
  std::int64_t segment_count() const { return static_cast<std::int64_t>(segment_starts.size()) - 1; }
  std::int64_t supervised_count() const { return static_cast<std::int64_t>(loss_rows.size()); }
  // Of segment s: tokens that come before its own, in segment 0; its own; and where its keys begin when every segment has all of its keys.
  std::int64_t tokens_before(std::int64_t s) const { return s == 0 ? 0 : shared_tokens; }
  std::int64_t own_tokens(std::int64_t s) const {
    return segment_starts[static_cast<std::size_t>(s) + 1] - segment_starts[static_cast<std::size_t>(s)];
  }
  std::int64_t key_start(std::int64_t s) const { return segment_starts[static_cast<std::size_t>(s)] + (s == 0 ? 0 : s - 1) * shared_tokens; }
  std::int64_t key_count() const { return token_count() + (segment_count() - 1) * shared_tokens; }
};

// A batch of mlx-lm before the engine's view of it: the padded id matrix and (offset, length) per row. For comparisons with mlx-lm.
struct PaddedBatch {
  std::int64_t rows = 0;
  std::int64_t width = 0;
  std::vector<std::int32_t> ids;      // (rows, width), zero padded
  std::vector<std::int64_t> offsets;  // (rows)
  std::vector<std::int64_t> lengths;  // (rows), after truncation
  std::vector<std::int64_t> samples;  // (rows) Sample::id
};

}  // namespace evolora
