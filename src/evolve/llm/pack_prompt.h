// What a language model is told about the task when it is to improve a kernel pack.
#pragma once

#include <string>

#include "evolve/fitness.h"
#include "kernels/pack/pack_folder.h"

namespace evolora {

// For PromptSettings::objective: what is computed, what is measured, what source may contain, and the header of the target as it is. Says nothing of
// the shapes, values and seeds that the judge uses.
std::string pack_objective(const PackManifest& manifest, Objective objective);

}  // namespace evolora
