// The two tables of CPU kernels: the plain reference and the vectorised implementation.
#include "kernels/kernel_table.h"

#include <string_view>
#include <utility>

#include "kernels/pack/pack_library.h"

namespace evolora {

const char* slot_name(Slot slot) {
  static constexpr const char* kNames[kSlotCount] = {"embedding", "rms_norm", "lora_linear",     "rope", "attention", "swiglu",
                                                     "head_loss", "storage",  "optimizer_update"};
  return kNames[static_cast<std::size_t>(slot)];
}

const KernelTable& reference_kernels() {
  static const KernelTable table = {
      .name = "reference",
      .embedding_forward = reference::embedding_forward,
      .rms_norm_forward = reference::rms_norm_forward,
      .rms_norm_backward = reference::rms_norm_backward,
      .lora_linear_forward = reference::lora_linear_forward,
      .lora_linear_backward = reference::lora_linear_backward,
      .lora_linear_forward_workspace_bytes = reference::lora_linear_forward_workspace_bytes,
      .lora_linear_backward_workspace_bytes = reference::lora_linear_backward_workspace_bytes,
      .rope = reference::rope,
      .rope_workspace_bytes = [](const Rope&, int) -> std::size_t { return 0; },
      .attention_forward = reference::attention_forward,
      .attention_backward = reference::attention_backward,
      .attention_forward_workspace_bytes = [](const AttentionForward&, int) -> std::size_t { return 0; },
      .attention_backward_workspace_bytes = [](const AttentionBackward&, int) -> std::size_t { return 0; },
      .swiglu_forward = reference::swiglu_forward,
      .swiglu_backward = reference::swiglu_backward,
      .narrow = reference::narrow,
      .widen = reference::widen,
      .head_loss = reference::head_loss,
      .head_logits = reference::head_logits,
      .head_loss_workspace_bytes = reference::head_loss_workspace_bytes,
      .head_logits_workspace_bytes = reference::head_logits_workspace_bytes,
      .adam_update = reference::adam_update,
  };
  return table;
}

const KernelTable& cpu_kernels() {
  static const KernelTable table = {
      .name = "cpu",
      .embedding_forward = cpu::embedding_forward,
      .rms_norm_forward = cpu::rms_norm_forward,
      .rms_norm_backward = cpu::rms_norm_backward,
      .lora_linear_forward = cpu::lora_linear_forward,
      .lora_linear_backward = cpu::lora_linear_backward,
      .lora_linear_forward_workspace_bytes = cpu::lora_linear_forward_workspace_bytes,
      .lora_linear_backward_workspace_bytes = cpu::lora_linear_backward_workspace_bytes,
      .rope = cpu::rope,
      .rope_workspace_bytes = cpu::rope_workspace_bytes,
      .attention_forward = cpu::attention_forward,
      .attention_backward = cpu::attention_backward,
      .attention_forward_workspace_bytes = cpu::attention_forward_workspace_bytes,
      .attention_backward_workspace_bytes = cpu::attention_backward_workspace_bytes,
      .swiglu_forward = cpu::swiglu_forward,
      .swiglu_backward = cpu::swiglu_backward,
      .narrow = cpu::narrow,
      .widen = cpu::widen,
      .head_loss = cpu::head_loss,
      .head_logits = cpu::head_logits,
      .head_loss_workspace_bytes = cpu::head_loss_workspace_bytes,
      .head_logits_workspace_bytes = cpu::head_logits_workspace_bytes,
      .adam_update = cpu::adam_update,
  };
  return table;
}

KernelTable select_kernels(const SlotKernels& choice, const std::shared_ptr<const PackLibrary>& pack) {
  const auto from = [&](Slot slot) -> const KernelTable& { return choice.of(slot) == KernelSet::kReference ? reference_kernels() : cpu_kernels(); };
  KernelTable table = from(Slot::kEmbedding);
  for (int i = 1; i < kSlotCount; ++i) {
    const auto slot = static_cast<Slot>(i);
    const KernelTable& source = from(slot);
    if (std::string_view(source.name) != table.name) table.name = "mixed";
    switch (slot) {
      case Slot::kEmbedding: break;
      case Slot::kRmsNorm:
        table.rms_norm_forward = source.rms_norm_forward;
        table.rms_norm_backward = source.rms_norm_backward;
        break;
      case Slot::kLoraLinear:
        table.lora_linear_forward = source.lora_linear_forward;
        table.lora_linear_backward = source.lora_linear_backward;
        table.lora_linear_forward_workspace_bytes = source.lora_linear_forward_workspace_bytes;
        table.lora_linear_backward_workspace_bytes = source.lora_linear_backward_workspace_bytes;
        break;
      case Slot::kRope:
        table.rope = source.rope;
        table.rope_workspace_bytes = source.rope_workspace_bytes;
        break;
      case Slot::kAttention:
        table.attention_forward = source.attention_forward;
        table.attention_backward = source.attention_backward;
        table.attention_forward_workspace_bytes = source.attention_forward_workspace_bytes;
        table.attention_backward_workspace_bytes = source.attention_backward_workspace_bytes;
        break;
      case Slot::kSwiglu:
        table.swiglu_forward = source.swiglu_forward;
        table.swiglu_backward = source.swiglu_backward;
        break;
      case Slot::kHeadLoss:
        table.head_loss = source.head_loss;
        table.head_logits = source.head_logits;
        table.head_loss_workspace_bytes = source.head_loss_workspace_bytes;
        table.head_logits_workspace_bytes = source.head_logits_workspace_bytes;
        break;
      case Slot::kStorage:
        table.narrow = source.narrow;
        table.widen = source.widen;
        break;
      case Slot::kOptimizerUpdate: table.adam_update = source.adam_update; break;
    }
  }
  return pack == nullptr ? table : with_pack(std::move(table), pack);
}

}  // namespace evolora
