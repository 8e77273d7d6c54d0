// evolora_pack_worker: calls the functions of one kernel pack for a judge, in a sandbox. A program of its own, linked with nothing but the C library,
// so that there is little in its memory to take over and it starts in a millisecond. Protocol: src/evolve/sandbox/worker_protocol.h.
//
// It narrows itself before code of the pack can run: first its threads are started and the time stamp counter is switched off, then nothing more
// can be started or written, then the library is loaded, then nothing more can be opened. It reports no times and no results.
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "evolve/sandbox/worker_protocol.h"
#include "evolve/sandbox/worker_side.h"
#include "kernels/pack/evolora_pack.h"
#include "worker_pool.h"

namespace evolora {
namespace {

struct Functions {
  void (*forward)(const evolora_lora_linear_forward_args*, evolora_context*) = nullptr;
  std::size_t (*forward_bytes)(const evolora_lora_linear_forward_args*, int) = nullptr;
  void (*backward)(const evolora_lora_linear_backward_args*, evolora_context*) = nullptr;
  std::size_t (*backward_bytes)(const evolora_lora_linear_backward_args*, int) = nullptr;
};

template <typename Function>
void look_up(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
}

Functions load(const char* path, WorkerReply& reply) {
  Functions functions;
  void* library = ::dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    reply.status = static_cast<std::uint32_t>(WorkerStatus::kCannotLoad);
    const char* words = ::dlerror();
    std::snprintf(reply.text, sizeof reply.text, "%s", words == nullptr ? "" : words);
    return functions;
  }
  look_up(library, "evolora_lora_linear_forward", functions.forward);
  look_up(library, "evolora_lora_linear_forward_workspace_bytes", functions.forward_bytes);
  look_up(library, "evolora_lora_linear_backward", functions.backward);
  look_up(library, "evolora_lora_linear_backward_workspace_bytes", functions.backward_bytes);
  if (functions.forward != nullptr && functions.forward_bytes != nullptr) reply.functions |= 1;
  if (functions.backward != nullptr && functions.backward_bytes != nullptr) reply.functions |= 2;
  return functions;
}

class Worker {
 public:
  Worker(WorkerPool& pool, char* inputs, std::size_t input_bytes, char* outputs, std::size_t output_bytes)
      : pool_(pool), inputs_(inputs), input_bytes_(input_bytes), outputs_(outputs), output_bytes_(output_bytes) {}

  void set_functions(const Functions& functions) { functions_ = functions; }

  WorkerStatus prepare(int threads) {
    const auto& call = *reinterpret_cast<const WorkerCall*>(inputs_);
    if (call.fence_count > kWorkerMaxFences || call.projection_count > kWorkerMaxProjections || call.workspace_slack_bytes >= kWorkerPageBytes) {
      give_up_worker();
    }
    release_workspace();
    if (::mprotect(inputs_, input_bytes_, PROT_READ) != 0 || ::mprotect(outputs_, output_bytes_, PROT_READ | PROT_WRITE) != 0) give_up_worker();
    for (std::uint32_t i = 0; i < call.fence_count; ++i) {
      const WorkerFence& fence = call.fences[i];
      if (::mprotect((fence.output != 0 ? outputs_ : inputs_) + fence.offset, kWorkerPageBytes, PROT_NONE) != 0) give_up_worker();
    }
    bind(call);
    const bool forward = call.kernel == static_cast<std::uint32_t>(WorkerKernel::kForward);
    if (forward ? functions_.forward == nullptr || functions_.forward_bytes == nullptr
                : functions_.backward == nullptr || functions_.backward_bytes == nullptr) {
      return WorkerStatus::kNoFunction;
    }
    const std::size_t bytes = forward ? functions_.forward_bytes(&forward_, threads) : functions_.backward_bytes(&backward_, threads);
    if (bytes > call.workspace_limit_bytes) return WorkerStatus::kWorkspaceTooBig;
    make_workspace(bytes, call.workspace_slack_bytes);
    context_.threads = threads;
    context_.reserved = 0;
    context_.pool = &pool_;
    context_.for_each = &WorkerPool::for_each;
    return WorkerStatus::kDone;
  }

  void run() {
    const auto& call = *reinterpret_cast<const WorkerCall*>(inputs_);
    pool_.use(context_.threads);
    evolora_context context = context_;
    if (call.kernel == static_cast<std::uint32_t>(WorkerKernel::kForward)) {
      functions_.forward(&forward_, &context);
    } else {
      functions_.backward(&backward_, &context);
    }
  }

 private:
  template <typename T>
  T* input(std::uint64_t offset) const {
    return offset == kWorkerNone ? nullptr : reinterpret_cast<T*>(inputs_ + offset);
  }
  float* output(std::uint64_t offset) const { return offset == kWorkerNone ? nullptr : reinterpret_cast<float*>(outputs_ + offset); }

  void bind(const WorkerCall& call) {
    for (std::uint32_t i = 0; i < call.projection_count; ++i) {
      const WorkerProjection& from = call.projections[i];
      evolora_projection& to = projections_[i];
      to = {};
      to.weight = {from.weight.out,
                   from.weight.in,
                   from.weight.bits,
                   from.weight.group_size,
                   from.weight.dtype,
                   0,
                   input<const std::uint8_t>(from.weight.data),
                   input<const std::uint8_t>(from.weight.scales),
                   input<const std::uint8_t>(from.weight.biases)};
      to.bias = input<const float>(from.bias);
      to.a = input<const float>(from.a);
      to.b = input<const float>(from.b);
      to.dy = input<const float>(from.dy);
      to.rank = from.rank;
      to.scale = from.scale;
      to.dropout = from.dropout;
      to.dropout_key = from.dropout_key;
      to.xa = output(from.xa);
      to.y = output(from.y);
      to.da = output(from.da);
      to.db = output(from.db);
    }
    forward_ = {input<const float>(call.x), call.n, projections_, call.projection_count};
    backward_ = {input<const float>(call.x), call.n, projections_, call.projection_count, output(call.dx)};
  }

  // Ends at a page that must not be touched, as near as 64-byte alignment and the slack allow, and holds NaN.
  void make_workspace(std::size_t bytes, std::size_t slack) {
    const std::size_t rounded = (bytes + 63) / 64 * 64 + slack;
    const std::size_t pages = worker_pages(rounded);
    mapped_bytes_ = pages + 2 * kWorkerPageBytes;
    void* mapped = ::mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) give_up_worker();
    mapped_ = static_cast<char*>(mapped);
    std::memset(mapped_ + kWorkerPageBytes, 0xFF, pages);
    if (::mprotect(mapped_, kWorkerPageBytes, PROT_NONE) != 0) give_up_worker();
    if (::mprotect(mapped_ + kWorkerPageBytes + pages, kWorkerPageBytes, PROT_NONE) != 0) give_up_worker();
    context_.workspace = reinterpret_cast<unsigned char*>(mapped_ + kWorkerPageBytes + pages - rounded);
    context_.workspace_bytes = bytes;
  }
  void release_workspace() {
    if (mapped_ != nullptr) ::munmap(mapped_, mapped_bytes_);
    mapped_ = nullptr;
  }

  WorkerPool& pool_;
  char* inputs_;
  std::size_t input_bytes_;
  char* outputs_;
  std::size_t output_bytes_;
  Functions functions_;
  evolora_projection projections_[kWorkerMaxProjections] = {};
  evolora_lora_linear_forward_args forward_ = {};
  evolora_lora_linear_backward_args backward_ = {};
  evolora_context context_ = {};
  char* mapped_ = nullptr;
  std::size_t mapped_bytes_ = 0;
};

[[noreturn]] void serve(const char* library, int threads, std::size_t input_bytes, std::size_t output_bytes, bool strict) {
  WorkerFilters filters;
  if (strict) {
    filters = read_worker_filters();
    prepare_to_narrow();
  }
  static WorkerPool pool(threads);
  static Worker worker(pool, map_worker_file(kWorkerInputs, input_bytes, PROT_READ), input_bytes,
                       map_worker_file(kWorkerOutputs, output_bytes, PROT_READ | PROT_WRITE), output_bytes);
  if (strict) narrow_worker(filters.begin, filters.loading_bytes);
  WorkerReply hello;
  hello.status = static_cast<std::uint32_t>(WorkerStatus::kDone);
  worker.set_functions(load(library, hello));
  if (strict) narrow_worker(filters.begin + filters.loading_bytes, filters.serving_bytes);
  answer_requests(hello, [](const WorkerRequest& request, WorkerReply& reply) {
    switch (static_cast<WorkerCommand>(request.command)) {
      case WorkerCommand::kPrepare: reply.status = static_cast<std::uint32_t>(worker.prepare(static_cast<int>(request.threads))); break;
      case WorkerCommand::kRun: worker.run(); break;
      case WorkerCommand::kNothing: break;
      default: give_up_worker();
    }
  });
}

}  // namespace
}  // namespace evolora

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fputs("evolora_pack_worker: started by evolora, which judges kernel packs with it; not for use by hand\n", stderr);
    return 2;
  }
  const int threads = std::atoi(argv[2]);
  if (threads < 1 || threads > evolora::kWorkerMaxThreads) return 2;
  evolora::serve(argv[1], threads, std::strtoull(argv[3], nullptr, 10), std::strtoull(argv[4], nullptr, 10), std::strcmp(argv[5], "trusted") != 0);
}
