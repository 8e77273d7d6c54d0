// Plan of a conversion from a GGUF file (architectures llama and qwen2).
#pragma once

#include "formats/convert_plan.h"

namespace evolora {

// Errors: as GgufFile::open; kUnsupported (architecture, tensor, rope scaling or tokenizer by name), kBadData (missing key or tensor, wrong shape).
Result<ConversionPlan> plan_gguf_conversion(FileSystem& files, const ConvertRequest& request);

}  // namespace evolora
