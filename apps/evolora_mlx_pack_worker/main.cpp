// evolora_mlx_pack_worker: calls one kernel pack for target mlx for a judge, in a sandbox. Protocol: src/evolve/sandbox/mlx_worker_protocol.h. It
// loads and calls the pack as the MLX engine does, with the same code.
//
// It narrows itself as evolora_pack_worker does. What is different: MLX is in its memory and has a thread, so that thread is started, and what MLX
// sets up at its first use is set up, before the pack is loaded; from then on MLX on a CPU needs memory and waiting only. It reports no times and no
// results.
#include <malloc.h>
#include <mlx/mlx.h>

#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <vector>

#include "evolve/sandbox/mlx_worker_protocol.h"
#include "evolve/sandbox/worker_side.h"
#include "reference/mlx_pack.h"

namespace evolora {
namespace {

using Arrays = std::vector<mx::array>;

constexpr DType kDtypes[] = {DType::kF32, DType::kF16, DType::kBF16};

// Everything that the first use of MLX sets up: the stream's thread, the allocator, kernels of BLAS.
void warm_up() {
  mx::set_default_device(mx::Device::cpu);
  const mx::array x = mx::ones({4, 64}, mx::float32);
  const Arrays q = mx::quantize(mx::ones({8, 64}, mx::float32), 64, 4);
  mx::eval({mx::matmul(x, mx::transpose(x)), mx::quantized_matmul(x, q[0], q[1], q[2], true, 64, 4)});
}

class MlxWorker {
 public:
  MlxWorker(const char* inputs, char* outputs) : inputs_(inputs), outputs_(outputs) {}

  void load(const char* library, WorkerReply& reply) {
    auto pack = MlxPack::load(library, "candidate");
    if (!pack.ok()) {
      reply.status = static_cast<std::uint32_t>(WorkerStatus::kCannotLoad);
      return say(reply, pack.error().message.c_str());
    }
    pack_ = std::move(pack).value();
    reply.functions = (pack_->serves(false) ? 1U : 0U) | (pack_->serves(true) ? 2U : 0U);
  }

  void serve(const WorkerRequest& request, WorkerReply& reply) {
    try {
      switch (static_cast<MlxWorkerCommand>(request.command)) {
        case MlxWorkerCommand::kPlace: return place(request.threads);
        case MlxWorkerCommand::kPrepare: return prepare();
        case MlxWorkerCommand::kRun: return run(reply);
      }
      give_up_worker();
    } catch (const std::exception& e) {
      reply.status = static_cast<std::uint32_t>(WorkerStatus::kThrew);
      say(reply, e.what());
    }
  }

 private:
  struct Linear {
    MlxLinear layer;
    MlxAdapter adapter;
    MlxPrepared prepared;
  };

  static void say(WorkerReply& reply, const char* words) { std::snprintf(reply.text, sizeof reply.text, "%s", words); }

  mx::array input(std::uint64_t offset, std::initializer_list<std::int64_t> shape, mx::Dtype dtype) const {
    return mlx_copy(reinterpret_cast<const std::byte*>(inputs_ + offset), mlx_shape(shape), dtype);
  }
  std::optional<mx::array> optional_input(std::uint64_t offset, std::initializer_list<std::int64_t> shape, mx::Dtype dtype) const {
    if (offset == kWorkerNone) return std::nullopt;
    return input(offset, shape, dtype);
  }

  void place(std::uint32_t memory) {
    const bool counted = memory == kMlxCountedMemory;
    // From 64 KiB on every array is a mapping of its own, which is gone when it is freed; or the C library's own default.
    (void)mallopt(M_MMAP_THRESHOLD, counted ? 64 << 10 : 32 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, counted ? 0 : 64 << 20);
    linears_.clear();
    x_.reset();
    dy_.reset();
    std::memcpy(&call_, inputs_, sizeof call_);
    if (call_.linear_count < 1 || call_.linear_count > kMlxWorkerMaxLinears || call_.dtype > 2) give_up_worker();
    const mx::Dtype dtype = mlx_dtype(kDtypes[call_.dtype]);
    for (std::uint32_t i = 0; i < call_.linear_count; ++i) {
      const MlxWorkerLinear& from = call_.linears[i];
      const bool dense = from.bits == 0;
      MlxWeight weight{
          .data = dense ? input(from.values, {from.out, from.in}, dtype) : input(from.values, {from.out, from.in * from.bits / 32}, mx::uint32),
          .scales = {},
          .biases = {},
          .bits = from.bits,
          .group_size = from.group_size,
          .out = from.out,
          .in = from.in};
      if (!dense) {
        weight.scales = input(from.scales, {from.out, from.in / from.group_size}, dtype);
        weight.biases = input(from.biases, {from.out, from.in / from.group_size}, dtype);
      }
      MlxAdapter adapter{.a = input(from.a, {from.in, from.rank}, mx::float32),
                         .b = input(from.b, {from.rank, from.out}, mx::float32),
                         .m = optional_input(call_.dora != 0 ? from.m : kWorkerNone, {from.out}, mx::float32),
                         .scale = from.scale};
      linears_.push_back({{std::move(weight), optional_input(from.bias, {from.out}, dtype)}, std::move(adapter), {}});
    }
    x_ = input(call_.x, {1, call_.n, call_.linears[0].in}, dtype);
    dy_ = input(call_.dy, {1, call_.n, call_.linears[call_.linear_count - 1].out}, dtype);
    (void)malloc_trim(0);
  }

  void prepare() {
    for (Linear& linear : linears_) linear.prepared = pack_->prepare(linear.layer, call_.dora != 0);
    mx::clear_cache();
    (void)malloc_trim(0);
  }

  void run(WorkerReply& reply) {
    Arrays primals = {*x_};
    for (const Linear& linear : linears_) {
      primals.push_back(linear.adapter.a);
      primals.push_back(linear.adapter.b);
      if (linear.adapter.m) primals.push_back(*linear.adapter.m);
    }
    const auto chain = [&](const Arrays& in) -> Arrays {
      mx::array h = in[0];
      std::size_t next = 1;
      for (const Linear& linear : linears_) {
        MlxAdapter adapter{in[next], in[next + 1], {}, linear.adapter.scale};
        next += 2;
        if (call_.dora != 0) adapter.m = in[next++];
        h = pack_->call(h, linear.layer, adapter, linear.prepared, [] {});
        const mx::Shape expected = {1, mlx_dim(call_.n), mlx_dim(linear.layer.weight.out)};
        if (h.shape() != expected || h.dtype() != x_->dtype()) throw std::runtime_error("the result of a linear has a wrong shape or type");
      }
      return {h};
    };
    const auto [results, gradients] = mx::vjp(chain, primals, {*dy_});
    Arrays all = results;
    all.insert(all.end(), gradients.begin(), gradients.end());
    mx::eval(all);
    for (std::size_t i = 0; i < primals.size(); ++i) {
      if (gradients[i].shape() != primals[i].shape()) return wrong_shape(reply);
    }
    output(results[0], call_.y);
    output(gradients[0], call_.dx);
    std::size_t next = 1;
    for (std::uint32_t i = 0; i < call_.linear_count; ++i) {
      output(gradients[next++], call_.linears[i].da);
      output(gradients[next++], call_.linears[i].db);
      if (call_.dora != 0) output(gradients[next++], call_.linears[i].dm);
    }
  }

  static void wrong_shape(WorkerReply& reply) {
    reply.status = static_cast<std::uint32_t>(WorkerStatus::kThrew);
    say(reply, "a gradient has a wrong shape");
  }
  void output(const mx::array& array, std::uint64_t offset) const { copy_floats(array, reinterpret_cast<float*>(outputs_ + offset)); }

  const char* inputs_;
  char* outputs_;
  std::shared_ptr<const MlxPack> pack_;
  MlxWorkerCall call_;
  std::vector<Linear> linears_;
  std::optional<mx::array> x_, dy_;
};

[[noreturn]] void serve(const char* library, std::size_t input_bytes, std::size_t output_bytes, bool strict) {
  WorkerFilters filters;
  if (strict) {
    filters = read_worker_filters();
    prepare_to_narrow();
  }
  warm_up();
  static MlxWorker worker(map_worker_file(kWorkerInputs, input_bytes, PROT_READ),
                          map_worker_file(kWorkerOutputs, output_bytes, PROT_READ | PROT_WRITE));
  if (strict) narrow_worker(filters.begin, filters.loading_bytes);
  WorkerReply hello;
  hello.status = static_cast<std::uint32_t>(WorkerStatus::kDone);
  worker.load(library, hello);
  if (strict) narrow_worker(filters.begin + filters.loading_bytes, filters.serving_bytes);
  answer_requests(hello, [](const WorkerRequest& request, WorkerReply& reply) { worker.serve(request, reply); });
}

}  // namespace
}  // namespace evolora

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fputs("evolora_mlx_pack_worker: started by evolora, which judges kernel packs with it; not for use by hand\n", stderr);
    return 2;
  }
  evolora::serve(argv[1], std::strtoull(argv[2], nullptr, 10), std::strtoull(argv[3], nullptr, 10), std::strcmp(argv[4], "trusted") != 0);
}
