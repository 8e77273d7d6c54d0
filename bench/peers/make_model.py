"""Makes MLX model folders with random weights in the shape of a public model, for measuring speed and memory: SHAPE/q4 (4 bit, group 64) and SHAPE/f32 (dense).

    build/python/bin/python bench/peers/make_model.py qwen2.5-0.5b build/bench/models build/models/qwen2.5-tokenizer

A folder that exists is left alone. Nothing is downloaded.
"""

import json
import pathlib
import shutil
import sys

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map

SHAPES = {
    "smollm2-135m": {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 576, "num_hidden_layers": 30, "intermediate_size": 1536,
        "num_attention_heads": 9, "num_key_value_heads": 3, "rms_norm_eps": 1e-5, "vocab_size": 49152, "rope_theta": 100000.0,
        "max_position_embeddings": 8192, "tie_word_embeddings": True, "hidden_act": "silu",
    },
    "qwen2.5-0.5b": {
        "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_size": 896, "num_hidden_layers": 24, "intermediate_size": 4864,
        "num_attention_heads": 14, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "vocab_size": 151936, "rope_theta": 1000000.0,
        "max_position_embeddings": 32768, "tie_word_embeddings": True, "hidden_act": "silu",
    },
}
QUANTIZATION = {"group_size": 64, "bits": 4}


def make(shape, kind, folder, tokenizer):
    from mlx_lm.models import llama, qwen2

    config = dict(SHAPES[shape])
    module = {"llama": llama, "qwen2": qwen2}[config["model_type"]]
    mx.random.seed(0)
    model = module.Model(module.ModelArgs.from_dict(config))
    if kind == "q4":
        model.update(tree_map(lambda x: x.astype(mx.float16), model.parameters()))
        nn.quantize(model, **QUANTIZATION)
        config["quantization"] = config["quantization_config"] = QUANTIZATION
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    mx.save_safetensors(str(unfinished / "model.safetensors"), dict(tree_flatten(model.parameters())), {"format": "mlx"})
    (unfinished / "config.json").write_text(json.dumps(config, indent=2))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (tokenizer / name).exists():
            shutil.copy(tokenizer / name, unfinished / name)
    unfinished.rename(folder)


def main():
    shape, root, tokenizer = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    mx.set_default_device(mx.cpu)
    for kind in ("q4", "f32"):
        folder = root / shape / kind
        if not folder.exists():
            make(shape, kind, folder, tokenizer)


if __name__ == "__main__":
    main()
