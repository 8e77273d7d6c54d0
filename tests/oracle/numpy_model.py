"""The training loss of a Llama or Qwen2 model with LoRA adapters, forward and backward, in numpy float64: the reference for rounding errors.

The same code can run with the rounding errors of float32 sprinkled in (class Rounding); what that does to a result is how far two correct float32
implementations may be apart, and every tolerance of these tests comes from it.
"""
import json
from dataclasses import dataclass, field
from pathlib import Path

import mlx.core as mx
import numpy as np

UNIT_ROUNDOFF = 2.0**-24  # of float32
BLOCK = 4096  # terms: longer than any sum of the models here but those over SmolLM2's vocabulary
PIECE = 2**20  # elements

PROJECTIONS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


class Rounding:
    """No errors: plain float64."""

    def of(self, value):
        return value

    def matmul(self, a, b):
        return a @ b

    def sum(self, terms):
        """Over the last axis, which stays with length 1."""
        return terms.sum(axis=-1, keepdims=True)


def product_of_squares(a, b):
    """(a * a) @ (b * b), a large b in pieces: fresh memory for its squares would cost more than the arithmetic."""
    if b.ndim > 2 or b.size <= PIECE:
        return (a * a) @ (b * b)
    step = max(1, PIECE // b.shape[1])
    return sum(np.square(a[:, i : i + step]) @ np.square(b[i : i + step]) for i in range(0, b.shape[0], step))


class MonteCarloRounding(Rounding):
    """Random errors as a float32 implementation makes them (Monte Carlo arithmetic, Parker 1997).

    An elementwise result is off by a relative u. A sum S of K terms, added one after the other, is off by the roundings of its partial sums, each uniform
    within u of it (variance u^2/3 of its square). The partial sums go to S evenly, plus a random walk that ends there (a bridge): their squares add up to
    K/3 S^2 + K/6 Q, Q the sum of the squared terms. So the error has the variance u^2 K (S^2/9 + Q/18): the first part is that of terms of one sign, both
    together that of random signs (Higham & Mary 2019, doi 10.1137/18M1226312). Blocked sums err less.

    Roundings are independent only while the terms are larger than the unit of the partial sum, so this is how sums of up to BLOCK terms err. Longer ones
    (over a vocabulary) are sums of blocks: BLOCK + K/BLOCK roundings. The engine's depth blocks (at most 1152, lora_linear/plan.cpp) and the lanes of its
    softmax sums (V / 16 for vectors of 8) are shorter than BLOCK for the vocabularies here.
    """

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def of(self, value):
        return value * (1.0 + UNIT_ROUNDOFF * self.random.standard_normal(np.shape(value)))

    def _inexact(self, total, squares, count):
        roundings = min(count, BLOCK) + count / BLOCK
        deviation = UNIT_ROUNDOFF * np.sqrt(roundings * (total * total / 9.0 + squares / 18.0))
        return total + deviation * self.random.standard_normal(total.shape)

    def matmul(self, a, b):
        return self._inexact(a @ b, product_of_squares(a, b), a.shape[-1])

    def sum(self, terms):
        return self._inexact(super().sum(terms), super().sum(terms * terms), terms.shape[-1])


class OneAccumulatorRounding(MonteCarloRounding):
    """As MonteCarloRounding, but sums of any length in one float32 accumulator, as MLX on this CPU does them (netlib's BLAS, quantized_matmul, softmax,
    logsumexp: plain loops).

    A term below half a unit in the last place of the partial sum is lost. In a softmax over a vocabulary, and in the product of its gradient with the
    head, that happens to thousands of terms of one sign, so the errors add up instead of cancelling (stagnation: Croci et al. 2022, doi
    10.1098/rsos.211631). No independent errors describe that: these sums really run in float32 here. For SmolLM2 it is 10 to 60 times the rest.
    """

    def matmul(self, a, b):
        if a.shape[-1] <= BLOCK:
            return super().matmul(a, b)
        a, b = np.float32(a), np.float32(b)
        total = np.zeros((a.shape[0], b.shape[1]), np.float32)
        for k in range(b.shape[0]):
            total += a[:, k, None] * b[k]
        return total.astype(np.float64)

    def sum(self, terms):
        if terms.shape[-1] <= BLOCK:
            return super().sum(terms)
        return np.cumsum(terms, axis=-1, dtype=np.float32)[..., -1:].astype(np.float64)


@dataclass
class Batch:
    """src/data/batch.h: segments one after the other, no padding."""

    tokens: list
    positions: list
    segment_starts: list
    loss_rows: list
    targets: list

    @staticmethod
    def of_rows(rows, supervised=None):
        """rows: token lists with their last target; supervised(row, i): is token i of the row learned (i >= 1)."""
        batch = Batch([], [], [0], [], [])
        for r, row in enumerate(rows):
            start = len(batch.tokens)
            batch.tokens += row[:-1]
            batch.positions += range(len(row) - 1)
            batch.segment_starts.append(len(batch.tokens))
            for i in range(1, len(row)):
                if supervised is None or supervised(r, i):
                    batch.loss_rows.append(start + i - 1)
                    batch.targets.append(row[i])
        return batch

    def as_json(self):
        return {k: [int(x) for x in v] for k, v in vars(self).items()}

    def segments(self):
        return list(zip(self.segment_starts[:-1], self.segment_starts[1:]))


@dataclass
class Adapters:
    """scale, and parameters by mlx-lm name; masks by module path: (N, in) float64, 0 or 1/(1-p)."""

    scale: float = 20.0
    parameters: dict = field(default_factory=dict)
    masks: dict = field(default_factory=dict)


def load_tensors(folder):
    tensors = {}
    for path in sorted(Path(folder).glob("model*.safetensors")):
        for name, value in mx.load(str(path)).items():
            if mx.issubdtype(value.dtype, mx.floating):
                tensors[name] = np.array(value.astype(mx.float32)).astype(np.float64)
            else:
                tensors[name] = np.array(value)
    return tensors


def dequantize(packed, scales, biases, inputs):
    """MLX affine groups: bits and group size follow from the shapes."""
    bits = packed.shape[1] * 32 // inputs
    group = inputs // scales.shape[1]
    stream = np.unpackbits(packed.view(np.uint8), axis=1, bitorder="little").reshape(packed.shape[0], inputs, bits)
    codes = (stream.astype(np.float64) * 2.0 ** np.arange(bits)).sum(axis=2)
    return codes * np.repeat(scales, group, axis=1) + np.repeat(biases, group, axis=1)


def rope_inverse_frequencies(config, head_dim):
    base = config.get("rope_theta", 10000.0)
    frequencies = base ** (np.arange(0, head_dim, 2) / head_dim)
    scaling = config.get("rope_scaling") or {}
    kind = scaling.get("type") or scaling.get("rope_type") or "default"
    if kind == "linear":
        return 1.0 / (frequencies * scaling["factor"])
    if kind == "llama3":
        low, high, factor = scaling.get("low_freq_factor", 1.0), scaling.get("high_freq_factor", 4.0), scaling["factor"]
        context = scaling.get("original_max_position_embeddings", 8192)
        wavelength = 2 * np.pi * frequencies
        smooth = (context / wavelength - low) / (high - low)
        medium = (wavelength > context / high) & (wavelength < context / low)
        scaled = np.where(wavelength > context / low, frequencies * factor, frequencies)
        return 1.0 / np.where(medium, frequencies / ((1 - smooth) / factor + smooth), scaled)
    assert kind == "default", kind
    return 1.0 / frequencies


class NumpyModel:
    def __init__(self, folder):
        self.config = json.loads((Path(folder) / "config.json").read_text())
        c = self.config
        self.layers = c["num_hidden_layers"]
        self.heads = c["num_attention_heads"]
        self.kv_heads = c.get("num_key_value_heads", self.heads)
        self.head_dim = c.get("head_dim") or c["hidden_size"] // self.heads
        self.eps = c["rms_norm_eps"]
        self.traditional = c.get("rope_traditional", False)
        sliding = [t == "sliding_attention" for t in c.get("layer_types") or ["full_attention"] * self.layers]
        self.windows = [c["sliding_window"] if s else None for s in sliding]
        self.inverse_frequencies = rope_inverse_frequencies(c, self.head_dim)
        self.tensors = load_tensors(folder)
        self.weights = {}
        d, i, q = c["hidden_size"], c["intermediate_size"], self.heads * self.head_dim
        inputs = {"o_proj": q, "down_proj": i}
        for name, value in self.tensors.items():
            if name.endswith(".weight"):
                module = name[: -len(".weight")]
                if f"{module}.scales" in self.tensors:
                    value = dequantize(value, self.tensors[f"{module}.scales"], self.tensors[f"{module}.biases"], inputs.get(module.split(".")[-1], d))
                self.weights[module] = value
        self.embedding = self.weights["model.embed_tokens"]
        tied = c.get("tie_word_embeddings", True)
        self.head = self.embedding if tied else self.weights["lm_head"]

    # Each linear keeps what its backward needs on the tape under its path.
    def _linear(self, path, x, adapters, tape, r):
        y = r.matmul(x, self.weights[path].T)
        bias = self.tensors.get(f"{path}.bias")
        if bias is not None:
            y = r.of(y + bias)
        a = adapters.parameters.get(f"{path}.lora_a")
        if a is not None:
            dropped = x * adapters.masks[path] if path in adapters.masks else x
            xa = r.matmul(dropped, a)
            y = r.of(y + adapters.scale * r.matmul(xa, adapters.parameters[f"{path}.lora_b"]))
            tape[path] = (dropped, xa)
        return y

    def _linear_backward(self, path, dy, adapters, tape, gradients, r):
        dx = r.matmul(dy, self.weights[path])
        a = adapters.parameters.get(f"{path}.lora_a")
        if a is not None:
            dropped, xa = tape[path]
            b = adapters.parameters[f"{path}.lora_b"]
            dz = adapters.scale * dy
            d_xa = r.matmul(dz, b.T)
            gradients[f"{path}.lora_b"] = r.matmul(xa.T, dz)
            gradients[f"{path}.lora_a"] = r.matmul(dropped.T, d_xa)
            d_dropped = r.matmul(d_xa, a.T)
            dx = r.of(dx + (d_dropped * adapters.masks[path] if path in adapters.masks else d_dropped))
        return dx

    def _norm(self, name, x, r):
        inverse = 1.0 / np.sqrt(r.sum(x * x) / x.shape[-1] + self.eps)
        return r.of(x * inverse * self.tensors[f"{name}.weight"]), r.of(inverse)

    def _norm_backward(self, name, dy, x, inverse, r):
        g = dy * self.tensors[f"{name}.weight"]
        return r.of(inverse * g - x * inverse**3 * r.sum(g * x) / x.shape[-1])

    def _rotate(self, x, positions, direction):
        # Angles are float32 products in MLX and in the engine; cos and sin of them are exact here.
        angle = np.asarray(positions, np.float32)[:, None] * self.inverse_frequencies.astype(np.float32)
        angle = direction * angle.astype(np.float64)[:, None, :]
        c, s = np.cos(angle), np.sin(angle)
        half = self.head_dim // 2
        first, second = (x[..., 0::2], x[..., 1::2]) if self.traditional else (x[..., :half], x[..., half:])
        rotated = (first * c - second * s, first * s + second * c)
        return np.stack(rotated, axis=-1).reshape(x.shape) if self.traditional else np.concatenate(rotated, axis=-1)

    def _attention(self, q, k, v, segments, window, r):
        n, group = q.shape[0], self.heads // self.kv_heads
        out, saved = np.zeros_like(q), []
        for begin, end in segments:
            qs = q[begin:end].transpose(1, 0, 2)
            ks, vs = (np.repeat(t[begin:end].transpose(1, 0, 2), group, axis=0) for t in (k, v))
            scores = r.of(r.matmul(qs, ks.transpose(0, 2, 1)) * self.head_dim**-0.5)
            query, key = np.arange(end - begin)[:, None], np.arange(end - begin)[None]
            seen = (key <= query) & (key > query - window if window else True)
            scores = np.where(seen, scores, -np.inf)
            p = np.exp(scores - scores.max(axis=-1, keepdims=True))
            p = r.of(p / r.sum(p))
            out[begin:end] = r.matmul(p, vs).transpose(1, 0, 2)
            saved.append((qs, ks, vs, p))
        return out.reshape(n, -1), saved

    def _softmax_backward(self, dp, p, r):
        return p * (dp - r.sum(p * dp))

    def _attention_backward(self, d_out, saved, segments, r):
        n, group = d_out.shape[0], self.heads // self.kv_heads
        dq = np.zeros((n, self.heads, self.head_dim))
        dk, dv = (np.zeros((n, self.kv_heads, self.head_dim)) for _ in range(2))
        d_out = d_out.reshape(n, self.heads, self.head_dim)
        for (begin, end), (qs, ks, vs, p) in zip(segments, saved):
            do = d_out[begin:end].transpose(1, 0, 2)
            dp = r.matmul(do, vs.transpose(0, 2, 1))
            ds = r.of(self._softmax_backward(dp, p, r) * self.head_dim**-0.5)
            dq[begin:end] = r.matmul(ds, ks).transpose(1, 0, 2)
            for target, part in ((dk, r.matmul(ds.transpose(0, 2, 1), qs)), (dv, r.matmul(p.transpose(0, 2, 1), do))):
                target[begin:end] = part.reshape(self.kv_heads, group, end - begin, self.head_dim).sum(axis=1).transpose(1, 0, 2)
        return dq, dk, dv

    def _forward(self, batch, adapters, tape, r):
        h = self.embedding[np.asarray(batch.tokens)]
        n, segments = h.shape[0], batch.segments()
        for layer in range(self.layers):
            block = f"model.layers.{layer}"
            x, inverse = self._norm(f"{block}.input_layernorm", h, r)
            q, k, v = (self._linear(f"{block}.self_attn.{p}", x, adapters, tape, r).reshape(n, -1, self.head_dim) for p in ("q_proj", "k_proj", "v_proj"))
            q, k = (r.of(self._rotate(t, batch.positions, 1)) for t in (q, k))
            out, saved = self._attention(q, k, v, segments, self.windows[layer], r)
            middle = r.of(h + self._linear(f"{block}.self_attn.o_proj", out, adapters, tape, r))
            x, inverse_2 = self._norm(f"{block}.post_attention_layernorm", middle, r)
            gate, up = (self._linear(f"{block}.mlp.{p}", x, adapters, tape, r) for p in ("gate_proj", "up_proj"))
            act = r.of(gate / (1.0 + np.exp(-gate)) * up)
            tape[block] = (h, inverse, saved, middle, inverse_2, gate, up)
            h = r.of(middle + self._linear(f"{block}.mlp.down_proj", act, adapters, tape, r))
        return h

    def logits(self, rows, adapters=None, rounding=None):
        """rows: token lists -> list of (T, V)."""
        r = rounding or Rounding()
        batch = Batch.of_rows([row + [0] for row in rows])
        h = self._forward(batch, adapters or Adapters(), {}, r)
        x, _ = self._norm("model.norm", h, r)
        logits = r.matmul(x, self.head.T)
        return [logits[b:e] for b, e in batch.segments()]

    def loss(self, batch, adapters, rounding=None):
        """Sum of cross-entropy over the supervised rows."""
        r = rounding or Rounding()
        return self._head(self._forward(batch, adapters, {}, r), batch, r)[0]

    def _head(self, h, batch, r):
        rows, targets = np.asarray(batch.loss_rows), np.asarray(batch.targets)
        x, inverse = self._norm("model.norm", h[rows], r)
        logits = r.matmul(x, self.head.T)
        shifted = logits - logits.max(axis=-1, keepdims=True)
        p = np.exp(shifted)
        total = r.sum(p)
        pick = (np.arange(len(rows)), targets)
        ce = r.of(np.log(total[:, 0]) - shifted[pick])
        d_logits = r.of(p / total)
        d_logits[pick] -= 1.0
        return ce.sum(), rows, x, inverse, d_logits

    def loss_and_gradients(self, batch, adapters, rounding=None):
        """(sum of cross-entropy, {mlx-lm name: d(sum)/d(parameter)}) by hand-written backward."""
        r, tape, gradients = rounding or Rounding(), {}, {}
        h = self._forward(batch, adapters, tape, r)
        loss, rows, _, inverse, d_logits = self._head(h, batch, r)
        dh = np.zeros_like(h)
        dh[rows] = self._norm_backward("model.norm", r.matmul(d_logits, self.head), h[rows], inverse, r)
        n, segments = h.shape[0], batch.segments()
        for layer in reversed(range(self.layers)):
            block = f"model.layers.{layer}"
            h, inverse, saved, middle, inverse_2, gate, up = tape[block]
            d_act = self._linear_backward(f"{block}.mlp.down_proj", dh, adapters, tape, gradients, r)
            sigmoid = 1.0 / (1.0 + np.exp(-gate))
            d_gate = r.of(d_act * up * sigmoid * (1.0 + gate * (1.0 - sigmoid)))
            d_up = r.of(d_act * gate * sigmoid)
            dx = sum(self._linear_backward(f"{block}.mlp.{p}", d, adapters, tape, gradients, r) for p, d in (("gate_proj", d_gate), ("up_proj", d_up)))
            dh = r.of(dh + self._norm_backward(f"{block}.post_attention_layernorm", dx, middle, inverse_2, r))
            d_out = self._linear_backward(f"{block}.self_attn.o_proj", dh, adapters, tape, gradients, r)
            dq, dk, dv = self._attention_backward(d_out, saved, segments, r)
            dq, dk = (r.of(self._rotate(t, batch.positions, -1)) for t in (dq, dk))
            dx = 0.0
            for p, d in (("q_proj", dq), ("k_proj", dk), ("v_proj", dv)):
                dx = dx + self._linear_backward(f"{block}.self_attn.{p}", d.reshape(n, -1), adapters, tape, gradients, r)
            dh = r.of(dh + self._norm_backward(f"{block}.input_layernorm", dx, h, inverse, r))
        return loss, gradients


def philox4x32(counters, key):
    """src/base/philox.h for an array of counters -> (n, 4) uint32."""
    low = np.uint64(0xFFFFFFFF)
    counters = np.asarray(counters, np.uint64)
    c = [counters & low, counters >> np.uint64(32), np.zeros_like(counters), np.zeros_like(counters)]
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), p1 & low, (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), p0 & low]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(c, axis=-1).astype(np.uint32)


def dropout_mask(key, rows, width, p):
    """Mask of adapter dropout, (rows, width): 0 or 1/(1-p)."""
    count = rows * width
    bits = philox4x32(np.arange((count + 3) // 4), key).reshape(-1)[:count]
    keep = bits.astype(np.float64) >= float(np.float32(p)) * 4294967296.0
    return (keep / (1.0 - float(np.float32(p)))).reshape(rows, width)
