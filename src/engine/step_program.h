// The three whole programs over a batch: training (forward, loss, backward), loss only, and logits of chosen rows.
#pragma once

#include "engine/layer_program.h"
#include "engine/recipe.h"

namespace evolora {

// Rows of logits alive at a time: the recipe's, or as many as fit about 40 MB, in whole register tiles.
std::int64_t head_rows_per_chunk(const Recipe& recipe, const ModelSpec& spec);

// The segments of a training batch as attention wants them: queries and keys of the same range, or keys with the shared tokens before
// (shared_prefix.h).
std::vector<AttentionSegment> training_segments(const Batch& batch);

// Does this recipe keep common prefixes once? Not with dropout, whose masks differ from segment to segment.
bool shares_prefixes(const Recipe& recipe, const AdapterSet& adapters);

Program build_training_program(const ProgramInputs& inputs);
Program build_loss_program(const ProgramInputs& inputs);
// Logits of row_count rows (Bindings::logits_rows) to Bindings::logits.
Program build_logits_program(const ProgramInputs& inputs, std::int64_t row_count);

}  // namespace evolora
