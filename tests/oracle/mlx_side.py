"""What mlx-lm itself computes in float32: logits, losses and adapter gradients by MLX autodiff."""
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load_model


def load_float32(folder, adapter=None, parameters=None, seed=0):
    """The model with every float (scales and biases of quantized layers too) as float32, adapters added (as mlx_lm.lora does with --seed) and filled."""
    model, _ = load_model(Path(folder))
    model.set_dtype(mx.float32)
    model.freeze()
    if adapter is not None:
        mx.random.seed(seed)  # loading has drawn numbers too
        linear_to_lora_layers(model, adapter["num_layers"], {k: v for k, v in adapter.items() if k != "num_layers"})
    if parameters is not None:
        model.load_weights([(k, mx.array(np.asarray(v, np.float32))) for k, v in parameters.items()], strict=False)
    model.eval()
    mx.eval(model.parameters())
    return model


def pad(rows):
    width = max(map(len, rows))
    return mx.array(np.array([row + [0] * (width - len(row)) for row in rows], np.int32))


def logits(model, rows):
    out = model(pad(rows))
    return [np.array(out[i, : len(row)]) for i, row in enumerate(rows)]


def loss_and_gradients(model, rows, supervised):
    """Sum of cross-entropy over tokens i >= 1 of row r with supervised(r, i), on the padded batch; gradients by mlx-lm name."""
    tokens = pad(rows)
    mask = np.zeros(tokens.shape, np.float32)
    for r, row in enumerate(rows):
        for i in range(1, len(row)):
            mask[r, i] = 1.0 if supervised is None or supervised(r, i) else 0.0
    mask = mx.array(mask[:, 1:])

    def loss(model):
        return (nn.losses.cross_entropy(model(tokens[:, :-1]), tokens[:, 1:]) * mask).sum()

    value, gradients = nn.value_and_grad(model, loss)(model)
    mx.eval(value, gradients)
    return value.item(), {k: np.array(v) for k, v in tree_flatten(gradients)}
