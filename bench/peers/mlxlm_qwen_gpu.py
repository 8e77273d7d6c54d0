"""mlx-lm's own trainer on a GPU, on random Qwen2.5-0.5B weights (bf16, 4 bit group 64) and full rows: the peer of evolora_mlx_benchmark. Prints one JSON line.

    python3 bench/peers/mlxlm_qwen_gpu.py --batch-size 4 --adapter lora

wall_tokens_per_s is taken between its reports from the twelfth step on and counts all that happens between steps; tokens_per_s is mlx-lm's own figure.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_map
from mlx_lm.models import qwen2
from mlx_lm.tuner.datasets import CacheDataset
from mlx_lm.tuner.trainer import TrainingArgs, train
from mlx_lm.tuner.utils import linear_to_lora_layers

TOKENS, STEPS, STEPS_PER_REPORT, WARM_UP_REPORTS = 512, 24, 4, 2
CONFIG = {
    "model_type": "qwen2", "hidden_size": 896, "num_hidden_layers": 24, "intermediate_size": 4864, "num_attention_heads": 14, "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6, "vocab_size": 151936, "rope_theta": 1e6, "tie_word_embeddings": True,
}


class RandomRows:
    def __len__(self):
        return 64

    def __getitem__(self, index):
        return {"row": index}

    def process(self, record):
        return np.random.RandomState(record["row"]).randint(0, CONFIG["vocab_size"] - 1, TOKENS + 1).tolist(), 0


class Reports:
    def __init__(self):
        self.reports = []

    def on_train_loss_report(self, info):
        self.reports.append({**info, "at": time.perf_counter()})

    def on_val_loss_report(self, info):
        pass


def make_model(adapter):
    mx.random.seed(0)
    model = qwen2.Model(qwen2.ModelArgs.from_dict(CONFIG))
    model.update(tree_map(lambda x: x.astype(mx.bfloat16), model.parameters()))
    nn.quantize(model, group_size=64, bits=4)
    model.freeze()
    linear_to_lora_layers(model, 16, {"rank": 8, "dropout": 0.0, "scale": 20.0}, use_dora=adapter == "dora")
    mx.eval(model.parameters())
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--adapter", choices=["lora", "dora"], default="lora")
    arguments = parser.parse_args()
    model, reports = make_model(arguments.adapter), Reports()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        options = TrainingArgs(batch_size=arguments.batch_size, iters=STEPS, val_batches=0, steps_per_report=STEPS_PER_REPORT, steps_per_eval=10**9, steps_per_save=10**9,
                               max_seq_length=TOKENS + 1, adapter_file=f"{folder}/adapters.safetensors")
        train(model, optim.Adam(1e-5), CacheDataset(RandomRows()), None, args=options, training_callback=reports)
    counted = reports.reports[WARM_UP_REPORTS:]
    work = arguments.batch_size * TOKENS * STEPS_PER_REPORT * (len(counted) - 1)
    print(json.dumps({"batch_size": arguments.batch_size, "adapter": arguments.adapter, "wall_tokens_per_s": work / (counted[-1]["at"] - counted[0]["at"]),
                      "tokens_per_s": sorted(r["tokens_per_second"] for r in counted)[len(counted) // 2], "peak_bytes": mx.get_peak_memory(), "loss": counted[-1]["train_loss"],
                      "device": str(mx.default_device())}))


if __name__ == "__main__":
    main()
