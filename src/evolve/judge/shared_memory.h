// Memory that a judge shares with its worker: inputs, which the worker cannot write, and outputs.
#pragma once

#include <cstddef>

#include "base/result.h"
#include "evolve/sandbox/descriptor.h"

namespace evolora {

// Two nameless files, mapped here for reading and writing and sealed against changes of size. Pages count as used memory when they are touched first.
class SharedMemory {
 public:
  // Sizes are rounded up to pages. kIo.
  static Result<SharedMemory> create(std::size_t input_bytes, std::size_t output_bytes);
  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&&) = delete;
  ~SharedMemory();

  std::byte* inputs() const { return input_memory_; }
  std::byte* outputs() const { return output_memory_; }
  std::size_t input_bytes() const { return input_bytes_; }
  std::size_t output_bytes() const { return output_bytes_; }

  // Descriptors for the worker; that of the inputs is open for reading only.
  int worker_inputs() const { return worker_inputs_.get(); }
  int worker_outputs() const { return outputs_.get(); }

 private:
  SharedMemory() = default;
  Descriptor inputs_, worker_inputs_, outputs_;
  std::byte* input_memory_ = nullptr;
  std::byte* output_memory_ = nullptr;
  std::size_t input_bytes_ = 0;
  std::size_t output_bytes_ = 0;
};

}  // namespace evolora
