// Which of Highway's targets the linear kernels are not built for. Include before any Highway header.
// SVE and RVV vectors have no size at compile time, and a tile of accumulators is an array; processors with SVE take NEON.
// SSSE3 without SSE4 is no machine that anyone would train on.
#pragma once

#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_SSSE3)
