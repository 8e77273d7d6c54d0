"""Runs `mlx_lm.lora` unchanged, except that floats are float32 and every report goes to a file as a JSON line.

    python mlx_lm_train.py REPORTS.jsonl [--twin SEED] [--vocabulary-blocks] -- <arguments of mlx_lm.lora>

--twin: the same run as another correct float32 implementation might make it. Every norm weight is off by a random relative u * sqrt(K/6) (K: the longest
inner dimension), which changes what each linear computes as much as the rounding of its sums may (numpy_model.MonteCarloRounding), and every gradient by as
much relative to its tensor's root mean square.
--vocabulary-blocks: sums over the vocabulary (the softmax's and, through autodiff, the gradient of a dense tied head) in blocks of 1024 words, where MLX on
this CPU loses small terms in one accumulator (numpy_model.OneAccumulatorRounding).
"""
import argparse
import json
import math
import sys

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import mlx_lm.lora as lora
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from numpy_model import UNIT_ROUNDOFF


class Reports:
    def __init__(self, path):
        self.file = open(path, "w")

    def write(self, **values):
        print(json.dumps(values), file=self.file, flush=True)

    def on_train_loss_report(self, info):
        self.write(step=info["iteration"], train_loss=info["train_loss"], learning_rate=info["learning_rate"], tokens=info["trained_tokens"])

    def on_val_loss_report(self, info):
        self.write(step=info["iteration"], val_loss=info["val_loss"])


def relative_error(model):
    return UNIT_ROUNDOFF * math.sqrt(max(model.args.hidden_size, model.args.intermediate_size) / 6)


def perturb_norms(model, seed):
    key, changed = mx.random.key(seed), []
    for name, value in tree_flatten(model.parameters()):
        if "norm" in name:
            key, own = mx.random.split(key)
            changed.append((name, value * (1.0 + relative_error(model) * mx.random.normal(value.shape, key=own))))
    model.update(tree_unflatten(changed))


def perturb_updates(optimizer_class, seed):
    class Twin(optimizer_class):
        def update(self, model, gradients):
            # Its own keys: the global sequence of mx.random must stay what it is. A fixed pattern of signs and sizes, as a systematic error would have it.
            keys = iter(mx.random.split(mx.random.key(seed + 1), len(tree_flatten(gradients))))
            delta = relative_error(model)

            def off(g):
                return g + delta * mx.sqrt(mx.mean(g * g)) * mx.random.normal(g.shape, key=next(keys))

            super().update(model, tree_map(off, gradients))

    return Twin


def sum_vocabulary_in_blocks(words=1024):
    def cross_entropy(logits, targets):
        blocks = logits.reshape(*logits.shape[:-1], -1, words)
        chosen = mx.take_along_axis(logits, targets[..., None], axis=-1).squeeze(-1)
        return mx.logsumexp(mx.logsumexp(blocks, axis=-1), axis=-1) - chosen

    def as_linear(self, x):
        return mx.concatenate([x @ block.T for block in mx.split(self.weight, self.weight.shape[0] // words)], axis=-1)

    nn.losses.cross_entropy = cross_entropy
    nn.Embedding.as_linear = as_linear


def parse_own_options():
    """Leaves mlx_lm.lora's own arguments in sys.argv."""
    split = sys.argv.index("--")
    parser = argparse.ArgumentParser()
    parser.add_argument("reports")
    parser.add_argument("--twin", type=int)
    parser.add_argument("--vocabulary-blocks", action="store_true")
    options = parser.parse_args(sys.argv[1:split])
    sys.argv = ["mlx_lm.lora", *sys.argv[split + 1 :]]
    return options


def main():
    options = parse_own_options()
    twin = options.twin
    if options.vocabulary_blocks:
        sum_vocabulary_in_blocks()
    mx.set_default_device(mx.cpu)

    load = lora.load

    def load_float32(*arguments, **keywords):
        model, tokenizer = load(*arguments, **keywords)
        model.set_dtype(mx.float32)
        if twin is not None:
            perturb_norms(model, twin)
        mx.eval(model.parameters())
        return model, tokenizer

    lora.load = load_float32
    lora.get_reporting_callbacks = lambda *_, **__: Reports(options.reports)
    if twin is not None:
        optim.Adam, optim.AdamW = perturb_updates(optim.Adam, twin), perturb_updates(optim.AdamW, twin)
    lora.main()


if __name__ == "__main__":
    main()
