"""Makes MLX model folders for measuring: SHAPE/q4 (4 bit, group 64) and SHAPE/f32 (the same weights expanded). SmolLM2 has its real weights; Qwen2.5-0.5B has random
ones of its shape.

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

RANDOM_SHAPES = {
    "qwen2.5-0.5b": {
        "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_size": 896, "num_hidden_layers": 24, "intermediate_size": 4864,
        "num_attention_heads": 14, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "vocab_size": 151936, "rope_theta": 1000000.0,
        "max_position_embeddings": 32768, "tie_word_embeddings": True, "hidden_act": "silu",
    },
}
QUANTIZATION = {"group_size": 64, "bits": 4}


def random_model(config):
    from mlx_lm.models import qwen2

    mx.random.seed(0)
    return qwen2.Model(qwen2.ModelArgs.from_dict(config))


def expanded_model(folder):
    """A quantized folder's weights in fp32, each exactly scale * q + bias in that type."""
    from mlx_lm.utils import dequantize_model, load_model

    model, config = load_model(folder)
    model.update(tree_map(lambda x: x.astype(mx.float32) if mx.issubdtype(x.dtype, mx.floating) else x, model.parameters()))
    for key in ("quantization", "quantization_config"):
        config.pop(key, None)
    return dequantize_model(model), config


def write(model, config, kind, folder, tokenizer):
    config = dict(config)
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
    shape, root, source = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    mx.set_default_device(mx.cpu)
    q4, f32 = root / shape / "q4", root / shape / "f32"
    if not q4.exists():
        random_weights = shape in RANDOM_SHAPES
        model, config = (random_model(RANDOM_SHAPES[shape]), RANDOM_SHAPES[shape]) if random_weights else expanded_model(source)
        write(model, config, "q4", q4, source)
    if not f32.exists():
        write(*expanded_model(q4), "f32", f32, source)


if __name__ == "__main__":
    main()
