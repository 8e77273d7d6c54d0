// Records -> tokenised samples: token ids and which of them are learned.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/records.h"
#include "text/tokenizer.h"

namespace evolora {

enum class Semantics { kNative, kCompatMlxLm };

// tokens[i] for i >= 1 is a training target iff supervised[i] (0 or 1). supervised[0] is always 0: nothing predicts the first token.
struct Sample {
  std::vector<std::int32_t> tokens;
  std::vector<std::uint8_t> supervised;  // same length
  std::int64_t offset = 0;               // mlx-lm's prompt length (0 without mask_prompt): compat batches compute their mask from it
  std::size_t line = 0;
  std::int64_t id = -1;            // names the sample wherever it comes again in a run; -1: nothing is remembered of it
  std::size_t top_level_keys = 0;  // of its record: mlx-lm's sort key (contract 1.2)
};

struct SampleOptions {
  Semantics semantics = Semantics::kNative;
  bool mask_prompt = false;            // native: all assistant turns are learned; compat: only the last message
  std::int64_t max_seq_length = 2048;  // longer samples are cut on the right
  FeatureNames names;
};

struct SampleSet {
  std::vector<Sample> samples;
  std::size_t truncated = 0;                    // cut to max_seq_length
  std::size_t longest_tokens = 0;               // before cutting
  std::size_t without_supervision = 0;          // native: dropped, with a warning to the user; nothing in them could be learned
  std::vector<std::size_t> unsupervised_lines;  // their lines
};

// Tokenises as mlx-lm does (contract 1.2). Errors "path:line: what", kBadData. If every sample lacks supervision: kBadData.
// In compat semantics samples are not cut here (the batcher cuts), and none is dropped.
Result<SampleSet> make_samples(const RecordFile& file, const Tokenizer& tokenizer, const SampleOptions& options);

}  // namespace evolora
