"""Tokenisation, decoding and chat rendering equal to Python tokenizers and transformers, byte for byte."""
import json
import os
import random
import shutil
from pathlib import Path

import pytest
from mlx_lm.tokenizer_utils import TokenizerWrapper
from transformers import AutoTokenizer

import generated_text
import make_tiny_tokenizer

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = {
    "smollm2": Path(os.environ.get("EVOLORA_SMOLLM2", REPOSITORY / "build/models/smollm2-135m-mlx")),
    "qwen2.5": Path(os.environ.get("EVOLORA_QWEN_TOKENIZER", REPOSITORY / "build/models/qwen2.5-tokenizer")),
}
STRINGS = 10_500


@pytest.fixture(scope="module", params=FOLDERS)
def folder(request):
    path = FOLDERS[request.param]
    if not (path / "tokenizer.json").exists():
        pytest.skip(f"{path} has no tokenizer.json")
    return path


@pytest.fixture
def ask(probe, tmp_path):
    """ask(verb, model folder, request) -> the probe's answer."""

    def run(verb, model, request):
        question, answer = tmp_path / "question.json", tmp_path / "answer.json"
        question.write_text(json.dumps(request, ensure_ascii=False), encoding="utf-8")
        probe.text(verb, model, question, answer)
        return json.loads(answer.read_text(encoding="utf-8"))

    return run


def first_difference(inputs, ours, theirs):
    assert len(ours) == len(theirs)
    for text, a, b in zip(inputs, ours, theirs):
        assert a == b, f"for {text!r}"


@pytest.mark.parametrize("with_special", [True, False])
def test_ids_and_text(folder, ask, with_special):
    theirs = AutoTokenizer.from_pretrained(folder)
    texts = generated_text.strings(STRINGS)
    rng = random.Random(2)
    id_lists = [[rng.randrange(len(theirs)) for _ in range(rng.randint(0, 12))] for _ in range(2000)]  # mostly not valid UTF-8
    ours = ask("tokenize", folder, {"texts": texts, "id_lists": id_lists, "add_special_tokens": with_special, "skip_special_tokens": with_special})
    ids = [theirs.encode(text, add_special_tokens=with_special) for text in texts]
    first_difference(texts, ours["ids"], ids)
    lists = ids + id_lists
    first_difference(lists, ours["decoded"], [theirs.decode(one, skip_special_tokens=with_special) for one in lists])
    first_difference(lists, ours["streamed"], [theirs.decode(one, skip_special_tokens=False) for one in lists])
    assert ours["eos"] == theirs.eos_token_id
    assert ours["size"] == len(theirs)


def copy_tokenizer(folder, target, **changes):
    target.mkdir(exist_ok=True)
    shutil.copy(folder / "tokenizer.json", target)
    if (folder / "chat_template.jinja").exists():
        shutil.copy(folder / "chat_template.jinja", target)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.update(changes)
    (target / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in config.items() if v != "absent"}))
    return target


CONFIGURATIONS = {
    "bos and eos flags": {"add_bos_token": True, "add_eos_token": True, "bos_token": "<|im_start|>"},
    "no flags": {"add_bos_token": "absent", "add_eos_token": "absent"},
    "new named tokens": {"bos_token": "<new_bos>", "eos_token": {"__type": "AddedToken", "content": "<new eos>", "lstrip": True, "rstrip": False, "normalized": False,
                                                                "single_word": False, "special": True}},
    "new extra tokens": {"extra_special_tokens": ["<extra_0>", "<extra 1>"], "additional_special_tokens": "absent"},
    "extra tokens with names": {"extra_special_tokens": {"image_token": "<image>"}, "additional_special_tokens": "absent"},
    "tokens not special": {"additional_special_tokens": "absent", "extra_special_tokens": "absent"},
    "specials split": {"split_special_tokens": True},
    "no decoder": {"added_tokens_decoder": "absent"},
    "decoder adds": {"added_tokens_decoder": {"200000": {"content": "<later>", "lstrip": False, "normalized": True, "rstrip": True, "single_word": False, "special": False}}},
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configurations(folder, ask, tmp_path, name):
    model = copy_tokenizer(folder, tmp_path / "model", tokenizer_class="PreTrainedTokenizerFast", **CONFIGURATIONS[name])
    theirs = AutoTokenizer.from_pretrained(model)
    extra = ["<new_bos>", "x <new eos> y", "<extra_0><extra 1>", "<image>", "a <later>  b", "<|im_start|>user<|im_end|>"]
    texts = extra + generated_text.strings(300, seed=3)
    ours = ask("tokenize", model, {"texts": texts, "id_lists": [], "add_special_tokens": True, "skip_special_tokens": True})
    ids = [theirs.encode(text) for text in texts]
    first_difference(texts, ours["ids"], ids)
    first_difference(ids, ours["decoded"], [theirs.decode(one, skip_special_tokens=True) for one in ids])
    assert ours["eos"] == theirs.eos_token_id
    assert ours["size"] == len(theirs)


def rendered_by_mlx_lm(wrapper, request):
    arguments = {"tools": request["tools"], "add_generation_prompt": request["add_generation_prompt"]}
    try:
        text = wrapper.apply_chat_template(request["messages"], tokenize=False, **arguments)
    except Exception as problem:  # templates raise what they like
        return {"error": str(problem)}
    return {"text": text, "ids": wrapper.apply_chat_template(request["messages"], **arguments)}


def compare_renderings(model, ask, requests, expect_text=True):
    wrapper = TokenizerWrapper(AutoTokenizer.from_pretrained(model))
    texts = 0
    for request, ours in zip(requests, ask("render", model, requests), strict=True):
        theirs = rendered_by_mlx_lm(wrapper, request)
        assert ("error" in ours) == ("error" in theirs), f"{request}\nours {ours}\ntheirs {theirs}"
        if "error" not in theirs:
            assert ours == theirs, request
            texts += 1
    assert texts > 0 or not expect_text


def test_chat(folder, ask):
    rng = random.Random(4)
    compare_renderings(folder, ask, [request for _ in range(12) for request in generated_text.conversations(rng)])


TEMPLATES = {
    "tojson": "{% for t in tools or [] %}{{ t | tojson }}|{{ t | tojson(indent=2) }}|{{ t | tojson(separators=(',', ':'), sort_keys=true) }}|"
              "{{ t | tojson(ensure_ascii=true) }}\n{% endfor %}{{ messages | tojson(indent=4) }}",
    "strings": "{% for m in messages %}{% if m.content is string %}{{ m.content.strip() }}|{{ m.content | trim }}|{{ m['content'].split() | length }}|{{ m.content.split('\\n')[0] }}|"
               "{{ m.content.upper()[:5] }}|{{ m.content[::-1][:7] }}|{{ m.content.startswith('a') }}|{{ m.content.replace(' ', '_') }}|{{ m.content.rstrip('\\n') }}|"
               "{{ m.content.splitlines() | length }}|{{ m.content | length }}|{{ m.content.split(' ', 2) | join('^') }}|{{ m.content.rsplit(' ', 1)[-1] }}|"
               "{{ m.content.lstrip() | upper }}|{{ 'x' in m.content }}|{{ m.content.find('e') }}|{{ m.content.title()[:3] }}\n{% endif %}{% endfor %}",
    "values": "{{ true }} {{ none }} {{ 1.0 }} {{ 1e20 }} {{ 3 // 2 }} {{ 7 / 2 }} {{ 2 ** 3 }} {{ -7 % 3 }} {{ [1, 'a', none, true] }} {{ {'a': 1, 'b': [2.5]} }} {{ messages[0].missing }}"
              "{{ bos_token is defined }} {{ eos_token }} {{ enable_thinking }} {{ tools is none }} {{ documents is none }} {{ messages[0].extra }} {{ 1.5 | string }} {{ 'a' ~ 1 ~ none ~ true }}",
    "control": "{% set ns = namespace(found=false, n=0) %}\n{% for m in messages %}\n  {% if m.role == 'system' %}\n    {% continue %}\n  {% endif %}\n  {% set ns.n = ns.n + 1 %}\n"
               "  {{ loop.index }}{{ loop.first }}{{ loop.last }}{{ loop.index0 }} {{ m.role }}\n  {% if ns.n == 3 %}{% break %}{% endif %}\n{% endfor %}\n{{ ns.n }}\n"
               "{%- for m in messages[::-1] if m.role == 'user' %}[{{ m.content }}]{% else %}none{% endfor -%}\n",
    "macros": "{% macro show(value, depth=0) %}{% if value is mapping %}{ {%- for k, v in value.items() %}{{ k }}={{ show(v, depth + 1) }};{% endfor -%} }"
              "{% elif value is string %}'{{ value }}'{% elif value is iterable %}[{% for v in value %}{{ show(v, depth + 1) }},{% endfor %}]{% else %}{{ value }}{% endif %}{% endmacro %}"
              "{{ show(messages) }}{% if tools %}{{ show(tools) }}{% endif %}",
    "generation": "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}\n{{ m.content }}<|im_end|>\n{%- endgeneration -%}\n{% else %}{{ m.content }}\n{% endif %}{% endfor %}",
    "raises": "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported: ' + messages[0].role) }}{% endif %}{{ messages[0].content }}",
    "dict methods": "{% for m in messages %}{{ m.get('content', 'none')[:3] }}|{{ m.get('nope') }}|{{ m.get('nope', 4) }}|{{ m.keys() | list }}|{{ m.items() | list | length }}|"
                    "{% if m.extra %}{{ m['extra']['items'] }}{{ m.extra.a.values() | list }}{% endif %}\n{% endfor %}{{ dict(a=1, b='x') | tojson }}",
    "filters": "{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | map(attribute='role') | join(', ') }} {{ messages | rejectattr('role', 'in', ['user']) | list | length }}"
               "{{ (messages | last).role }} {{ messages | first | attr('nope') is defined }} {{ none | default('d') }} {{ nope | default('d') }} {{ '' | default('e', true) }} {{ [3, 1, 2] | sort | list }}"
               "{{ {'b': 1, 'a': 2} | dictsort }} {{ range(5) | list }} {{ 'abc' | list }} {{ 'a b' | replace(' ', '-') }} {{ [1, 2, 3] | sum }} {{ 5 | float }} {{ '7' | int + 1 }} {{ 'ab' | capitalize }}",
    "whitespace": "  {% if true %}\n  a\n  {%- endif %}\n\n  {# note #}\n  {{- ' b ' -}}\n  c  {% if true -%}   d   {%- endif +%}\n e\n",
    "reasoning": "{% for m in messages %}{{ m.role }}:{% if m.reasoning_content is defined %}{{ m.reasoning_content }}/{{ m.thinking }}{% endif %}{{ m.name is defined }}\n{% endfor %}",
    "thinking": "{%- for message in messages %}\n{%- set content = message.content %}{%- if '</think>' in content %}{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}\n"
                "{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
                "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_features(folder, ask, tmp_path, name):
    model = copy_tokenizer(folder, tmp_path / "model", chat_template="absent")
    (model / "chat_template.jinja").write_text(TEMPLATES[name])
    rng = random.Random(5)
    compare_renderings(model, ask, [request for _ in range(4) for request in generated_text.conversations(rng)])


def test_named_templates(folder, ask, tmp_path):
    named = [{"name": "default", "template": "default {{ messages[0].content }}"}, {"name": "tool_use", "template": "tools {{ tools | length }}"}]
    model = copy_tokenizer(folder, tmp_path / "model", chat_template=named)
    (model / "chat_template.jinja").unlink(missing_ok=True)
    conversation = [{"role": "user", "content": "hi"}]
    requests = [{"messages": conversation, "tools": tools, "add_generation_prompt": False} for tools in (None, [], generated_text.TOOLS)]
    compare_renderings(model, ask, requests)
    (model / "additional_chat_templates").mkdir()
    (model / "additional_chat_templates" / "tool_use.jinja").write_text("from the folder")
    (model / "chat_template.jinja").write_text("file over list {{ messages[0].content }}\r\n")
    compare_renderings(model, ask, requests)


def test_no_template_and_empty_conversation(folder, ask, tmp_path):
    model = copy_tokenizer(folder, tmp_path / "model", chat_template="absent")
    (model / "chat_template.jinja").unlink(missing_ok=True)
    request = {"messages": [{"role": "user", "content": "hi"}], "tools": None, "add_generation_prompt": False}
    compare_renderings(model, ask, [request], expect_text=False)
    compare_renderings(folder, ask, [{**request, "messages": []}], expect_text=False)


def test_tiny_tokenizer_of_the_unit_tests_is_what_its_script_writes(tmp_path):
    make_tiny_tokenizer.write(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        assert path.read_bytes() == (make_tiny_tokenizer.DEFAULT_FOLDER / path.name).read_bytes(), path.name
