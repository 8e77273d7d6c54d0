"""One peer of `make bench`: mlx_lm.lora itself (its loader, batches, compiled step and optimizer), in this process. Prints one JSON line; run by bench/.

Figures are kind to the peer: the median of mlx-lm's own tokens per second after the first --skip steps, which leaves out data preparation.
"""

import argparse
import contextlib
import json
import pathlib
import statistics
import sys
import tempfile
import types

import mlx.core as mx
from mlx_lm import lora
from mlx_lm.tuner.callbacks import TrainingCallback


class Steps(TrainingCallback):
    def __init__(self):
        self.reports = []

    def on_train_loss_report(self, train_info):
        self.reports.append(train_info)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("data", help="folder with train.jsonl")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=256, help="longest row, in inputs")
    parser.add_argument("--num-layers", type=int, default=16)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--scale", type=float, default=20.0)
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    parser.add_argument("--mask-prompt", action="store_true")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--skip", type=int, default=1, help="warm-up steps that do not count")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    mx.set_default_device(mx.cpu)
    steps = Steps()
    with tempfile.TemporaryDirectory() as folder:
        wanted = {
            "model": arguments.model,
            "data": arguments.data,
            "train": True,
            "batch_size": arguments.batch_size,
            "iters": arguments.steps,
            "num_layers": arguments.num_layers,
            "lora_parameters": {"rank": arguments.rank, "scale": arguments.scale, "dropout": 0.0},
            "learning_rate": arguments.learning_rate,
            "mask_prompt": arguments.mask_prompt,
            "max_seq_length": arguments.tokens + 1,
            "steps_per_report": 1,
            "adapter_path": str(pathlib.Path(folder) / "adapter"),
        }
        lora.get_reporting_callbacks = lambda *_, **__: steps  # run() makes its own callback and ignores the one it is given
        # Its console goes to stderr: standard output is for the one JSON line.
        with contextlib.redirect_stdout(sys.stderr):
            lora.run(types.SimpleNamespace(**{**lora.CONFIG_DEFAULTS, **wanted}))
    counted = steps.reports[arguments.skip :]
    speeds = [r["tokens_per_second"] for r in counted]
    print(
        json.dumps(
            {
                "tokens_per_s": statistics.median(speeds),
                "best_tokens_per_s": max(speeds),
                "mean_step_s": statistics.mean(1 / r["iterations_per_second"] for r in counted),
                "steps_s": sum(1 / r["iterations_per_second"] for r in steps.reports),
                "tokens_per_step": steps.reports[-1]["trained_tokens"] / len(steps.reports),
                "mlx_peak_mb": mx.get_peak_memory() / 1e6,
                "loss": steps.reports[-1]["train_loss"],
            }
        )
    )


if __name__ == "__main__":
    main()
