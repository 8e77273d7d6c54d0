// The kernels of every slot as one table of functions, so that the step program is written once and the recipe chooses the implementation.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "kernels/attention/contract.h"
#include "kernels/context.h"
#include "kernels/embedding/contract.h"
#include "kernels/head_loss/contract.h"
#include "kernels/lora_linear/contract.h"
#include "kernels/optimizer_update/contract.h"
#include "kernels/rms_norm/contract.h"
#include "kernels/rope/contract.h"
#include "kernels/slots.h"
#include "kernels/storage/contract.h"
#include "kernels/swiglu/contract.h"

namespace evolora {

// No function is null. Each *_workspace_bytes belongs to the kernel of the same name, looks only at shapes, weight formats and spans (data pointers
// may be null), and gives what KernelContext::workspace_bytes must be at least; a slot without one needs no workspace. Immutable, safe from any
// thread.
struct KernelTable {
  const char* name;

  void (*embedding_forward)(const EmbeddingForward&, KernelContext&);

  void (*rms_norm_forward)(const RmsNormForward&, KernelContext&);
  void (*rms_norm_backward)(const RmsNormBackward&, KernelContext&);

  // Functions with state: those of a kernel pack own the library they came from (pack/pack_library.h).
  std::function<void(const LoraLinearForward&, KernelContext&)> lora_linear_forward;
  std::function<void(const LoraLinearBackward&, KernelContext&)> lora_linear_backward;
  std::function<std::size_t(const LoraLinearForward&, int threads)> lora_linear_forward_workspace_bytes;
  std::function<std::size_t(const LoraLinearBackward&, int threads)> lora_linear_backward_workspace_bytes;

  void (*rope)(const Rope&, KernelContext&);
  std::size_t (*rope_workspace_bytes)(const Rope&, int threads);

  void (*attention_forward)(const AttentionForward&, KernelContext&);
  void (*attention_backward)(const AttentionBackward&, KernelContext&);
  std::size_t (*attention_forward_workspace_bytes)(const AttentionForward&, int threads);
  std::size_t (*attention_backward_workspace_bytes)(const AttentionBackward&, int threads);

  void (*swiglu_forward)(const SwigluForward&, KernelContext&);
  void (*swiglu_backward)(const SwigluBackward&, KernelContext&);

  void (*narrow)(const Narrow&, KernelContext&);
  void (*widen)(const Widen&, KernelContext&);

  void (*head_loss)(const HeadLoss&, KernelContext&);
  void (*head_logits)(const HeadLogits&, KernelContext&);
  std::size_t (*head_loss_workspace_bytes)(const HeadLoss&, int threads);
  std::size_t (*head_logits_workspace_bytes)(const HeadLogits&, int threads);

  void (*adam_update)(const AdamUpdate&, KernelContext&);
};

// Plain loops, fp64 sums: what the others are judged by. Slow.
const KernelTable& reference_kernels();
// SIMD (Highway, chosen for the machine at run time) over all threads.
const KernelTable& cpu_kernels();
class PackLibrary;
// Each slot from the set that is chosen for it, and from the pack, if there is one, where it has functions. Its name is that of the set, or "mixed".
KernelTable select_kernels(const SlotKernels& choice, const std::shared_ptr<const PackLibrary>& pack = nullptr);

}  // namespace evolora
