// Layout, canaries and copies.
#include "evolve/judge/shared_call.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "evolve/random.h"
#include "evolve/sandbox/worker_protocol.h"
#include "kernels/pack/evolora_pack.h"

namespace evolora {
namespace {

constexpr std::size_t kFloatAlignment = 64;  // kernels/context.h promises it
constexpr std::size_t kCanaryBytes = 64;     // at least so many before an output
constexpr std::byte kCanary{0xC5};
// The largest workspace that a kernel may ask for: the program's own takes below 2 MiB for these shapes.
constexpr std::uint64_t kWorkspaceLimitBytes = std::uint64_t{256} << 20;

std::int32_t pack_dtype(DType dtype) { return dtype == DType::kF32 ? EVOLORA_F32 : dtype == DType::kF16 ? EVOLORA_F16 : EVOLORA_BF16; }

}  // namespace

Result<SharedCall> SharedCall::create(std::size_t input_bytes, std::size_t output_bytes, std::uint64_t layout) {
  return SharedCall(TRY(SharedMemory::create(input_bytes + kWorkerHeaderBytes, output_bytes + kWorkerPageBytes)), layout);
}

// Whole lines, so that alignment stays what it is.
std::size_t SharedCall::slack_bytes() const {
  if (layout_ == 0) return 0;
  return kFloatAlignment * Random(layout_, input_fences_.size() + output_fences_.size()).below(kWorkerPageBytes / kFloatAlignment);
}

// [slot_begin: at least 64 bytes | array | less than `alignment` bytes | slack: slot_end][page that nobody may touch]
std::optional<SharedCall::Array> SharedCall::take(std::size_t bytes, std::size_t alignment, bool is_output) {
  std::size_t& next = is_output ? next_output_ : next_input_;
  const std::size_t limit = is_output ? memory_.output_bytes() : memory_.input_bytes();
  const std::size_t slack = slack_bytes();
  const std::size_t slot = worker_pages((bytes + alignment - 1) / alignment * alignment + slack + kCanaryBytes);
  if (slot + kWorkerPageBytes > limit || next > limit - slot - kWorkerPageBytes) {
    full_ = true;
    return std::nullopt;
  }
  Array array{.offset = 0, .bytes = bytes, .slot_begin = next, .slot_end = next + slot};
  array.offset = (array.slot_end - slack - bytes) / alignment * alignment;
  (is_output ? output_fences_ : input_fences_).push_back(array.slot_end);
  next = array.slot_end + kWorkerPageBytes;
  return array;
}

std::uint64_t SharedCall::input(const void* from, std::size_t bytes, std::size_t alignment) {
  if (from == nullptr || bytes == 0) return kWorkerNone;
  const auto array = take(bytes, alignment, false);
  if (!array.has_value()) return kWorkerNone;
  std::memcpy(memory_.inputs() + array->offset, from, bytes);
  input_arrays_.push_back({*array, from});
  return array->offset;
}

std::uint64_t SharedCall::output(const std::vector<float>& from, std::size_t projection, std::vector<float> LoraOutputs::Projection::*member) {
  if (from.empty()) return kWorkerNone;
  const auto array = take(from.size() * sizeof(float), kFloatAlignment, true);
  if (!array.has_value()) return kWorkerNone;
  std::fill(memory_.outputs() + array->slot_begin, memory_.outputs() + array->offset, kCanary);
  std::memcpy(memory_.outputs() + array->offset, from.data(), array->bytes);
  std::fill(memory_.outputs() + array->offset + array->bytes, memory_.outputs() + array->slot_end, kCanary);
  output_arrays_.push_back({*array, member, projection});
  return array->offset;
}

Status SharedCall::place(LoraDirection direction, const LoraProblem& problem, const LoraOutputs& outputs) {
  CHECK(problem.projections.size() <= static_cast<std::size_t>(kWorkerMaxProjections));
  const bool forward = direction == LoraDirection::kForward;
  input_arrays_.clear();
  output_arrays_.clear();
  input_fences_.clear();
  output_fences_.clear();
  next_input_ = kWorkerHeaderBytes;
  next_output_ = 0;
  full_ = false;
  const auto floats = [&](const std::vector<float>& from) { return input(from.data(), from.size() * sizeof(float), kFloatAlignment); };
  const auto bytes = [&](const std::vector<std::byte>& from) { return input(from.data(), from.size(), 1); };

  WorkerCall call;
  call.kernel = static_cast<std::uint32_t>(forward ? WorkerKernel::kForward : WorkerKernel::kBackward);
  call.projection_count = static_cast<std::uint32_t>(problem.projections.size());
  call.n = problem.shape.n;
  call.workspace_limit_bytes = kWorkspaceLimitBytes;
  call.x = floats(problem.x);
  if (!forward) call.dx = output(outputs.dx, 0, nullptr);
  for (std::size_t i = 0; i < problem.projections.size(); ++i) {
    const ProblemProjection& shape = problem.shape.projections[i];
    const LoraProblem::Projection& in = problem.projections[i];
    const LoraOutputs::Projection& out = outputs.projections[i];
    WorkerProjection& to = call.projections[i];
    to.weight = {.out = shape.out,
                 .in = problem.shape.in,
                 .bits = problem.shape.bits,
                 .group_size = problem.shape.group_size,
                 .dtype = pack_dtype(problem.shape.dtype)};
    to.weight.data = bytes(in.data);
    if (problem.shape.bits != 0) {
      to.weight.scales = bytes(in.scales);
      to.weight.biases = bytes(in.biases);
    }
    if (shape.bias) to.bias = floats(in.bias);
    if (forward) {
      to.y = output(out.y, i, &LoraOutputs::Projection::y);
    } else {
      to.dy = floats(in.dy);
    }
    if (shape.rank == 0) continue;
    to.rank = shape.rank;
    to.scale = in.scale;
    to.dropout = shape.dropout;
    to.dropout_key = in.dropout_key;
    to.a = floats(in.a);
    to.b = floats(in.b);
    // Backward reads xa; in the interface it is not const, so it lies with the outputs.
    to.xa = output(forward ? out.xa : in.xa, i, &LoraOutputs::Projection::xa);
    if (forward) continue;
    to.da = output(out.da, i, &LoraOutputs::Projection::da);
    to.db = output(out.db, i, &LoraOutputs::Projection::db);
  }
  const std::size_t fences = input_fences_.size() + output_fences_.size();
  if (full_ || fences > static_cast<std::size_t>(kWorkerMaxFences)) {
    return Error{ErrorCode::kTooLarge,
                 fmt::format("{}: does not fit the {} bytes shared with a worker", problem.shape.name(), memory_.input_bytes())};
  }
  call.workspace_slack_bytes = slack_bytes();
  for (const std::uint64_t offset : input_fences_) call.fences[call.fence_count++] = {.offset = offset, .output = 0};
  for (const std::uint64_t offset : output_fences_) call.fences[call.fence_count++] = {.offset = offset, .output = 1};
  std::memcpy(memory_.inputs(), &call, sizeof call);
  return {};
}

std::optional<std::string> SharedCall::violation(const LoraProblem& problem) const {
  for (const InputArray& in : input_arrays_) {
    if (std::memcmp(memory_.inputs() + in.array.offset, in.from, in.array.bytes) != 0) return "it changed its inputs";
  }
  const auto intact = [&](std::uint64_t begin, std::uint64_t end) {
    return std::all_of(memory_.outputs() + begin, memory_.outputs() + end, [](std::byte b) { return b == kCanary; });
  };
  for (const OutputArray& out : output_arrays_) {
    if (!intact(out.array.slot_begin, out.array.offset)) return "it wrote before the begin of an output";
    if (!intact(out.array.offset + out.array.bytes, out.array.slot_end)) return "it wrote past the end of an output";
  }
  const bool backward = std::any_of(output_arrays_.begin(), output_arrays_.end(), [](const OutputArray& out) { return out.member == nullptr; });
  for (const OutputArray& out : output_arrays_) {
    if (!backward || out.member != &LoraOutputs::Projection::xa) continue;
    if (std::memcmp(memory_.outputs() + out.array.offset, problem.projections[out.projection].xa.data(), out.array.bytes) != 0) {
      return "backward changed its input xa";
    }
  }
  return std::nullopt;
}

void SharedCall::fetch(LoraOutputs& outputs) const {
  for (const OutputArray& out : output_arrays_) {
    std::vector<float>& to = out.member == nullptr ? outputs.dx : outputs.projections[out.projection].*out.member;
    CHECK(to.size() * sizeof(float) == out.array.bytes);
    std::memcpy(to.data(), memory_.outputs() + out.array.offset, out.array.bytes);
  }
}

}  // namespace evolora
