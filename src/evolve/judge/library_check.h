// What a compiled pack may be: code and constants. Looked at as bytes, before anything of it is loaded.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "kernels/pack/pack_target.h"

namespace evolora {

// Nothing if the bytes are a shared library for this machine that has nothing to keep from call to call and runs nothing when it is loaded: no
// writable data beyond what the compiler's own start files have, no thread-local data, no initialisers but theirs, no indirect functions, no
// executable stack, no section that is writable and executable. Else one line. A kernel's results depend on its arguments only, so an honest pack has
// no use for these; a cache of earlier results has. Packs for mlx are C++ with exceptions: they may have the one pointer in .data that g++ makes for
// these, if the dynamic linker fills it with the address of __gxx_personality_v0.
std::optional<std::string> library_problem(std::span<const std::byte> bytes, PackTarget target = PackTarget::kCpu);

}  // namespace evolora
