// Plan of a conversion from a model folder: Hugging Face (dense safetensors) or MLX (dense or affine-quantized).
#pragma once

#include "formats/convert_plan.h"

namespace evolora {

// Errors: as MlxFolder::open; kUnsupported naming the architecture or a tensor that is neither float nor an affine-quantized module.
Result<ConversionPlan> plan_folder_conversion(FileSystem& files, const ConvertRequest& request);

}  // namespace evolora
