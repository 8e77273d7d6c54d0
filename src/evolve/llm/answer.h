// What a language model's answer says, taken out of the talk around it: tolerant of talk, strict about form. What is not there is kBadData with a
// message that starts with "no_edit: ".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.h"
#include "evolve/llm/source_edits.h"

namespace evolora {

// All blocks of the form
//   <<<<<<< SEARCH
//   lines
//   =======
//   lines
//   >>>>>>> REPLACE
// One that is cut off or malformed spoils the answer: half of what was meant may be worse than nothing.
Result<std::vector<SourceEdit>> edits_in_answer(std::string_view answer);

// The longest fenced block (``` or ~~~); if that one is not closed, it is cut off, and the answer is no good.
Result<std::string> code_in_answer(std::string_view answer);

// The object in a fenced block, or between the first '{' and the last '}'.
Result<nlohmann::ordered_json> object_in_answer(std::string_view answer);

}  // namespace evolora
