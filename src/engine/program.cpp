// Buffer placement and execution of step programs.
#include "engine/program.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/check.h"

namespace evolora {

alignas(64) float planning_dummy[16] = {};

namespace {

bool overlap_in_time(const Buffer& a, const Buffer& b) { return a.first_call <= b.last_call && b.first_call <= a.last_call; }

// Greedy by size: the largest buffer first, each at the lowest offset that is free during its whole life
// (Pisarchyk & Lee 2020, "Efficient memory management for deep neural net inference", arXiv 2001.03288, offset calculation).
std::size_t place_buffers(std::vector<Buffer>& buffers) {
  std::vector<std::size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return buffers[a].bytes > buffers[b].bytes; });
  std::vector<std::size_t> placed;  // sorted by offset
  std::size_t end = 0;
  for (const std::size_t index : order) {
    Buffer& buffer = buffers[index];
    std::size_t offset = 0;
    for (const std::size_t other_index : placed) {
      const Buffer& other = buffers[other_index];
      if (!overlap_in_time(buffer, other)) continue;
      if (offset + buffer.bytes <= other.offset) break;  // fits in the gap below it
      offset = std::max(offset, other.offset + other.bytes);
    }
    buffer.offset = offset;
    end = std::max(end, offset + buffer.bytes);
    const auto position =
        std::upper_bound(placed.begin(), placed.end(), offset, [&](std::size_t value, std::size_t i) { return value < buffers[i].offset; });
    placed.insert(position, index);
  }
  return end;
}

void fill_with_nan(std::byte* begin, std::size_t bytes) { std::memset(begin, 0xff, bytes); }

}  // namespace

BufferId ProgramBuilder::buffer(const char* name, std::size_t bytes) {
  program_.buffers_.push_back(Buffer{.name = name, .bytes = align_up(std::max<std::size_t>(bytes, 1)), .first_call = SIZE_MAX});
  return static_cast<BufferId>(program_.buffers_.size() - 1);
}

void ProgramBuilder::call(Slot slot, Pass pass, std::int64_t layer, std::vector<BufferId> buffers, std::size_t workspace_bytes, KernelCall run) {
  std::erase(buffers, kNoBuffer);
  Call call{.slot = slot, .pass = pass, .layer = layer, .buffers = std::move(buffers), .workspace = kNoBuffer, .run = std::move(run)};
  if (workspace_bytes > 0) {
    call.workspace = buffer("workspace", workspace_bytes);
    call.buffers.push_back(call.workspace);
  }
  const std::size_t index = program_.calls_.size();
  for (const BufferId id : call.buffers) {
    Buffer& used = program_.buffers_[id];
    used.first_call = std::min(used.first_call, index);
    used.last_call = index;
  }
  program_.calls_.push_back(std::move(call));
}

Program ProgramBuilder::finish() {
  for (const Buffer& buffer : program_.buffers_) CHECK(buffer.first_call != SIZE_MAX);  // a buffer nobody uses is a mistake in the program
  program_.arena_bytes_ = place_buffers(program_.buffers_);
  return std::move(program_);
}

std::size_t Program::run(const Bindings& bindings, Arena& arena, Threads& threads, CallCounts& counts, const RunOptions& options) const {
  CHECK(arena.capacity_bytes() >= arena_bytes_);
  const RunContext run_context(bindings, buffers_, arena.base());
  std::size_t high_water = 0;
  for (std::size_t i = 0; i < calls_.size(); ++i) {
    const Call& call = calls_[i];
    for (const BufferId id : call.buffers) {
      const Buffer& buffer = buffers_[id];
      high_water = std::max(high_water, buffer.offset + buffer.bytes);
      if (options.poison && buffer.first_call == i) fill_with_nan(arena.base() + buffer.offset, buffer.bytes);
    }
    KernelContext kernel_context{.threads = threads, .applied = &counts.arithmetic};
    if (call.workspace != kNoBuffer) {
      kernel_context.workspace = arena.base() + buffers_[call.workspace].offset;
      kernel_context.workspace_bytes = buffers_[call.workspace].bytes;
    }
    call.run(run_context, kernel_context);
    counts.add(call.slot, call.pass, call.layer);
  }
  return high_water;
}

}  // namespace evolora
