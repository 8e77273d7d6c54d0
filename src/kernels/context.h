// What every kernel gets besides its arguments: the threads to use and scratch memory that the plan has set aside.
#pragma once

#include <cstddef>

#include "base/check.h"
#include "base/threads.h"
#include "kernels/arithmetic.h"

namespace evolora {

// All kernels of the CPU: results depend only on the arguments and on nothing else (not on which worker ran what),
// and are the same for every run with the same thread count. Arrays are row-major fp32, 64-byte aligned unless a contract says otherwise.
struct KernelContext {
  Threads& threads;
  std::byte* workspace = nullptr;        // 64-byte aligned, contents undefined before and after a call
  std::size_t workspace_bytes = 0;       // at least what the kernel's *_workspace_bytes said for these shapes
  AppliedArithmetic* applied = nullptr;  // counts products with base weights; null: nobody asks
};

// Bytes rounded up to whole cache lines.
constexpr std::size_t align_up(std::size_t bytes, std::size_t alignment = 64) { return (bytes + alignment - 1) / alignment * alignment; }

}  // namespace evolora
