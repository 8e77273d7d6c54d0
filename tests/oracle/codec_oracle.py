"""File formats against their reference implementations: mlx.core.quantize/dequantize, the safetensors package, Python's json."""
import json
import random
import struct

import mlx.core as mx
import numpy as np
import pytest
import safetensors
import safetensors.numpy

DTYPES = {"f32": mx.float32, "f16": mx.float16, "bf16": mx.bfloat16}
BITS = (2, 3, 4, 5, 6, 8)
GROUPS = (32, 64, 128)


def raw(array):
    """The bytes of an array, so that -0.0 differs from 0.0 and NaN equals itself."""
    width = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32}[array.itemsize]
    return np.array(array.view(width))


def hard_matrices(seed):
    """fp32 matrices (rows, 256) whose groups are unpleasant; most survive the cast to half types as something unpleasant too."""
    rng = np.random.default_rng(seed)
    rows = 64
    normal = rng.standard_normal((rows, 256)).astype(np.float32)
    ties = (rng.integers(-15, 16, (rows, 256)) / 2).astype(np.float32)
    one_big = normal.copy()
    one_big[:, ::32] *= 3e4
    edges = rng.choice(np.float32([0.0, -0.0, 1.0, -1.0, 1e-7, -1e-7, 6e-8, 65504.0, -65504.0, 0.5]), (rows, 256))
    matrices = {
        "normal": normal,
        "tiny": normal * np.float32(1e-7),
        "subnormal": normal * np.float32(1e-40),
        "half_subnormal": normal * np.float32(3e-6),
        "large": normal * np.float32(1e4),
        "positive": np.abs(normal) + np.float32(3),
        "negative": -np.abs(normal) - np.float32(3),
        "zeros": np.zeros((rows, 256), np.float32),
        "minus_zeros": np.full((rows, 256), -0.0, np.float32),
        "constant": np.repeat(rng.standard_normal((rows, 1)).astype(np.float32), 256, 1),
        "constant_groups": np.repeat(rng.standard_normal((rows, 8)).astype(np.float32), 32, 1),
        "ties": ties,
        "symmetric": np.where(rng.random((rows, 256)) < 0.5, np.float32(1), np.float32(-1)),
        "one_big": one_big,
        "edges": edges,
        "offset": normal * np.float32(1e-3) + np.float32(1),
    }
    f32_only = {"huge": normal.clip(-3, 3) * np.float32(1e38), "widest": np.where(normal > 0, np.float32(3.4e38), np.float32(-3.4e38))}
    return matrices, f32_only


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_quantize_gives_the_bytes_of_mlx(probe, tmp_path, dtype, bits, group):
    matrices, f32_only = hard_matrices(bits * 1000 + group)
    if dtype == "f32":
        matrices |= f32_only
    weights = {name: mx.array(m).astype(DTYPES[dtype]) for name, m in matrices.items()}
    for name in list(weights):
        if not mx.all(mx.isfinite(weights[name])).item():
            del weights[name]
    assert len(weights) >= 15
    mx.save_safetensors(str(tmp_path / "in.safetensors"), weights)
    probe.text("quantize", tmp_path / "in.safetensors", tmp_path / "out.safetensors", bits, group)
    ours = mx.load(str(tmp_path / "out.safetensors"))
    assert len(ours) == 3 * len(weights)
    for name, w in weights.items():
        for part, expected in zip(("weight", "scales", "biases"), mx.quantize(w, group, bits)):
            got = ours[f"{name}.{part}"]
            assert got.dtype == expected.dtype and got.shape == expected.shape
            assert np.array_equal(raw(got), raw(expected)), f"{name}.{part}"


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dequantize_gives_the_bytes_of_mlx(probe, tmp_path, dtype, bits, group):
    rng = np.random.default_rng(bits * 100 + group)
    rows, columns = 128, 256
    tensors = {}
    for name, scale, bias in (("plain", 0.02, 0.1), ("tiny", 1e-7, 1e-6), ("cancel", 1.0, 8.0), ("large", 200.0, 6e4), ("zero", 0.0, 0.0)):
        tensors[f"{name}.weight"] = mx.array(rng.integers(0, 2**32, (rows, columns * bits // 32), dtype=np.uint32))
        for part, size in (("scales", scale), ("biases", bias)):
            values = rng.standard_normal((rows, columns // group)).clip(-1, 1) * size
            tensors[f"{name}.{part}"] = mx.array(values.astype(np.float32)).astype(DTYPES[dtype])
    # Scales and biases of any bit pattern that is a finite number.
    if dtype != "f32":
        for part in ("scales", "biases"):
            bits16 = mx.array(rng.integers(0, 2**16, (rows, columns // group), dtype=np.uint16)).view(DTYPES[dtype])
            tensors[f"any.{part}"] = mx.where(mx.isfinite(bits16), bits16, mx.array(1.0, DTYPES[dtype]))
        tensors["any.weight"] = tensors["plain.weight"]
    mx.save_safetensors(str(tmp_path / "in.safetensors"), tensors)
    probe.text("dequantize", tmp_path / "in.safetensors", tmp_path / "out.safetensors", bits, group)
    ours = mx.load(str(tmp_path / "out.safetensors"))
    for name, got in ours.items():
        expected = mx.dequantize(tensors[f"{name}.weight"], tensors[f"{name}.scales"], tensors[f"{name}.biases"], group, bits)
        assert got.dtype == expected.dtype
        numbers = np.array(~(mx.isnan(got) & mx.isnan(expected)))  # which NaN comes out of inf - inf is nobody's contract
        assert np.array_equal(raw(got)[numbers], raw(expected)[numbers]), name


def test_our_files_are_read_by_mlx_and_by_the_reference_library(probe, tmp_path):
    weights = {"a.b": mx.ones((3, 64)), "c": mx.zeros((1, 32))}
    mx.save_safetensors(str(tmp_path / "in.safetensors"), weights)
    header = (tmp_path / "in.safetensors").read_bytes()[8:40]
    assert header.startswith(b'{"__metadata__":null'), "mlx writes null metadata; our reader must take it"
    probe.text("quantize", tmp_path / "in.safetensors", tmp_path / "out.safetensors", 4, 32)
    data = (tmp_path / "out.safetensors").read_bytes()
    assert struct.unpack("<Q", data[:8])[0] % 8 == 0
    reference = safetensors.numpy.load(data)
    by_mlx = mx.load(str(tmp_path / "out.safetensors"))
    assert set(reference) == set(by_mlx) and len(reference) == 6
    for name, array in reference.items():
        assert np.array_equal(array, np.array(by_mlx[name]))


# --- safetensors: nothing that we accept may be refused by the reference library ---------------------------------------------------------------------

BASE = {
    "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "layers.0.b": {"dtype": "F16", "shape": [4], "data_offsets": [24, 32]},
    "empty": {"dtype": "I64", "shape": [0, 5], "data_offsets": [32, 32]},
    "scalar": {"dtype": "U8", "shape": [], "data_offsets": [32, 33]},
    "q": {"dtype": "U32", "shape": [1, 2], "data_offsets": [33, 41]},
}
ODD_VALUES = [None, True, -1, 0, 1, 2, 3, 24, 41, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 1.0, 0.5, 1e300, "", "F32", "x", [], [0], [0, 24], {}]
ODD_TEXT = [b"\x00", b" ", b"\n", b"\xff", b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"-", b"0", b"e", b".", b"\xef\xbb\xbf", b"\\u0000", b"null", b'"w":1,', b"//"]


def file_of(header, data):
    return struct.pack("<Q", len(header)) + header + data


def mutated_header(rng):
    header = json.loads(json.dumps(BASE))
    for _ in range(rng.randint(1, 3)):
        tensor = header[rng.choice([k for k in header if isinstance(header[k], dict)] or ["w"])] if header else {}
        kind = rng.randrange(8)
        if kind == 0 and isinstance(tensor, dict) and tensor:
            tensor[rng.choice(list(tensor))] = rng.choice(ODD_VALUES)
        elif kind == 1 and isinstance(tensor.get("shape"), list) and tensor["shape"]:
            tensor["shape"][rng.randrange(len(tensor["shape"]))] = rng.choice(ODD_VALUES)
        elif kind == 2 and isinstance(tensor.get("shape"), list):
            tensor["shape"].append(rng.choice([0, 1, 1, 2, 2**32]))
        elif kind == 3 and isinstance(tensor.get("data_offsets"), list) and tensor["data_offsets"]:
            tensor["data_offsets"][rng.randrange(len(tensor["data_offsets"]))] = rng.choice(ODD_VALUES)
        elif kind == 4 and tensor:
            tensor.pop(rng.choice(list(tensor)))
        elif kind == 5:
            header["__metadata__"] = rng.choice([None, {}, {"a": "b"}, {"a": 1}, {"a": None}, [], "x", {"a": {}}])
        elif kind == 6:
            names = list(header)
            rng.shuffle(names)
            header = {n: header[n] for n in names}
        else:
            name = rng.choice(list(header))
            header[rng.choice(["x", "", "a b", "é", "..", name])] = header.pop(name)
    return json.dumps(header, ensure_ascii=rng.random() < 0.5, separators=rng.choice([(",", ":"), (", ", ": ")])).encode()


def mutated_bytes(rng, data):
    data = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at : at + rng.randint(1, 9)]
        elif kind == 2:
            data[at:at] = rng.choice(ODD_TEXT)
        elif kind == 3:
            data[at : at + 1] = rng.choice(ODD_TEXT)
        else:
            data += bytes(rng.randint(1, 3))
        if not data:
            break
    if rng.random() < 0.7 and len(data) > 8:  # otherwise nearly all of them fail by their length alone
        header_end = bytes(data).rfind(b"}")
        if header_end >= 8:
            data[:8] = struct.pack("<Q", header_end - 7 + rng.choice([0, 0, 0, 1, -1]))
    return bytes(data)


def test_nothing_is_accepted_that_the_reference_library_refuses(probe, tmp_path):
    rng = random.Random(20251)
    payload = bytes(range(41))
    base = json.dumps(BASE, separators=(",", ":")).encode()
    base += b" " * (-len(base) % 8)
    samples = [file_of(base, payload)]
    for i in range(4000):
        if i % 2 == 0:
            header = mutated_header(rng)
            samples.append(file_of(header, payload if rng.random() < 0.9 else payload + b"x" * rng.randint(-3, 3)))
        else:
            samples.append(mutated_bytes(rng, file_of(base, payload)))
    folder = tmp_path / "samples"
    folder.mkdir()
    for i, sample in enumerate(samples):
        (folder / f"{i:05d}.safetensors").write_bytes(sample)
    verdicts = probe.text("safetensors", folder).splitlines()
    assert len(verdicts) == len(samples)
    accepted = stricter = 0
    for i, (sample, verdict) in enumerate(zip(samples, verdicts)):
        assert f"{i:05d}.safetensors" in verdict
        try:
            tensors = dict(safetensors.deserialize(sample))
        except safetensors.SafetensorError:
            tensors = None
        if not verdict.startswith("accept"):
            stricter += tensors is not None
            continue
        accepted += 1
        assert tensors is not None, f"we accept, the reference refuses: {sample!r}"
        if any(d >= 2**31 for t in tensors.values() for d in t["shape"]):
            continue  # mlx keeps dimensions in 32 bits and wraps them
        loaded = mx.load(str(folder / f"{i:05d}.safetensors"))
        assert {n: tuple(t["shape"]) for n, t in tensors.items()} == {n: t.shape for n, t in loaded.items()}
    print(f"{len(samples)} files: {accepted} accepted by both, {stricter} refused by us alone")
    assert accepted >= 200, "the mutations must not all be hopeless"


def test_adapter_config_has_the_bytes_of_json_dump(probe, tmp_path):
    rng = random.Random(7)

    def value(depth):
        kind = rng.randrange(9 if depth < 3 else 7)
        if kind == 0:
            return rng.choice([None, True, False])
        if kind == 1:
            return rng.choice([0, -1, 16, 2**63 - 1, 2**64 - 1, -(2**63)])
        if kind == 2:
            return rng.choice([0.0, -0.0, 1e-5, 20.0, 1e16, 1e15, 123456.789, 1e-4, 1e22, 5e-324, 1.7976931348623157e308])
        if kind == 3:
            return struct.unpack("<d", struct.pack("<Q", rng.getrandbits(64) & ~(1 << 62)))[0]  # any double below 2
        if kind in (4, 5):
            return rng.uniform(-10, 10) * 10.0 ** rng.randint(-20, 20)
        if kind == 6:
            return "".join(rng.choice('aé"\\\n\t\x01\x7f/😀 ') for _ in range(rng.randint(0, 8)))
        if kind == 7:
            return [value(depth + 1) for _ in range(rng.randint(0, 3))]
        return {f"{rng.choice('abAB')}{i}": value(depth + 1) for i in range(rng.randint(0, 3))}

    for i in range(30):
        config = {f"{rng.choice('zayB_é')}{k}": value(0) for k in range(rng.randint(0, 12))}
        (tmp_path / "in.json").write_text(json.dumps(config))
        probe.text("adapter_config", tmp_path / "in.json", tmp_path)
        expected = json.dumps(dict(sorted(config.items())), indent=4)
        assert (tmp_path / "adapter_config.json").read_bytes() == expected.encode(), i
