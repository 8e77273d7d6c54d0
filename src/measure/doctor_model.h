// The part of `evolora doctor` that looks at a model, and the numerics self-tests.
#pragma once

#include <vector>

#include "measure/doctor.h"

namespace evolora {

// Layers by kind, slots, and one training step of the last block with the fast kernels against the reference kernels.
std::vector<Finding> diagnose_model(FileSystem& files, const std::string& model);

// Without a model: swiglu forward and backward of both kernel sets on the same random values.
Finding kernels_self_test();

}  // namespace evolora
