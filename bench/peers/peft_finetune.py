"""One peer of bench/run_finetune.py: a whole PEFT LoRA run on torch, fp32 on the CPU: imports, loading, tokenising, training. Prints one JSON line.

The same samples and masks as ours: {"prompt", "completion"} or {"messages"} records through the chat template, only the assistant's last turn learned. Batches are of
similar length (as transformers' group_by_length), padded to their longest row: the least work this stack can do.
"""

import argparse
import json
import pathlib
import statistics
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder with dense fp32 weights")
    parser.add_argument("data", help="folder with train.jsonl")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--num-layers", type=int, default=16, help="adapters on the last N layers")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--scale", type=float, default=20.0)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--compile", action="store_true", help="torch.compile with dynamic shapes")
    return parser.parse_args()


def tokenise(record, tokenizer):
    """(token ids, labels): -100 is not learned."""
    messages = record.get("messages") or [{"role": "user", "content": record["prompt"]}, {"role": "assistant", "content": record["completion"]}]
    whole = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    prompt = tokenizer.apply_chat_template(messages[:-1], tokenize=True, add_generation_prompt=True, return_dict=False)
    return whole, [-100] * len(prompt) + whole[len(prompt):]


def batches_of(samples, size):
    ordered = sorted(samples, key=lambda sample: len(sample[0]))
    for begin in range(0, len(ordered), size):
        rows = ordered[begin : begin + size]
        width = max(len(ids) for ids, _ in rows)
        pad = lambda values, filler: [v + [filler] * (width - len(v)) for v in values]
        yield (torch.tensor(pad([ids for ids, _ in rows], 0)), torch.tensor(pad([[1] * len(ids) for ids, _ in rows], 0)),
               torch.tensor(pad([labels for _, labels in rows], -100)))


def main():
    arguments = parse_arguments()
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32)
    model.config.use_cache = False
    layers = model.config.num_hidden_layers
    lora = LoraConfig(r=arguments.rank, lora_alpha=arguments.scale * arguments.rank, target_modules=LINEARS, layers_pattern="layers",
                      layers_to_transform=list(range(layers - arguments.num_layers, layers)), task_type="CAUSAL_LM")
    model = get_peft_model(model, lora)
    model.train()
    if arguments.compile:
        model = torch.compile(model, dynamic=True)
    records = [json.loads(line) for line in (pathlib.Path(arguments.data) / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    samples = [tokenise(record, tokenizer) for record in records]
    batches = list(batches_of(samples, arguments.batch_size))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=arguments.learning_rate)
    losses, seconds = [], []
    for _ in range(arguments.epochs):
        for index in torch.randperm(len(batches)).tolist():
            start = time.perf_counter()
            ids, mask, labels = batches[index]
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            seconds.append(time.perf_counter() - start)
    last = losses[-len(batches) :]
    print(json.dumps({"training_s": sum(seconds), "median_step_s": statistics.median(seconds), "train_loss_last_epoch": statistics.mean(last),
                      "tokens": arguments.epochs * sum(len(ids) for ids, _ in samples), "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
