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

// Nothing if this isolation is to be had here, else kDependency. Asked before anything is compiled: a compiler that cannot be sandboxed would be
// reported as a pack that does not compile.
Status check_isolation(Isolation isolation);

// The library of the pack in folder, compiled as candidates are: what they are timed against. Errors of check_isolation and build_pack.
Result<fs::path> build_baseline(FileSystem& files, const fs::path& folder, Isolation isolation, const std::atomic<bool>* stop);

}  // namespace evolora
