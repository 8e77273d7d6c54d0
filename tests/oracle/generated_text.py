"""Strings and conversations for the text oracles: varied, and the same in every run."""
import random

SCRIPTS = [
    (0x20, 0x7E), (0xA1, 0x17F), (0x370, 0x3FF), (0x400, 0x4FF), (0x531, 0x587), (0x5D0, 0x5EA), (0x620, 0x6D3), (0x905, 0x939), (0x985, 0x9B9),
    (0xE01, 0xE3A), (0x10D0, 0x10FF), (0x1100, 0x11FF), (0x1780, 0x17B3), (0x1E00, 0x1EFF), (0x2010, 0x2069), (0x20A0, 0x20BF), (0x2150, 0x218B),
    (0x2190, 0x22FF), (0x3041, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xFB00, 0xFB4F), (0xFF01, 0xFFEE), (0x10330, 0x1034A), (0x1D400, 0x1D7FF),
    (0x1F300, 0x1F64F), (0x1F900, 0x1F9FF), (0x20000, 0x2A6DF), (0xE000, 0xF8FF), (0xF0000, 0xF00FF),
]
COMBINING = [chr(c) for c in range(0x300, 0x340)] + ["\u20dd", "\u0670", "\u093c", "\u3099", "\u0e31", "\u1160", "\u11a8"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", " \n", "\n ", "\u00a0", "\u2003", "\u3000", "\u200b", "\u2028", "\u0085", "\v", "\f", " " * 17]
CONTROLS = [chr(c) for c in list(range(0, 32)) + [0x7F, 0x80, 0x9F, 0xAD, 0x200D, 0x200E, 0x202E, 0xFEFF, 0xFFFD, 0xFFFE, 0xFFFF, 0x10FFFF]]
EMOJI = ["👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇫🇷", "1️⃣", "☺️", "🧑🏿‍🚀", "❤️‍🔥"]
SPECIALS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start", "im_end|>", "<|im_start|><|im_end|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>",
            "<repo_name>", "<file_sep>", "<s>", "</s>", "<think>", "<|IM_START|>", "<| im_start |>", "<empty_output>", "<jupyter_code>"]
WORDS = ["the", "don't", "I'LL", "we've", "naïve", "Straße", "İstanbul", "ǅ", "ﬁne", "e\u0301", "Å", "Å", "한국어", "日本語", "русский", "العربية", "हिन्दी", "ไทย"]
CODE = ["def f(x):\n    return x ** 2\n", "for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}", "SELECT * FROM t WHERE a='b';", "<div class=\"x\">&nbsp;</div>",
        "{\"a\": [1, 2.5e-3, null, true]}", "#include <vector>\r\n", "\\frac{a}{b} $x^2$", "https://example.org/a?b=c&d=%20#e", "a.b->c::d(e, f)[g]",
        "```python\nprint('hi')\n```", "0x1F + 0b10 - 1_000", "rm -rf \"$HOME/x y\" 2>&1 | tee -a log"]
FIXED = ["", " ", "\n", "\0", "a", "  a", "a  ", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" * 8, " " * 200, "\n" * 50, "\t \t \t", "\ufeffBOM", "a\u0300" * 40, "\u0300", "1" * 64,
         "3.14159 2,718 1e10 ½ ² ٣ ৪ Ⅷ 一二三", "'s 're 'LL 'VE'D'm", "\U0010ffff", "\u200d\u200d", "\r\r\n\n\r", "x\u0000y", "…—–‘’“”"]


def one(rng):
    parts = []
    for _ in range(rng.choice([1, 1, 2, 3, 5, 8, 13, 30])):
        kind = rng.randrange(11)
        if kind < 3:
            low, high = rng.choice(SCRIPTS)
            parts.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 9))))
        elif kind == 3:
            parts.append("".join(rng.choice("aeiou lmn") + rng.choice(COMBINING) for _ in range(rng.randint(1, 4))))
        elif kind == 4:
            parts.append(str(rng.randrange(10 ** rng.randint(1, 18))))
        elif kind == 5:
            parts.append(rng.choice(SPACES))
        elif kind == 6:
            parts.append(rng.choice(SPECIALS))
        elif kind == 7:
            parts.append(rng.choice(EMOJI))
        elif kind == 8:
            parts.append(rng.choice(CODE))
        elif kind == 9:
            parts.append(rng.choice(CONTROLS))
        else:
            parts.append(" ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 6))))
        if rng.random() < 0.4:
            parts.append(" ")
    return "".join(c for c in "".join(parts) if not 0xD800 <= ord(c) < 0xE000)


def strings(count, seed=1):
    rng = random.Random(seed)
    return FIXED + [one(rng) for _ in range(count - len(FIXED))]


TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "Weather of a city, \"now\" <b>&</b> 'later' — ünïcode ☂",
                                      "parameters": {"type": "object", "properties": {"city": {"type": "string", "enum": ["Bonn", "Zürich"]},
                                                                                     "items": {"type": "array", "items": {"type": "number"}},
                                                                                     "get": {"type": "boolean", "default": True}},
                                                     "required": ["city"], "additionalProperties": False}}},
    {"type": "function", "function": {"name": "add", "parameters": {"x": 1, "y": -2.5, "z": 1e-07, "w": 1e+22, "n": None, "big": 12345678901234567890, "e": {}, "l": []}}},
]


def conversations(rng):
    text = lambda: one(rng)
    call = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "id": "c1", "function": {"name": "add", "arguments": {"a": text(), "b": [1, None, 2.0]}}}]}
    plain = [
        [{"role": "user", "content": text()}],
        [{"role": "system", "content": text()}, {"role": "user", "content": text()}],
        [{"role": "system", "content": ""}, {"role": "user", "content": text()}, {"role": "assistant", "content": text()}],
        [{"role": "user", "content": text()}, {"role": "assistant", "content": text()}, {"role": "user", "content": text()}, {"role": "assistant", "content": text()}],
        [{"role": "user", "content": text(), "name": None}, {"role": "assistant", "content": text(), "tool_calls": None, "reasoning": text()}],
        [{"role": "user", "content": text()}, call, {"role": "tool", "content": text()}, {"role": "tool", "content": text()}, {"role": "assistant", "content": text()}],
        [{"content": text(), "role": "user", "extra": {"items": [1], "a": {"b": [True, False, None, 0.1, 1e100]}}}],
        [{"role": "assistant", "content": text()}],
        [{"role": "user", "content": " \x1c padded\u2003\n"}, {"role": "assistant", "content": "\n\nanswer \x1f"}],
    ]
    return [{"messages": messages, "tools": tools, "add_generation_prompt": prompt}
            for messages in plain for tools in (None, TOOLS) for prompt in (False, True)]
