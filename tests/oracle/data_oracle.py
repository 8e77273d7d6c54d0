"""Samples, batches, masks and random streams equal to mlx-lm's, numpy's and mlx's."""
import json
import random
import types

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.tokenizer_utils import TokenizerWrapper
from mlx_lm.tuner import datasets, trainer
from transformers import AutoTokenizer

import generated_text
from text_oracle import FOLDERS, ask, copy_tokenizer, folder  # noqa: F401 (fixtures)


def chat_records(rng, count):
    records = []
    for i in range(count):
        messages = [{"role": "system", "content": generated_text.one(rng)}] if rng.random() < 0.3 else []
        for _ in range(rng.choice([1, 1, 2, 3])):
            messages += [{"role": "user", "content": generated_text.one(rng)}, {"role": "assistant", "content": generated_text.one(rng)}]
        if rng.random() < 0.1:
            messages.append({"role": "user", "content": "and then?"})
        record = {"messages": messages}
        if rng.random() < 0.2:
            record["tools"] = rng.choice([None, generated_text.TOOLS])
        if rng.random() < 0.2:
            record["id"] = i
        records.append(record)
    return records


def completion_records(rng, count):
    return [{"prompt": generated_text.one(rng), "completion": generated_text.one(rng), **({"tools": generated_text.TOOLS} if rng.random() < 0.1 else {})}
            for _ in range(count)]


def text_records(rng, count):
    return [{"text": rng.choice(["", " ", "<|im_end|>"]) + generated_text.one(rng) + rng.choice(["", "x", "<|im_end|>"]) or "x"} for _ in range(count)]


FORMATS = {"chat": chat_records, "completions": completion_records, "text": text_records}


def write_records(path, records):
    path.write_text("".join(json.dumps(record, ensure_ascii=rng_bit(i)) + "\n" for i, record in enumerate(records)), encoding="utf-8")
    return path


def rng_bit(i):
    return i % 2 == 0  # escaped and plain JSON strings


def mlx_lm_epochs(dataset, request):
    """[[(ids, offsets, lengths)]] as iterate_batches yields them while training."""
    np.random.seed(request["seed"])
    iterator = trainer.iterate_batches(dataset, request["batch_size"], request["max_seq_length"], loop=True)
    epochs = []
    for _ in range(request["epochs"]):
        epoch = []
        for _ in range(len(dataset) // request["batch_size"]):
            ids, spans = next(iterator)
            epoch.append((ids, spans))
        epochs.append(epoch)
    return epochs


def default_loss_mask(monkeypatch, batch, spans):
    """The mask and the targets that mlx-lm's default_loss uses, seen from inside it."""
    seen = {}

    class Spy:
        def __mul__(self, mask):
            seen["mask"] = np.array(mask)
            return mx.zeros(mask.shape)

    def cross_entropy(logits, targets):
        seen["targets"] = np.array(targets)
        return Spy()

    with monkeypatch.context() as patch:
        patch.setattr(nn.losses, "cross_entropy", cross_entropy)
        trainer.default_loss(lambda inputs: inputs, batch, spans)
    return seen["mask"].astype(bool), seen["targets"]


def check_engine_batch(engine, ids, mask, targets, lengths):
    tokens, positions, starts, rows, learned = [], [], [0], [], []
    for row in range(ids.shape[0]):
        steps = np.flatnonzero(mask[row])
        if len(steps) == 0:
            continue
        inputs = ids[row, : steps[-1] + 1]
        rows += [starts[-1] + int(step) for step in steps]
        learned += [int(targets[row, step]) for step in steps]
        tokens += inputs.tolist()
        positions += list(range(len(inputs)))
        starts.append(len(tokens))
    assert engine == {"tokens": tokens, "positions": positions, "segment_starts": starts, "loss_rows": rows, "targets": learned, "real_tokens": int(sum(lengths))}


@pytest.mark.parametrize("mask_prompt", [False, True])
@pytest.mark.parametrize("kind", FORMATS)
def test_compat_batches(folder, ask, tmp_path, monkeypatch, kind, mask_prompt):  # noqa: F811
    if kind == "text" and mask_prompt:
        pytest.skip("mlx-lm refuses it; so do we (samples_test.cpp)")
    rng = random.Random(f"{kind} {mask_prompt}")
    records = FORMATS[kind](rng, 27)
    path = write_records(tmp_path / "train.jsonl", records)
    wrapper = TokenizerWrapper(AutoTokenizer.from_pretrained(folder))
    dataset = datasets.CacheDataset(datasets.create_dataset(records, wrapper, types.SimpleNamespace(mask_prompt=mask_prompt)))
    requests = [{"path": str(path), "mask_prompt": mask_prompt, "max_seq_length": limit, "batch_size": batch, "seed": seed, "epochs": 3}
                for batch, limit, seed in [(1, 2048, 0), (2, 40, 1), (4, 64, 42), (5, 2048, 7), (27, 33, 123456), (4, 1, 0), (3, 2, 3)]]
    for request, ours in zip(requests, ask("batches", folder, requests), strict=True):
        assert "error" not in ours, ours
        for index, sample in enumerate(ours["samples"]):
            tokens, offset = dataset[index]
            assert sample["tokens"] == tokens and sample["offset"] == offset, index
        for our_epoch, their_epoch in zip(ours["epochs"], mlx_lm_epochs(dataset, request), strict=True):
            for our_batch, (ids, spans) in zip(our_epoch, their_epoch, strict=True):
                assert our_batch["ids"] == ids.tolist()
                assert our_batch["offsets"] == spans[:, 0].tolist()
                assert our_batch["lengths"] == spans[:, 1].tolist()
                mask, targets = default_loss_mask(monkeypatch, ids, spans) if ids.shape[1] > 1 else (np.zeros((ids.shape[0], 0)), None)
                check_engine_batch(our_batch["engine"], np.array(ids), mask, targets, spans[:, 1].tolist())


# transformers can say which tokens are the assistant's if the template marks them; the native mask must find the same ones without the marks.
MARKED = ("{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}{% generation %}{{ m.content + '<|im_end|>\n' }}{% endgeneration %}"
          "{% else %}{{ m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def test_native_mask_is_that_of_marked_templates(folder, ask, tmp_path):  # noqa: F811
    model = copy_tokenizer(folder, tmp_path / "model", chat_template="absent")
    (model / "chat_template.jinja").write_text(MARKED)
    tokenizer = AutoTokenizer.from_pretrained(model)
    records = [{"messages": record["messages"]} for record in chat_records(random.Random(9), 300)]
    for record in records:  # transformers gives up on a conversation where a turn starts with a byte that the vocabulary lacks (SmolLM2: control characters)
        for message in record["messages"]:
            message["content"] = "".join(c for c in message["content"] if c.isprintable() or c in "\n\t ")
    records += [{"messages": [{"role": "assistant", "content": "I start."}, {"role": "user", "content": "x"}, {"role": "assistant", "content": ""}]}]
    path = write_records(tmp_path / "train.jsonl", records)
    request = {"path": str(path), "mask_prompt": True, "max_seq_length": 1 << 20, "batch_size": 4, "seed": 0, "epochs": 0, "native": True}
    samples = ask("batches", model, [request])[0]["samples"]
    for record, sample in zip(records, samples, strict=True):
        theirs = tokenizer.apply_chat_template(record["messages"], return_dict=True, return_assistant_tokens_mask=True)
        assert sample["tokens"] == theirs["input_ids"]
        assert sample["supervised"] == theirs["assistant_masks"], record


def test_native_without_mask_learns_everything(folder, ask, tmp_path):  # noqa: F811
    tokenizer = TokenizerWrapper(AutoTokenizer.from_pretrained(folder))
    for kind, make in FORMATS.items():
        records = make(random.Random(10), 20)
        path = write_records(tmp_path / f"{kind}.jsonl", records)
        request = {"path": str(path), "mask_prompt": False, "max_seq_length": 1 << 20, "batch_size": 3, "seed": 5, "epochs": 2, "native": True}
        answer = ask("batches", folder, [request])[0]
        dataset = datasets.create_dataset(records, tokenizer, types.SimpleNamespace())
        for record, sample in zip(records, answer["samples"], strict=True):
            assert sample["tokens"] == dataset.process(record)[0]
            assert sample["supervised"] == [0] + [1] * (len(sample["tokens"]) - 1)
        for epoch in answer["epochs"]:
            assert sum(batch["engine"]["real_tokens"] for batch in epoch) == sum(len(sample["tokens"]) for sample in answer["samples"])
            assert sum(len(batch["engine"]["targets"]) for batch in epoch) == sum(sum(sample["supervised"]) for sample in answer["samples"])


def test_random_streams(probe, tmp_path):
    seeds = [0, 1, 2, 42, 123456, 2**31, 2**32 - 1]
    sizes = [0, 1, 2, 3, 7, 8, 31, 32, 33, 1000, 65537, 5]
    draws = [[1, 0.0, 1.0], [2, 0.0, 1.0], [3, -0.5, 0.5], [4608, -0.0417, 0.0417], [576 * 8 + 1, -0.25, 0.125], [100001, -3.0, 5.0]]
    mlx_seeds = seeds + [2**40 + 17, 2**64 - 1]
    question, answer = tmp_path / "question.json", tmp_path / "answer.json"
    question.write_text(json.dumps({"numpy": [{"seed": s, "sizes": sizes} for s in seeds], "mlx": [{"seed": s, "draws": draws} for s in mlx_seeds]}))
    probe.text("random", question, answer)
    ours = json.loads(answer.read_text())
    for seed, permutations in zip(seeds, ours["numpy"], strict=True):
        np.random.seed(seed)
        assert permutations == [np.random.permutation(size).tolist() for size in sizes], seed
    for seed, arrays in zip(mlx_seeds, ours["mlx"], strict=True):
        mx.random.seed(seed)
        for (size, low, high), bits in zip(draws, arrays, strict=True):
            assert bits == np.array(mx.random.uniform(low, high, (size,))).view(np.uint32).tolist(), (seed, size)
