// memfd, seals and mappings.
#include "evolve/judge/shared_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/os_error.h"
#include "evolve/sandbox/worker_protocol.h"

namespace evolora {
namespace {

constexpr unsigned kSealFutureWrite = 0x10;  // F_SEAL_FUTURE_WRITE, Linux 5.1

Result<std::byte*> map_new_file(Descriptor& file, const char* name, std::size_t bytes) {
  file = TRY(make_memory_file(name));
  if (::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) return os_error(name, "size a file in memory", errno);
  void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (mapped == MAP_FAILED) return os_error(name, "map a file in memory", errno);
  // A worker that made the file shorter would end this process at its next access.
  if (::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) return os_error(name, "seal a file in memory", errno);
  return static_cast<std::byte*>(mapped);
}

}  // namespace

Result<SharedMemory> SharedMemory::create(std::size_t input_bytes, std::size_t output_bytes) {
  SharedMemory memory;
  memory.input_bytes_ = worker_pages(input_bytes);
  memory.output_bytes_ = worker_pages(output_bytes);
  memory.input_memory_ = TRY(map_new_file(memory.inputs_, "inputs", memory.input_bytes_));
  memory.output_memory_ = TRY(map_new_file(memory.outputs_, "outputs", memory.output_bytes_));
  // Whoever opens or maps the inputs from now on cannot write them; this process's mapping still can.
  (void)::fcntl(memory.inputs_.get(), F_ADD_SEALS, kSealFutureWrite);
  const std::string path = fmt::format("/proc/self/fd/{}", memory.inputs_.get());
  memory.worker_inputs_ = Descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!memory.worker_inputs_.valid()) return os_error(path, "open for reading", errno);
  return memory;
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : inputs_(std::move(other.inputs_)),
      worker_inputs_(std::move(other.worker_inputs_)),
      outputs_(std::move(other.outputs_)),
      input_memory_(std::exchange(other.input_memory_, nullptr)),
      output_memory_(std::exchange(other.output_memory_, nullptr)),
      input_bytes_(other.input_bytes_),
      output_bytes_(other.output_bytes_) {}

SharedMemory::~SharedMemory() {
  if (input_memory_ != nullptr) ::munmap(input_memory_, input_bytes_);
  if (output_memory_ != nullptr) ::munmap(output_memory_, output_bytes_);
}

}  // namespace evolora
