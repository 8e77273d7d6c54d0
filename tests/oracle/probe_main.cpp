// evolora_probe VERB ARGS...: the library's answers for the Python oracles of this folder (pytest compares them with mlx-lm, transformers and numpy).
#include <cstdio>
#include <cstring>
#include <span>

#include "probe_verbs.h"

namespace {

struct Verb {
  const char* name;
  int (*run)(int argc, char** argv);
};

using namespace evolora::probe;

constexpr Verb kVerbs[] = {
    {"logits", probe_logits},
    {"gradients", probe_gradients},
    {"loss", probe_loss},
    {"lora_init", probe_lora_init},
    {"decode", probe_decode},
    {"quantize", probe_quantize},
    {"dequantize", probe_dequantize},
    {"safetensors", probe_safetensors},
    {"tokenize", probe_tokenize},
    {"convert", probe_convert},
    {"adapter_config", probe_adapter_config},
    {"render", probe_render},
    {"batches", probe_batches},
    {"random", probe_random},
    {"statistics", probe_statistics},
};

}  // namespace

int main(int argc, char** argv) {
  if (argc >= 2) {
    for (const Verb& verb : kVerbs) {
      if (std::strcmp(argv[1], verb.name) == 0) return verb.run(argc - 1, argv + 1);
    }
    std::fprintf(stderr, "evolora_probe: no verb '%s'; there are:", argv[1]);
  } else {
    std::fprintf(stderr, "usage: evolora_probe VERB ARGS...; verbs:");
  }
  for (const Verb& verb : kVerbs) std::fprintf(stderr, " %s", verb.name);
  std::fprintf(stderr, "\n");
  return 2;
}
