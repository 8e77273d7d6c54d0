// The verbs of evolora_probe: small programs that show the Python oracles what one part of the library computes.
// Each takes argv[0] = its own name and returns the exit status (0, or 2 after a message on stderr).
#pragma once

namespace evolora::probe {

// probe_engine.cpp: MODEL REQUEST.json [OUT.safetensors]; the request is described there.
int probe_logits(int argc, char** argv);
int probe_gradients(int argc, char** argv);
int probe_loss(int argc, char** argv);
int probe_lora_init(int argc, char** argv);
int probe_decode(int argc, char** argv);

// probe_formats.cpp
int probe_quantize(int argc, char** argv);
int probe_dequantize(int argc, char** argv);
int probe_safetensors(int argc, char** argv);
int probe_convert(int argc, char** argv);
int probe_adapter_config(int argc, char** argv);

// probe_text.cpp, probe_data.cpp
int probe_tokenize(int argc, char** argv);
int probe_render(int argc, char** argv);
int probe_batches(int argc, char** argv);
int probe_random(int argc, char** argv);

// probe_statistics.cpp
int probe_statistics(int argc, char** argv);

}  // namespace evolora::probe
