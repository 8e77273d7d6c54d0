// The compiler of kernel packs in a sandbox: it sees the system's own files and the folder it works in, and nothing else of the machine, so that no
// #include, however it is spelled, brings a file of the user's into a library or an error message.
#pragma once

#include <atomic>
#include <memory>

#include "evolve/sandbox/sandbox.h"
#include "kernels/pack/pack_compiler.h"

namespace evolora {

// stop: ends a compilation, as an outcome. Thread-safe, as PackCompiler is.
std::unique_ptr<PackCompiler> sandboxed_pack_compiler(Isolation isolation, const std::atomic<bool>* stop);

}  // namespace evolora
