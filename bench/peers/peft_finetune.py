"""A peer of bench/run_finetune.py and of `evolora bench` (bench/arms/peft.json): a whole PEFT LoRA run on torch, on the CPU in fp32 or with the base in bf16: imports, loading, tokenising, training.

The same samples and masks as ours: {"prompt", "completion"} or {"messages"} records through the chat template, only the assistant's last turn learned. Batches are of
similar length (as transformers' group_by_length), padded to their longest row: the least work this stack can do.

Prints JSON lines: validations {"val_loss"} before the first and after the last step if asked for, reports {"step", "train_loss"}, and last the summary. Losses are per
supervised token. trained_tokens counts all real tokens of the samples seen, as ours does.
"""

import argparse
import json
import math
import pathlib
import statistics
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
NOT_LEARNED = -100


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder with dense fp32 weights")
    parser.add_argument("data", help="folder with train.jsonl, and valid.jsonl if there are validations")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--iters", type=int, help="steps, instead of --epochs")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--num-layers", type=int, default=16, help="adapters on the last N layers; -1: all")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--scale", type=float, default=20.0)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--val-batches", type=int, default=0, help="batches of valid.jsonl; -1: all; 0: no validation")
    parser.add_argument("--steps-per-report", type=int, default=0, help="0: no reports but the summary")
    parser.add_argument("--bf16", action="store_true", help="base weights and activations in bf16; adapters stay fp32, as PEFT keeps them")
    parser.add_argument("--compile", action="store_true", help="torch.compile with dynamic shapes")
    return parser.parse_args()


def tokenise(record, tokenizer):
    """(token ids, labels): -100 is not learned."""
    messages = record.get("messages") or [{"role": "user", "content": record["prompt"]}, {"role": "assistant", "content": record["completion"]}]
    whole = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    prompt = tokenizer.apply_chat_template(messages[:-1], tokenize=True, add_generation_prompt=True, return_dict=False)
    return whole, [NOT_LEARNED] * len(prompt) + whole[len(prompt) :]


def samples_of(file, tokenizer):
    return [tokenise(json.loads(line), tokenizer) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


class Batch:
    def __init__(self, rows):
        width = max(len(ids) for ids, _ in rows)

        def padded(values, filler):
            return torch.tensor([v + [filler] * (width - len(v)) for v in values])

        self.real_tokens = sum(len(ids) for ids, _ in rows)
        self.supervised = sum(label != NOT_LEARNED for _, labels in rows for label in labels[1:])
        self.inputs = {
            "input_ids": padded([ids for ids, _ in rows], 0),
            "attention_mask": padded([[1] * len(ids) for ids, _ in rows], 0),
            "labels": padded([labels for _, labels in rows], NOT_LEARNED),
        }


def batches_of(samples, size):
    ordered = sorted(samples, key=lambda sample: len(sample[0]))
    return [Batch(ordered[begin : begin + size]) for begin in range(0, len(ordered), size)]


def adapted_model(arguments):
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.bfloat16 if arguments.bf16 else torch.float32)
    model.config.use_cache = False
    layers = model.config.num_hidden_layers
    adapted = layers if arguments.num_layers < 0 else arguments.num_layers
    lora = LoraConfig(r=arguments.rank, lora_alpha=arguments.scale * arguments.rank, target_modules=LINEARS, layers_pattern="layers",
                      layers_to_transform=list(range(layers - adapted, layers)), task_type="CAUSAL_LM")
    model = get_peft_model(model, lora)
    model.train()
    return torch.compile(model, dynamic=True) if arguments.compile else model


def validate(model, batches):
    model.eval()
    with torch.no_grad():
        total = sum(model(**batch.inputs).loss.item() * batch.supervised for batch in batches)
    model.train()
    print(json.dumps({"val_loss": total / sum(batch.supervised for batch in batches)}), flush=True)


def order(batches, steps):
    """Indices of the batches of so many steps: every epoch a fresh permutation."""
    indices = []
    while len(indices) < steps:
        indices += torch.randperm(len(batches)).tolist()
    return indices[:steps]


def main():
    arguments = parse_arguments()
    torch.manual_seed(arguments.seed)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    model = adapted_model(arguments)
    data = pathlib.Path(arguments.data)
    batches = batches_of(samples_of(data / "train.jsonl", tokenizer), arguments.batch_size)
    steps = arguments.iters or arguments.epochs * len(batches)
    held_out = []
    if arguments.val_batches != 0:
        held_out = batches_of(samples_of(data / "valid.jsonl", tokenizer), arguments.batch_size)
        held_out = held_out if arguments.val_batches < 0 else held_out[: arguments.val_batches]
        validate(model, held_out)

    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=arguments.learning_rate)
    losses, supervised, seconds, tokens = [], [], [], 0
    window_loss, window_supervised = 0.0, 0
    for step, index in enumerate(order(batches, steps), start=1):
        start = time.perf_counter()
        batch = batches[index]
        loss = model(**batch.inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        supervised.append(batch.supervised)
        seconds.append(time.perf_counter() - start)
        tokens += batch.real_tokens
        window_loss += losses[-1] * batch.supervised
        window_supervised += batch.supervised
        if arguments.steps_per_report and (step % arguments.steps_per_report == 0 or step == steps):
            print(json.dumps({"step": step, "train_loss": window_loss / window_supervised, "trained_tokens": tokens}), flush=True)
            window_loss, window_supervised = 0.0, 0
    if held_out:
        validate(model, held_out)
    last = slice(-len(batches), None)
    last_epoch = sum(loss * count for loss, count in zip(losses[last], supervised[last])) / sum(supervised[last])
    print(json.dumps({"training_s": math.fsum(seconds), "median_step_s": statistics.median(seconds), "train_loss_last_epoch": last_epoch, "steps": steps,
                      "trained_tokens": tokens, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
