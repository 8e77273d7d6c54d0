// How much arithmetic a step needs, counted, and how long it will take, estimated.
#pragma once

#include "data/batch.h"
#include "engine/recipe.h"
#include "model/adapter.h"
#include "model/weights.h"

namespace evolora {

// Floating point operations, a multiply-add counting as two.
struct StepCost {
  double necessary =
      0;  // what every exact step with a frozen base does: 4 operations per weight and token (shared ones once), attention, adapters, head
  double recomputed = 0;       // again, because it was not saved
  double attention = 0;        // the part of both that is attention
  double decoded_weights = 0;  // weights decoded from their stored form, each time they are
  double lowered_forward = 0;  // the part of both that is products with base weights in bf16 or int8
  double lowered_backward = 0;
  double lowered_head = 0;  // of both directions of the head, in bf16
  double moved_bytes = 0;   // by elementwise passes and by storing and restoring activations

  StepCost& operator+=(const StepCost& other);
};

// One pass over a batch (not split further). training false: its loss only. prefix_loaded: hidden states below the first adapter come from the cache.
StepCost cost_of_pass(const ModelWeights& weights, const AdapterSet& adapters, const Recipe& recipe, const Batch& batch, bool training,
                      bool prefix_loaded);

// Seconds with this recipe on a machine whose fused multiply-add peak is peak_flops (operations per second, all threads).
double predicted_seconds(const StepCost& cost, const Recipe& recipe, double peak_flops);

}  // namespace evolora
