// tokenizer.json and its companions, rebuilt from the metadata of a GGUF file (byte-level BPE vocabularies).
#pragma once

#include <vector>

#include "formats/convert_plan.h"
#include "formats/gguf.h"

namespace evolora {

// tokenizer.json, tokenizer_config.json (with the chat template) and generation_config.json. Errors: kUnsupported naming the tokenizer model or
// pre-tokenizer that we cannot rebuild exactly; kBadData for a vocabulary or merges that contradict each other.
Result<std::vector<SmallFile>> gguf_tokenizer_files(const GgufFile& file);

}  // namespace evolora
