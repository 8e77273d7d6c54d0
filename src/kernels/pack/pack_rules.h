// What the source of a kernel pack may contain: arithmetic, and nothing that reaches outside it. A cheap first gate with clear words, not the
// wall: code that nobody read runs in a sandbox as well.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <string_view>

#include "base/result.h"
#include "kernels/pack/pack_target.h"

namespace evolora {

inline constexpr std::size_t kMaxPackFileBytes = 64 * 1024;

// What a pack may include, as it is written after #include.
const std::set<std::string_view>& pack_headers(PackTarget target);

// kBadData "NAME:LINE: what, and what is allowed". Looks at tokens (source_lexer.h), so comments, literals and layout neither hide nor trigger
// anything. Allowed: #include of a fixed list of headers, #define without ##, #if and relatives, #pragma GCC unroll and ivdep; attributes of a fixed
// list; names that begin with two underscores of a fixed list; no asm, extern, exceptions, new, threads, nor names of the C library that leave the
// kernel (files, processes, clocks, memory, random numbers). For kMlx also none of MLX's functions that reach outside a graph: files, exported
// functions, compilation, evaluation, raw data, devices and streams, its allocator, random numbers.
Status check_pack_source(std::string_view source, const std::string& name, PackTarget target = PackTarget::kCpu);

}  // namespace evolora
