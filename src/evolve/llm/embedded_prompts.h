// The files of src/evolve/llm/templates, embedded when the program is built (evolora_embed_prompts() in cmake/EvoloraTargets.cmake).
#pragma once

#include <string>

namespace evolora {

// name without ".md"; aborts for one that does not exist.
std::string embedded_prompt(const std::string& name);

}  // namespace evolora
