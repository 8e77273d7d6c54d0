// Layout of the shared files, and the high-water mark of the worker as the kernel counts it.
#include "evolve/judge/mlx/mlx_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "evolve/sandbox/mlx_worker_protocol.h"
#include "kernels/pack/pack_compiler.h"

namespace evolora {
namespace {

constexpr std::size_t kAlignment = 64;

std::uint32_t dtype_number(DType dtype) { return dtype == DType::kF32 ? 0 : dtype == DType::kF16 ? 1 : 2; }

// Arrays one behind the other; what does not fit is remembered.
class Layout {
 public:
  Layout(std::byte* memory, std::size_t bytes, std::size_t begin) : memory_(memory), bytes_(bytes), next_(begin) {}

  std::uint64_t add(const void* from, std::size_t bytes) {
    if (bytes == 0) return kWorkerNone;
    const std::size_t at = (next_ + kAlignment - 1) / kAlignment * kAlignment;
    if (at > bytes_ || bytes > bytes_ - at) {
      full_ = true;
      return kWorkerNone;
    }
    std::memcpy(memory_ + at, from, bytes);
    next_ = at + bytes;
    return at;
  }
  template <typename T>
  std::uint64_t add(const std::vector<T>& from) {
    return add(from.data(), from.size() * sizeof(T));
  }
  bool full() const { return full_; }

 private:
  std::byte* memory_;
  std::size_t bytes_, next_;
  bool full_ = false;
};

}  // namespace

Status add_mlx(SandboxRequest& request) {
  const fs::path mlx = TRY(mlx_folder_of_packs());
  request.mounts.push_back({mlx / "lib"});
  // What the wheel brings along for its library, where that looks for it.
  std::error_code ignored;
  if (const fs::path more = mlx.parent_path() / "mlx_cpu.libs"; fs::exists(more, ignored)) request.mounts.push_back({more});
  request.environment["LD_LIBRARY_PATH"] = (mlx / "lib").string();
  return {};
}

Result<std::unique_ptr<MlxRunner>> MlxRunner::start(const fs::path& library, const MlxRunnerOptions& options) {
  const fs::path worker = TRY(judging_file("evolora_mlx_pack_worker"));
  SharedMemory memory = TRY(SharedMemory::create(options.input_bytes + kWorkerHeaderBytes, options.output_bytes));
  SandboxRequest request;
  request.argv = {worker.string(), library.string(), std::to_string(memory.input_bytes()), std::to_string(memory.output_bytes()), "strict"};
  request.mounts = {{worker}, {library}};
  TRY(add_mlx(request));
  request.system_calls = SystemCalls::kWorkerStart;
  request.limits.cpu_seconds = 600;  // of all calls; one call is limited by call_seconds
  request.limits.file_bytes = 0;
  request.limits.tmp_bytes = 1 << 20;
  // Of addresses, not of memory: MLX and BLAS with their threads reserve about 1 GiB; the rest is for arrays of problems that take some ten MiB.
  request.limits.address_space_bytes = memory.input_bytes() + memory.output_bytes() + (std::size_t{4} << 30);
  WorkerConnection connection = TRY(WorkerConnection::start(request, options.isolation, memory, options.call_seconds));
  return std::unique_ptr<MlxRunner>(new MlxRunner(std::move(memory), std::move(connection)));
}

Status MlxRunner::place(const MlxProblem& problem, MlxOutputs& outputs) {
  const MlxProblemShape& shape = problem.shape;
  if (problem.linears.size() > kMlxWorkerMaxLinears) return Error{ErrorCode::kTooLarge, shape.name() + ": too many linears"};
  Layout in(memory_.inputs(), memory_.input_bytes(), kWorkerHeaderBytes);
  Layout out(memory_.outputs(), memory_.output_bytes(), 0);
  outputs_.clear();
  const auto result = [&](std::vector<float>& to) {
    const std::uint64_t offset = out.add(to);
    if (offset != kWorkerNone) outputs_.push_back({&to, offset});
    return offset;
  };
  MlxWorkerCall call;
  call.linear_count = static_cast<std::uint32_t>(problem.linears.size());
  call.dtype = dtype_number(shape.dtype);
  call.dora = shape.dora ? 1 : 0;
  call.n = shape.n;
  call.x = in.add(problem.x);
  call.dy = in.add(problem.dy);
  call.y = result(outputs.y);
  call.dx = result(outputs.dx);
  for (std::size_t i = 0; i < problem.linears.size(); ++i) {
    const MlxProblem::Linear& from = problem.linears[i];
    MlxOutputs::Linear& to = outputs.linears[i];
    call.linears[i] = {.out = from.out,
                       .in = from.in,
                       .rank = shape.rank,
                       .bits = shape.bits,
                       .group_size = shape.group_size,
                       .values = in.add(from.values),
                       .scales = in.add(from.scales),
                       .biases = in.add(from.biases),
                       .bias = in.add(from.bias),
                       .a = in.add(from.a),
                       .b = in.add(from.b),
                       .m = in.add(from.m),
                       .da = result(to.da),
                       .db = result(to.db),
                       .dm = result(to.dm),
                       .scale = from.scale};
  }
  if (in.full() || out.full()) {
    return Error{ErrorCode::kTooLarge, fmt::format("{}: does not fit the {} bytes shared with a worker", shape.name(), memory_.input_bytes())};
  }
  std::memcpy(memory_.inputs(), &call, sizeof call);
  return {};
}

Result<double> MlxRunner::exchange(std::uint32_t command, std::uint32_t argument) {
  const WorkerConnection::Answer answer = TRY(worker_.exchange(command, static_cast<int>(argument)));
  switch (static_cast<WorkerStatus>(answer.reply.status)) {
    case WorkerStatus::kDone: return answer.seconds;
    case WorkerStatus::kThrew: return worker_.ended(fmt::format("MLX: {}", answer.reply.text));
    default: return worker_.ended("it broke the protocol: an answer that does not exist");
  }
}

Result<MlxRun> MlxRunner::run(const MlxProblem& problem, MlxMeasure measure, MlxOutputs& outputs) {
  TRY(place(problem, outputs));
  const auto command = [](MlxWorkerCommand c) { return static_cast<std::uint32_t>(c); };
  TRY(exchange(command(MlxWorkerCommand::kPlace), measure == MlxMeasure::kMemory ? kMlxCountedMemory : kMlxPlainMemory));
  const std::size_t before = worker_.process().memory().resident_bytes;
  TRY(exchange(command(MlxWorkerCommand::kPrepare), 0));
  worker_.process().restart_peak_memory();
  MlxRun result;
  result.seconds = TRY(exchange(command(MlxWorkerCommand::kRun), 0));
  worker_.process().freeze();
  const std::size_t peak = worker_.process().memory().peak_bytes;
  for (const Output& output : outputs_) std::memcpy(output.to->data(), memory_.outputs() + output.offset, output.to->size() * sizeof(float));
  worker_.process().thaw();
  result.peak_bytes = peak > before ? peak - before : 0;
  return result;
}

}  // namespace evolora
