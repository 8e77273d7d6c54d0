"""The example data set keeps its promise: strict JSON, fixed keys, values copied from the text, nothing twice, held-out prompts really held out."""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "examples" / "json_extraction"
KEYS = ["type", "who", "what", "when", "amount"]
TYPES = {"order", "meeting", "trip", "bug", "payment", "reading", "delivery", "task", "recipe", "contact"}
INSTRUCTION = "Extract type, who, what, when and amount as JSON: "
AT_LEAST = {"train": 100, "valid": 20, "test": 20}


def check_record(record):
    """Errors of one record."""
    if list(record) != ["prompt", "completion"]:
        return [f"keys are {list(record)}, expected prompt and completion"]
    if not record["prompt"].startswith(INSTRUCTION):
        return ["the prompt does not start with the instruction"]
    text = record["prompt"][len(INSTRUCTION):]
    try:
        answer = json.loads(record["completion"])
    except ValueError as error:
        return [f"the completion is not JSON: {error}"]
    errors = []
    if list(answer) != KEYS:
        errors.append(f"the answer's keys are {list(answer)}, expected {KEYS}")
    if answer.get("type") not in TYPES:
        errors.append(f"unknown type {answer.get('type')!r}")
    for key in KEYS[1:]:
        value = answer.get(key)
        if value is not None and (not isinstance(value, str) or not value or value not in text):
            errors.append(f"{key} is {value!r}, which is not part of the text")
    if record["completion"] != json.dumps(answer, ensure_ascii=False):
        errors.append("the completion is not in the one spelling of json.dumps")
    if len(text) > 140:
        errors.append(f"the text has {len(text)} characters; keep it short, the demo has to be quick")
    return errors


def main():
    errors, seen = [], {}
    for name, at_least in AT_LEAST.items():
        path = FOLDER / f"{name}.jsonl"
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if len(records) < at_least:
            errors.append(f"{path.name}: {len(records)} records, expected at least {at_least}")
        for number, record in enumerate(records, 1):
            where = f"{path.name}:{number}"
            errors += [f"{where}: {e}" for e in check_record(record)]
            key = record["prompt"].casefold()
            if key in seen:
                errors.append(f"{where}: same text as {seen[key]}")
            seen[key] = where
    held_out = (FOLDER / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    if len(held_out) != 3:
        errors.append(f"prompts.jsonl has {len(held_out)} lines, expected 3")
    for line in held_out:
        if line not in (FOLDER / "test.jsonl").read_text(encoding="utf-8").splitlines():
            errors.append(f"prompts.jsonl: not a line of test.jsonl: {line}")
    for error in errors:
        print("error:", error)
    print(f"{len(seen)} records, {len(errors)} errors")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
