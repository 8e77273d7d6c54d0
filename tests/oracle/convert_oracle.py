"""Conversions against the gguf package (values of every tensor) and mlx-lm (its own convert, its own loader)."""
import json

import gguf
import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, models as tokenizer_models
from tokenizers import AddedToken, Regex

from conftest import find_smollm2

KINDS = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
         "ffn_norm": "post_attention_layernorm"}  # fmt: skip


def mlx_name(name):
    top = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    parts = name.split(".")
    if parts[0] != "blk":
        return f"{top[parts[0]]}.{parts[1]}"
    return f"model.layers.{parts[1]}.{KINDS[parts[2]]}.{parts[3]}"


def gguf_values(path):
    """{MLX name: fp32 array in MLX row order} by the gguf package."""
    reader = gguf.GGUFReader(path)
    architecture = reader.fields["general.architecture"].contents()
    heads = {k: reader.fields[f"{architecture}.attention.{k}"].contents() for k in ("head_count", "head_count_kv")}
    values = {}
    for tensor in reader.tensors:
        w = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        name = mlx_name(tensor.name)
        for part, key in (("q_proj", "head_count"), ("k_proj", "head_count_kv")):
            if architecture == "llama" and part in name:
                w = w.reshape(heads[key], w.shape[0] // heads[key] // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)
        values[name] = w
    return values


def folder_values(folder):
    """{name: fp32 array} of an MLX folder; quantized modules expanded in fp32, where it is exact."""
    config = json.loads((folder / "config.json").read_text())
    quantization = config.get("quantization")
    tensors = mx.load(str(folder / "model.safetensors"))
    values = {}
    for name, w in tensors.items():
        module, _, leaf = name.rpartition(".")
        if leaf in ("scales", "biases"):
            continue
        if f"{module}.scales" in tensors and leaf == "weight":
            q = quantization.get(module, quantization)
            scales, biases = (tensors[f"{module}.{p}"].astype(mx.float32) for p in ("scales", "biases"))
            w = mx.dequantize(w, scales, biases, q["group_size"], q["bits"])
        values[name] = np.array(w.astype(mx.float32))
    return values


def assert_same_values(got, expected):
    assert set(got) == set(expected)
    for name, w in expected.items():
        assert np.array_equal(got[name], w), name


def convert(probe, source, output, *words):
    return json.loads(probe.text("convert", source, output, *words))


@pytest.fixture(scope="module")
def smollm2_gguf():
    path = find_smollm2()
    if path is None:
        pytest.skip("SmolLM2 is not fetched (make fetch, or EVOLORA_SMOLLM2_GGUF=FILE)")
    return path


def test_smollm2_holds_the_values_of_the_gguf(probe, tmp_path, smollm2_gguf):
    expected = gguf_values(smollm2_gguf)
    report = convert(probe, smollm2_gguf, tmp_path / "q")
    assert report["tensors"] == report["lossless"] == len(expected) == 272 and report["requantized"] == 0
    assert report["output_bytes"] == (tmp_path / "q" / "model.safetensors").stat().st_size
    assert_same_values(folder_values(tmp_path / "q"), expected)
    dense = convert(probe, smollm2_gguf, tmp_path / "dense", "dequantize", "F32")
    assert dense["lossless"] == 272
    assert_same_values(folder_values(tmp_path / "dense"), expected)


def test_smollm2_is_loaded_by_mlx_lm(probe, tmp_path, smollm2_gguf):
    convert(probe, smollm2_gguf, tmp_path / "q", "F32")
    model, tokenizer = mlx_lm.load(str(tmp_path / "q"))
    q = model.model.layers[0].self_attn.q_proj
    assert (q.bits, q.group_size) == (4, 32)
    assert (model.model.embed_tokens.bits, model.model.embed_tokens.group_size) == (8, 32)
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "What is the capital of France? One word."}], add_generation_prompt=True)
    assert "Paris" in mlx_lm.generate(model, tokenizer, prompt, max_tokens=8)


def test_smollm2_tokenizer_has_every_token_under_its_number(probe, tmp_path, smollm2_gguf):
    fields = gguf.GGUFReader(smollm2_gguf).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    convert(probe, smollm2_gguf, tmp_path / "q")
    ours = Tokenizer.from_file(str(tmp_path / "q" / "tokenizer.json"))
    assert [ours.id_to_token(i) for i in range(len(tokens))] == tokens and ours.get_vocab_size() == len(tokens)
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    theirs = Tokenizer(tokenizer_models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    theirs.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    theirs.decoder = decoders.ByteLevel()
    theirs.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in tokens[:17]])
    for text in ("Hello world 123", " it's  2024!\n\n\tx", "<|im_start|>user\nhé 😀<|im_end|>\n", "", "ﬁ １２ ²"):
        assert ours.encode(text).ids == theirs.encode(text).ids
        assert ours.decode(ours.encode(text).ids, skip_special_tokens=False) == theirs.decode(theirs.encode(text).ids, skip_special_tokens=False)


# --- small GGUF files of every tensor type ---------------------------------------------------------------------------------------------------------

D, HEADS, KV, WIDTH, LAYERS, VOCABULARY = 64, 4, 2, 96, 2, 266
BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
TOKENS = BYTES + ["<|end|>", "<|start|>", "<tool>", "[PAD]"] + ["ab", "abc", "Ġa", "12", "é", "fi"][:6]
MERGES = ["a b", "ab c", "Ġ a", "1 2", "Ã ©", "f i"]
TOKENS[-2] = "Ã©"


def write_gguf(path, architecture, linear_type, embedding_type, tied, pre, seed=0, scale=1.0, alter=None):
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(D)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * 256 + [3, 3, 4, 5] + [1] * 6)
    writer.add_token_merges(MERGES)
    writer.add_eos_token_id(256)
    writer.add_bos_token_id(257)
    if pre == "llama-bpe":
        writer.add_add_bos_token(True)
    if alter:
        alter(writer)

    def add(name, shape, kind):
        w = rng.standard_normal(shape).astype(np.float32)
        w = w * np.float32(scale) if len(shape) == 2 else w.astype(np.float16).astype(np.float32)  # vectors that F16 holds
        data = gguf.quants.quantize(w, kind)
        writer.add_tensor(name, data, raw_dtype=kind)

    add("token_embd.weight", (VOCABULARY, D), embedding_type)
    bias = architecture == "qwen2"
    for i in range(LAYERS):
        add(f"blk.{i}.attn_norm.weight", (D,), Type.F32)
        add(f"blk.{i}.ffn_norm.weight", (D,), Type.F32)
        for kind, rows, columns in (("attn_q", D, D), ("attn_k", D // 2, D), ("attn_v", D // 2, D), ("attn_output", D, D),
                                    ("ffn_gate", WIDTH, D), ("ffn_up", WIDTH, D), ("ffn_down", D, WIDTH)):  # fmt: skip
            add(f"blk.{i}.{kind}.weight", (rows, columns), linear_type)
            if bias and kind in ("attn_q", "attn_k", "attn_v"):
                add(f"blk.{i}.{kind}.bias", (rows,), Type.F32)
    add("output_norm.weight", (D,), Type.F32)
    if not tied:
        add("output.weight", (VOCABULARY, D), embedding_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("tied", (True, False))
@pytest.mark.parametrize("kind", ("Q4_0", "Q4_1", "Q8_0", "F16", "F32"))
@pytest.mark.parametrize("architecture,pre", (("llama", "smollm"), ("qwen2", "qwen2")))
def test_every_type_keeps_its_values(probe, tmp_path, architecture, pre, kind, tied):
    source = write_gguf(tmp_path / "m.gguf", architecture, Type[kind], Type.Q8_0 if kind == "Q4_1" else Type[kind], tied, pre)
    expected = gguf_values(source)
    report = convert(probe, source, tmp_path / "out", *(["F32"] if kind == "F32" else []))
    assert report["lossless"] == report["tensors"] == len(expected)
    assert_same_values(folder_values(tmp_path / "out"), expected)
    model, _ = mlx_lm.load(str(tmp_path / "out"))
    assert mx.all(mx.isfinite(model(mx.array([[1, 2, 3]])))).item()
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["tie_word_embeddings"] is tied and config["model_type"] == architecture


def test_scales_that_overflow_f16_stay_exact(probe, tmp_path):
    source = write_gguf(tmp_path / "m.gguf", "llama", Type.Q8_0, Type.Q4_0, True, "smollm", scale=6e4)
    expected = gguf_values(source)
    report = convert(probe, source, tmp_path / "out")
    assert report["lossless"] == len(expected)
    tensors = mx.load(str(tmp_path / "out" / "model.safetensors"))
    assert tensors["model.layers.0.mlp.up_proj.scales"].dtype == mx.float32, "-128 d does not fit F16 here"
    assert_same_values(folder_values(tmp_path / "out"), expected)


@pytest.mark.parametrize("bits,group", ((2, 64), (3, 32), (4, 32), (4, 64), (5, 64), (6, 32), (8, 32)))
@pytest.mark.parametrize("dtype", ("F16", "BF16", "F32"))
def test_quantizing_gguf_gives_the_bytes_of_mlx(probe, tmp_path, dtype, bits, group):
    source = write_gguf(tmp_path / "m.gguf", "llama", Type.F16, Type.F16, True, "smollm")
    convert(probe, source, tmp_path / "out", "quantize", bits, group, dtype)
    tensors = mx.load(str(tmp_path / "out" / "model.safetensors"))
    mlx_dtype = {"F16": mx.float16, "BF16": mx.bfloat16, "F32": mx.float32}[dtype]
    for name, w in gguf_values(source).items():
        w = mx.array(w).astype(mlx_dtype)
        if w.ndim == 1 or w.shape[1] % group:
            assert mx.array_equal(tensors[name], w), name
            continue
        for leaf, part in zip(("weight", "scales", "biases"), mx.quantize(w, group, bits)):
            got = tensors[name.replace("weight", leaf)]
            assert got.dtype == part.dtype and mx.array_equal(got, part), name


def reference_tokenizer(pre):
    merges = [tuple(m.split(" ")) for m in MERGES]
    t = Tokenizer(tokenizer_models.BPE({x: i for i, x in enumerate(TOKENS)}, merges, ignore_merges=pre == "llama-bpe"))
    digits = {"qwen2": r"\p{N}", "llama-bpe": r"\p{N}{1,3}"}.get(pre)
    if digits:
        pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])  # fmt: skip
    elif pre == "smollm":
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    else:
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pre == "qwen2":
        t.normalizer = normalizers.NFC()
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken(x, special=True, normalized=False) for x in TOKENS[256:258]])
    t.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    return t


@pytest.mark.parametrize("pre", ("smollm", "qwen2", "llama-bpe", "default"))
def test_tokenizers(probe, tmp_path, pre):
    source = write_gguf(tmp_path / "m.gguf", "llama", Type.F16, Type.F16, True, pre)
    convert(probe, source, tmp_path / "out")
    ours, theirs = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json")), reference_tokenizer(pre)
    texts = ["abc 12 1234567 ab", "<|start|>a abc<tool>e\u0301 \u00e9<|end|>", "a  b\n\n c's I'LL", "[PAD] x", "fifi, \u0661\u0662\u0663 \U0001f600\r\n"]
    for text in texts:
        assert ours.encode(text, add_special_tokens=False).ids == theirs.encode(text, add_special_tokens=False).ids, text
        with_specials = ours.encode(text).ids
        assert with_specials == ([257] if pre == "llama-bpe" else []) + theirs.encode(text).ids
    _, wrapped = mlx_lm.load(str(tmp_path / "out"))
    assert wrapped.eos_token == "<|end|>" and wrapped.encode(texts[1]) == ours.encode(texts[1]).ids


def refused(probe, source, output, *words):
    with pytest.raises(AssertionError) as failure:
        convert(probe, source, output, *words)
    assert not output.exists() and not list(output.parent.glob(output.name + ".tmp*"))
    return str(failure.value)


def test_unknown_parts_are_refused_by_name(probe, tmp_path):
    source = write_gguf(tmp_path / "a.gguf", "gemma", Type.F16, Type.F16, True, "smollm")
    assert "architecture 'gemma' is not supported" in refused(probe, source, tmp_path / "out")
    source = write_gguf(tmp_path / "b.gguf", "llama", Type.F16, Type.F16, True, "tekken")
    assert "pre-tokenizer 'tekken' is not supported" in refused(probe, source, tmp_path / "out")
    source = write_gguf(tmp_path / "c.gguf", "llama", Type.Q5_0, Type.F16, True, "smollm")
    assert "tensor type Q5_0 is not supported" in refused(probe, source, tmp_path / "out")
    source = write_gguf(tmp_path / "d.gguf", "llama", Type.F16, Type.F16, True, "smollm", alter=lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.YARN))
    assert "rope scaling 'yarn' is not supported" in refused(probe, source, tmp_path / "out")


# --- folders -----------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits,group", ((2, 32), (3, 64), (4, 32), (5, 32), (6, 64), (8, 32), (4, 64)))
@pytest.mark.parametrize("name", ("llama-f32", "llama-untied-f16-llama3", "llama-bias-bf16-linear", "qwen2-f32"))
def test_folders_quantize_as_mlx_lm_convert_does(probe, models, tmp_path, name, bits, group):
    convert(probe, models[name], tmp_path / "ours", "quantize", bits, group)
    dtype = {"f16": "float16", "f32": "float32", "bf16": "bfloat16"}[name.split("-")[2] if "untied" in name or "bias" in name else "f32"]
    mlx_lm.convert(str(models[name]), str(tmp_path / "theirs"), quantize=True, q_bits=bits, q_group_size=group, dtype=dtype)
    ours, theirs = (mx.load(str(tmp_path / who / "model.safetensors")) for who in ("ours", "theirs"))
    assert set(ours) == set(theirs)
    for tensor, expected in theirs.items():
        assert ours[tensor].dtype == expected.dtype and mx.array_equal(ours[tensor], expected), tensor
    our_config, their_config = (json.loads((tmp_path / who / "config.json").read_text()) for who in ("ours", "theirs"))
    assert our_config["quantization"] == their_config["quantization"] == our_config["quantization_config"]
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "ours" / file).read_bytes() == (models[name] / file).read_bytes()


@pytest.mark.parametrize("name", ("llama-q4g32-f16-untied", "llama-mixed", "qwen2-untied-q8g32-f32", "llama-q4g128-bf16"))
def test_folders_dequantize_as_mlx_does(probe, models, tmp_path, name):
    convert(probe, models[name], tmp_path / "dense", "dequantize")
    source, ours = (mx.load(str(folder / "model.safetensors")) for folder in (models[name], tmp_path / "dense"))
    quantization = json.loads((models[name] / "config.json").read_text())["quantization"]
    assert "quantization" not in json.loads((tmp_path / "dense" / "config.json").read_text())
    for tensor, got in ours.items():
        module = tensor.rpartition(".")[0]
        expected = source[tensor]
        if f"{module}.scales" in source and tensor.endswith(".weight"):
            q = quantization.get(module, quantization)
            expected = mx.dequantize(expected, source[f"{module}.scales"], source[f"{module}.biases"], q["group_size"], q["bits"])
        assert got.dtype == expected.dtype and mx.array_equal(got, expected), tensor
    mlx_lm.load(str(tmp_path / "dense"))


@pytest.mark.parametrize("name", ("llama-mixed", "qwen2-q4g32-f16"))
def test_a_folder_kept_as_it_is_has_the_same_tensors(probe, models, tmp_path, name):
    report = convert(probe, models[name], tmp_path / "copy")
    assert report["requantized"] == 0
    source, ours = (mx.load(str(folder / "model.safetensors")) for folder in (models[name], tmp_path / "copy"))
    assert set(source) == set(ours)
    for tensor, expected in source.items():
        assert ours[tensor].dtype == expected.dtype and mx.array_equal(ours[tensor], expected), tensor
    mlx_lm.load(str(tmp_path / "copy"))
