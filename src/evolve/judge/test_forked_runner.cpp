// fork, dlopen in the child, one 64-bit word per request and reply, arrays in memory that both map.
#include "evolve/judge/test_forked_runner.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

#include "base/check.h"
#include "kernels/pack/evolora_pack.h"

namespace evolora::testing_support {
namespace {

constexpr std::size_t kMemoryBytes = std::size_t{64} << 20;
constexpr std::size_t kGuard = 16;  // floats on either side of an output
constexpr float kCanary = -987654.0F;

// The call, at the beginning of the memory: pointers are the same in both processes.
struct Call {
  int forward;
  int threads;
  evolora_lora_linear_forward_args forward_args;
  evolora_lora_linear_backward_args backward_args;
  evolora_projection projections[4];
};

class Layout {
 public:
  explicit Layout(std::byte* memory) : next_(memory + sizeof(Call)), end_(memory + kMemoryBytes) {}
  void* take(std::size_t bytes, std::size_t shift = 0) {
    std::byte* at = next_ + (64 - reinterpret_cast<std::uintptr_t>(next_) % 64) % 64 + shift;
    next_ = at + bytes;
    CHECK(next_ <= end_);
    return at;
  }
  template <typename T>
  T* copy(const std::vector<T>& values, std::size_t shift = 0) {
    void* at = take(values.size() * sizeof(T), shift);
    if (!values.empty()) std::memcpy(at, values.data(), values.size() * sizeof(T));
    return static_cast<T*>(at);
  }
  float* output(const std::vector<float>& values) {
    float* at = static_cast<float*>(take((values.size() + 2 * kGuard) * sizeof(float)));
    for (std::size_t i = 0; i < kGuard; ++i) at[i] = at[kGuard + values.size() + i] = kCanary;
    if (!values.empty()) std::memcpy(at + kGuard, values.data(), values.size() * sizeof(float));
    outputs_.emplace_back(at + kGuard, values.size());
    return at + kGuard;
  }
  bool canaries_live() const {
    for (const auto& [at, size] : outputs_) {
      for (std::size_t i = 0; i < kGuard; ++i) {
        if (at[-1 - static_cast<std::ptrdiff_t>(i)] != kCanary || at[size + i] != kCanary) return false;
      }
    }
    return true;
  }

 private:
  std::byte* next_;
  std::byte* end_;
  std::vector<std::pair<float*, std::size_t>> outputs_;
};

void fetch(const float* from, std::vector<float>& to) {
  if (!to.empty() && from != nullptr) std::memcpy(to.data(), from, to.size() * sizeof(float));
}

void for_each(void* pool, std::size_t n, void (*body)(void*, std::size_t, int), void* arg) {
  const int threads = *static_cast<int*>(pool);
  std::atomic<std::size_t> next = 0;
  const auto work = [&](int worker) {
    for (std::size_t i = next++; i < n; i = next++) body(arg, i, worker);
  };
  std::vector<std::thread> others;
  for (int worker = 1; worker < threads; ++worker) others.emplace_back(work, worker);
  work(0);
  for (std::thread& other : others) other.join();
}

// In the child: a workspace with a page behind it that must not be touched, then the kernel.
template <typename Args>
void call(const Args& args, int threads, void (*kernel)(const Args*, evolora_context*), std::size_t (*workspace)(const Args*, int)) {
  const std::size_t bytes = (workspace(&args, threads) + 63) / 64 * 64;
  const std::size_t pages = (bytes + 4095) / 4096 * 4096;
  if (pages > kMemoryBytes) ::raise(SIGKILL);
  auto* base = static_cast<std::byte*>(::mmap(nullptr, pages + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ::mprotect(base + pages, 4096, PROT_NONE);
  auto* begin = reinterpret_cast<unsigned char*>(base + pages - bytes);
  for (std::size_t i = 0; i < bytes / sizeof(float); ++i) reinterpret_cast<float*>(begin)[i] = std::numeric_limits<float>::quiet_NaN();
  evolora_context context = {threads, 0, begin, bytes, &threads, for_each};
  kernel(&args, &context);
  ::munmap(base, pages + 4096);
}

[[noreturn]] void serve(const std::string& library, std::byte* memory, int requests, int replies) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  const auto find = [&]<typename F>(F*& function, const char* name) {
    function = handle == nullptr ? nullptr : reinterpret_cast<F*>(dlsym(handle, name));
  };
  decltype(&evolora_lora_linear_forward) forward = nullptr;
  decltype(&evolora_lora_linear_forward_workspace_bytes) forward_bytes = nullptr;
  decltype(&evolora_lora_linear_backward) backward = nullptr;
  decltype(&evolora_lora_linear_backward_workspace_bytes) backward_bytes = nullptr;
  find(forward, "evolora_lora_linear_forward");
  find(forward_bytes, "evolora_lora_linear_forward_workspace_bytes");
  find(backward, "evolora_lora_linear_backward");
  find(backward_bytes, "evolora_lora_linear_backward_workspace_bytes");
  const std::uint64_t functions =
      (forward != nullptr && forward_bytes != nullptr ? 1U : 0U) | (backward != nullptr && backward_bytes != nullptr ? 2U : 0U);
  std::uint64_t word = functions;
  while (::write(replies, &word, sizeof word) == sizeof word && ::read(requests, &word, sizeof word) == sizeof word) {
    const Call& next = *reinterpret_cast<const Call*>(memory);
    if (next.forward != 0) {
      call(next.forward_args, next.threads, forward, forward_bytes);
    } else {
      call(next.backward_args, next.threads, backward, backward_bytes);
    }
  }
  ::_exit(0);
}

}  // namespace

Result<std::unique_ptr<ForkedRunner>> ForkedRunner::start(const std::string& library, double call_seconds) {
  std::unique_ptr<ForkedRunner> runner(new ForkedRunner);
  runner->call_seconds_ = call_seconds;
  void* memory = ::mmap(nullptr, kMemoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  runner->memory_ = static_cast<std::byte*>(memory);
  std::array<int, 2> requests{}, replies{};
  CHECK(::pipe(requests.data()) == 0 && ::pipe(replies.data()) == 0);
  const pid_t pid = ::fork();
  CHECK(pid >= 0);
  if (pid == 0) serve(library, runner->memory_, requests[0], replies[1]);
  ::close(requests[0]);
  ::close(replies[1]);
  runner->pid_ = pid;
  runner->requests_ = requests[1];
  runner->replies_ = replies[0];
  pollfd waiting{runner->replies_, POLLIN, 0};
  const bool answered = ::poll(&waiting, 1, static_cast<int>(call_seconds * 1000)) == 1 &&
                        ::read(runner->replies_, &runner->functions_, sizeof runner->functions_) == sizeof runner->functions_;
  if (!answered || runner->functions_ == 0) return Error{ErrorCode::kBadData, "the library does not load or has no kernel"};
  return runner;
}

ForkedRunner::~ForkedRunner() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  for (const int fd : {requests_, replies_}) {
    if (fd >= 0) ::close(fd);
  }
  if (memory_ != nullptr) ::munmap(memory_, kMemoryBytes);
}

Status ForkedRunner::exchange(std::uint64_t request, std::uint64_t& reply) {
  if (ended_) return Error{ErrorCode::kBadData, "it has ended before"};
  ended_ = true;
  if (::write(requests_, &request, sizeof request) != sizeof request) return Error{ErrorCode::kBadData, "it has ended"};
  pollfd waiting{replies_, POLLIN, 0};
  if (::poll(&waiting, 1, static_cast<int>(call_seconds_ * 1000)) != 1) return Error{ErrorCode::kBadData, "the time for one call is over"};
  if (::read(replies_, &reply, sizeof reply) != sizeof reply) return Error{ErrorCode::kBadData, "the process ended"};
  ended_ = false;
  return {};
}

Status ForkedRunner::run(LoraDirection direction, LoraProblem& problem, int threads, LoraOutputs& outputs) {
  Call& next = *reinterpret_cast<Call*>(memory_);
  next = {};
  next.forward = direction == LoraDirection::kForward ? 1 : 0;
  next.threads = threads;
  Layout layout(memory_);
  const std::vector<LoraProjection> bound = direction == LoraDirection::kForward ? bind_forward(problem, outputs) : bind_backward(problem, outputs);
  CHECK(bound.size() <= std::size(next.projections));
  const std::int64_t n = problem.shape.n;
  const float* x = layout.copy(problem.x);
  float* dx = layout.output(outputs.dx);
  for (std::size_t i = 0; i < bound.size(); ++i) {
    const LoraProblem::Projection& in = problem.projections[i];
    LoraOutputs::Projection& out = outputs.projections[i];
    const LoraProjection& p = bound[i];
    evolora_projection& to = next.projections[i];
    to.weight = {p.weight.out,
                 p.weight.in,
                 p.weight.bits,
                 p.weight.group_size,
                 p.weight.dtype == DType::kF32   ? EVOLORA_F32
                 : p.weight.dtype == DType::kF16 ? EVOLORA_F16
                                                 : EVOLORA_BF16,
                 0,
                 nullptr,
                 nullptr,
                 nullptr};
    const auto bytes = [&](const std::vector<std::byte>& from) { return reinterpret_cast<const std::uint8_t*>(layout.copy(from, 1)); };
    to.weight.data = bytes(in.data);
    if (p.weight.quantized()) to.weight.scales = bytes(in.scales), to.weight.biases = bytes(in.biases);
    if (p.bias != nullptr) to.bias = layout.copy(in.bias);
    to.dy = layout.copy(in.dy);
    to.y = layout.output(out.y);
    if (p.rank == 0) continue;
    to.a = layout.copy(in.a);
    to.b = layout.copy(in.b);
    to.rank = p.rank;
    to.scale = p.scale;
    to.dropout = p.dropout;
    to.dropout_key = p.dropout_key;
    to.xa = direction == LoraDirection::kForward ? layout.output(out.xa) : layout.copy(in.xa);
    to.da = layout.output(out.da);
    to.db = layout.output(out.db);
  }
  next.forward_args = {x, n, next.projections, static_cast<std::int64_t>(bound.size())};
  next.backward_args = {x, n, next.projections, static_cast<std::int64_t>(bound.size()), dx};
  std::uint64_t reply = 0;
  const Status status = exchange(++number_, reply);
  if (!status.ok()) return status;
  if (reply != number_) return Error{ErrorCode::kBadData, "the reply does not fit the request"};
  if (!layout.canaries_live()) return Error{ErrorCode::kBadData, "it wrote outside its outputs"};
  if (std::memcmp(x, problem.x.data(), problem.x.size() * sizeof(float)) != 0) return Error{ErrorCode::kBadData, "it changed its input x"};
  for (std::size_t i = 0; i < bound.size(); ++i) {
    const evolora_projection& from = next.projections[i];
    if (std::memcmp(from.weight.data, problem.projections[i].data.data(), problem.projections[i].data.size()) != 0) {
      return Error{ErrorCode::kBadData, "it changed a weight"};
    }
    LoraOutputs::Projection& out = outputs.projections[i];
    fetch(from.y, out.y);
    fetch(from.da, out.da);
    fetch(from.db, out.db);
    if (direction == LoraDirection::kForward) fetch(from.xa, out.xa);
  }
  fetch(dx, outputs.dx);
  return {};
}

}  // namespace evolora::testing_support
