// The program's own lora_linear kernels behind the interface of a kernel pack: what candidates are timed against, in a worker like theirs. Threads
// are its own (oneTBB), as in the program, so it runs in a worker that trusts it.
#include <memory>
#include <vector>

#include "base/check.h"
#include "kernels/lora_linear/contract.h"
#include "kernels/pack/evolora_pack.h"

namespace evolora {
namespace {

DType dtype_of(std::int32_t dtype) {
  switch (dtype) {
    case EVOLORA_F32: return DType::kF32;
    case EVOLORA_F16: return DType::kF16;
    default: CHECK(dtype == EVOLORA_BF16); return DType::kBF16;
  }
}

std::vector<LoraProjection> projections_of(const evolora_projection* projections, std::int64_t count) {
  std::vector<LoraProjection> result;
  for (std::int64_t i = 0; i < count; ++i) {
    const evolora_projection& p = projections[i];
    LoraProjection to;
    to.weight = {.out = p.weight.out,
                 .in = p.weight.in,
                 .bits = p.weight.bits,
                 .group_size = p.weight.group_size,
                 .dtype = dtype_of(p.weight.dtype),
                 .data = reinterpret_cast<const std::byte*>(p.weight.data),
                 .scales = reinterpret_cast<const std::byte*>(p.weight.scales),
                 .biases = reinterpret_cast<const std::byte*>(p.weight.biases)};
    to.bias = p.bias;
    to.a = p.a;
    to.b = p.b;
    to.rank = p.rank;
    to.scale = p.scale;
    to.dropout = p.dropout;
    to.dropout_key = p.dropout_key;
    to.xa = p.xa;
    to.y = p.y;
    to.dy = p.dy;
    to.da = p.da;
    to.db = p.db;
    result.push_back(to);
  }
  return result;
}

// One pool for the thread count that is asked for; a worker asks for few different ones.
Threads& threads_of(int count) {
  static std::unique_ptr<Threads> threads;
  if (threads == nullptr || threads->count() != count) threads = std::make_unique<Threads>(count);
  return *threads;
}

KernelContext context_of(const evolora_context& context) {
  return {threads_of(context.threads), reinterpret_cast<std::byte*>(context.workspace), context.workspace_bytes};
}

}  // namespace
}  // namespace evolora

extern "C" {

int evolora_pack_abi() { return EVOLORA_PACK_ABI; }

void evolora_lora_linear_forward(const evolora_lora_linear_forward_args* args, evolora_context* context) {
  const auto projections = evolora::projections_of(args->projections, args->projection_count);
  evolora::KernelContext kernel_context = evolora::context_of(*context);
  evolora::cpu::lora_linear_forward({args->x, args->n, projections}, kernel_context);
}

size_t evolora_lora_linear_forward_workspace_bytes(const evolora_lora_linear_forward_args* args, int threads) {
  return evolora::cpu::lora_linear_forward_workspace_bytes({args->x, args->n, evolora::projections_of(args->projections, args->projection_count)},
                                                           threads);
}

void evolora_lora_linear_backward(const evolora_lora_linear_backward_args* args, evolora_context* context) {
  const auto projections = evolora::projections_of(args->projections, args->projection_count);
  evolora::KernelContext kernel_context = evolora::context_of(*context);
  evolora::cpu::lora_linear_backward({args->x, args->n, projections, args->dx}, kernel_context);
}

size_t evolora_lora_linear_backward_workspace_bytes(const evolora_lora_linear_backward_args* args, int threads) {
  return evolora::cpu::lora_linear_backward_workspace_bytes(
      {args->x, args->n, evolora::projections_of(args->projections, args->projection_count), args->dx}, threads);
}

}  // extern "C"
