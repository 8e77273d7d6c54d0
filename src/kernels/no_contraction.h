// Include first in a file whose results must equal MLX's bit by bit: a product and a sum stay two rounded operations.
// GCC otherwise fuses even separate SIMD intrinsics where the target has FMA (-ffp-contract=fast is its GNU-mode default).
#pragma once

#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif
