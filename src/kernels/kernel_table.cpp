// The two tables of CPU kernels: the plain reference and the vectorised implementation.
#include "kernels/kernel_table.h"

namespace evolora {

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
      .head_loss = cpu::head_loss,
      .head_logits = cpu::head_logits,
      .head_loss_workspace_bytes = cpu::head_loss_workspace_bytes,
      .head_logits_workspace_bytes = cpu::head_logits_workspace_bytes,
      .adam_update = cpu::adam_update,
  };
  return table;
}

}  // namespace evolora
