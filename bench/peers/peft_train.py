"""One peer of `make bench`: PEFT LoRA on torch, fp32 on the CPU, the same shapes as ours. Prints one JSON line; run by bench/run_peers.py.

The model is built from the config.json of an MLX folder with random weights: this measures speed and memory, and its losses mean nothing.
Figures are kind to the peer: the median step after the first --skip ones, data preparation left out.
"""

import argparse
import json
import statistics
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder with a config.json")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=256, help="inputs per row")
    parser.add_argument("--num-layers", type=int, default=16, help="adapters on the last N layers")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--scale", type=float, default=20.0)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--skip", type=int, default=1, help="warm-up steps that do not count")
    parser.add_argument("--compile", action="store_true", help="torch.compile; its first two steps compile, so give --skip 3")
    return parser.parse_args()


def build_model(arguments):
    config = AutoConfig.from_pretrained(arguments.model)
    for leftover in ("quantization", "quantization_config"):  # MLX's, which transformers would take for its own
        if hasattr(config, leftover):
            delattr(config, leftover)
    config.use_cache = False
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    layers = config.num_hidden_layers
    lora = LoraConfig(
        r=arguments.rank,
        lora_alpha=arguments.scale * arguments.rank,
        target_modules=LINEARS,
        layers_pattern="layers",
        layers_to_transform=list(range(layers - arguments.num_layers, layers)),
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(model, lora)
    model.train()
    return (torch.compile(model, dynamic=False) if arguments.compile else model), config.vocab_size


def main():
    arguments = parse_arguments()
    torch.manual_seed(0)
    model, vocabulary = build_model(arguments)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=1e-5)
    # labels are the inputs shifted inside the model, so one more token gives `tokens` targets
    tokens = torch.randint(0, vocabulary, (arguments.batch_size, arguments.tokens + 1))
    seconds = []
    for _ in range(arguments.steps):
        start = time.perf_counter()
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    work = arguments.batch_size * arguments.tokens
    print(
        json.dumps(
            {
                "tokens_per_s": work / statistics.median(seconds[arguments.skip :]),
                "best_tokens_per_s": work / min(seconds[arguments.skip :]),
                "trainable_parameters": sum(p.numel() for p in trainable),
                "threads": torch.get_num_threads(),
                "loss": loss.item(),
            }
        )
    )


if __name__ == "__main__":
    main()
