"""Small random models, written as MLX folders by mlx-lm's own classes, with a byte-level tokenizer and a ChatML template.

    python tests/oracle/make_models.py [FOLDER]      (default build/oracle-models)
"""
import json
import shutil
import sys
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models import llama, qwen2
from mlx_lm.utils import save_config
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT_FOLDER = REPOSITORY / "build" / "oracle-models"
FORMAT_VERSION = 3  # raise when anything below changes what is written

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

LLAMA = dict(model_type="llama", hidden_size=96, num_hidden_layers=4, intermediate_size=160, num_attention_heads=6, num_key_value_heads=2,
             rms_norm_eps=1e-5, vocab_size=320, max_position_embeddings=512, rope_theta=10000.0, tie_word_embeddings=True)  # fmt: skip
QWEN2 = dict(LLAMA, model_type="qwen2", num_hidden_layers=3, rms_norm_eps=1e-6, rope_theta=1000000.0)
WIDE = dict(hidden_size=128, num_attention_heads=8, intermediate_size=192)  # groups of 64 fit
LLAMA3_SCALING = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)

# name -> (config, dtype of floats, quantization or None, per-module overrides)
MODELS = {
    "llama-f32": (LLAMA, mx.float32, None, {}),
    "llama-untied-f16-llama3": (dict(LLAMA, tie_word_embeddings=False, rope_scaling=LLAMA3_SCALING), mx.float16, None, {}),
    "llama-bias-bf16-linear": (dict(LLAMA, attention_bias=True, mlp_bias=True, rope_scaling=dict(type="linear", factor=2.0)), mx.bfloat16, None, {}),
    "llama-wide-heads-f32-traditional": (dict(LLAMA, head_dim=24, rope_traditional=True, num_key_value_heads=6), mx.float32, None, {}),
    "llama-q4g32-f32": (LLAMA, mx.float32, dict(bits=4, group_size=32), {}),
    "llama-q4g32-f16-untied": (dict(LLAMA, tie_word_embeddings=False), mx.float16, dict(bits=4, group_size=32), {}),
    "llama-q8g64-f16": (dict(LLAMA, **WIDE), mx.float16, dict(bits=8, group_size=64), {}),
    "llama-q4g128-bf16": (dict(LLAMA, **WIDE, num_hidden_layers=2, head_dim=32), mx.bfloat16, dict(bits=4, group_size=128), {}),
    "llama-mixed": (dict(LLAMA, **WIDE), mx.float16, dict(bits=4, group_size=64),
                    {"model.embed_tokens": dict(bits=8, group_size=32), "model.layers.1.mlp.down_proj": dict(bits=8, group_size=32),
                     "model.layers.2.self_attn.q_proj": False}),
    "qwen2-f32": (QWEN2, mx.float32, None, {}),
    "qwen2-q4g32-f16": (QWEN2, mx.float16, dict(bits=4, group_size=32), {}),
    "qwen2-untied-q8g32-f32": (dict(QWEN2, tie_word_embeddings=False), mx.float32, dict(bits=8, group_size=32), {}),
    "llama-q3g64-f16": (dict(LLAMA, **WIDE), mx.float16, dict(bits=3, group_size=64), {}),
    "llama-mixed-bits": (dict(LLAMA, **WIDE), mx.bfloat16, dict(bits=3, group_size=32),
                         {"model.embed_tokens": dict(bits=6, group_size=128), "model.layers.0.self_attn.q_proj": dict(bits=2, group_size=32),
                          "model.layers.0.self_attn.k_proj": dict(bits=5, group_size=64), "model.layers.1.mlp.down_proj": dict(bits=6, group_size=64),
                          "model.layers.2.mlp.gate_proj": dict(bits=8, group_size=64), "model.layers.3.self_attn.o_proj": dict(bits=4, group_size=128),
                          "model.layers.3.mlp.up_proj": False}),
    "qwen2-untied-q5g32-f16": (dict(QWEN2, tie_word_embeddings=False), mx.float16, dict(bits=5, group_size=32), {}),
    "llama-sliding-f32": (dict(LLAMA, sliding_window=6, layer_types=["sliding_attention", "full_attention"] * 2), mx.float32, None, {}),
}  # fmt: skip


def write_tokenizer(folder):
    """Bytes are ids 0..255, then the special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = CHATML
    fast.save_pretrained(folder)


def randomize(model, seed, dtype):
    """Weights of a size that keeps activations near 1 and the gradients of all layers alike: no tensor vanishes."""
    random = np.random.default_rng(seed)
    values = []
    for name, old in tree_flatten(model.parameters()):
        noise = random.standard_normal(old.shape)
        if "norm" in name:
            value = 1.0 + 0.2 * noise
        elif name.endswith(".bias"):
            value = 0.2 * noise
        elif "embed_tokens" in name or "lm_head" in name:
            value = 2.0 / np.sqrt(old.shape[-1]) * noise  # logits have a deviation of about 2
        else:
            value = noise / np.sqrt(old.shape[-1])
        values.append((name, mx.array(value.astype(np.float32)).astype(dtype)))
    model.update(tree_unflatten(values))


def write_model(folder, config, dtype, quantization, overrides, seed):
    folder.mkdir(parents=True)
    module = {"llama": llama, "qwen2": qwen2}[config["model_type"]]
    model = module.Model(module.ModelArgs.from_dict(config))
    randomize(model, seed, dtype)
    config = dict(config)
    if quantization:

        def predicate(path, layer):
            if not hasattr(layer, "to_quantized"):
                return False
            chosen = overrides.get(path, quantization)
            if chosen is False or layer.weight.shape[-1] % chosen["group_size"]:
                return False
            return dict(chosen)

        nn.quantize(model, quantization["group_size"], quantization["bits"], class_predicate=predicate)
        config["quantization"] = dict(quantization, **overrides)
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())), {"format": "mlx"})
    config["eos_token_id"] = 258
    save_config(config, folder / "config.json")
    write_tokenizer(folder)


def make_model(folder, name):
    config, dtype, quantization, overrides = MODELS[name]
    path = Path(folder) / name
    if not path.exists():
        partial = Path(folder) / f"{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        write_model(partial, config, dtype, quantization, overrides, seed=list(MODELS).index(name))
        partial.rename(path)
    return path


def make_all(folder=DEFAULT_FOLDER):
    """Writes what is missing; returns {name: path}."""
    folder = Path(folder)
    stamp = folder / "version.json"
    if not stamp.exists() or json.loads(stamp.read_text()) != FORMAT_VERSION:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    paths = {name: make_model(folder, name) for name in MODELS}
    stamp.write_text(json.dumps(FORMAT_VERSION))
    return paths


if __name__ == "__main__":
    for name, path in make_all(*map(Path, sys.argv[1:2])).items():
        print(path)
