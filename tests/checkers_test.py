"""Tests of the checkers beside this file: each rule is broken once on purpose and must be noticed."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import dependency_direction_test as direction  # noqa: E402
import example_data_test as example  # noqa: E402
import readme_commands_test as readme  # noqa: E402


class Tree(unittest.TestCase):
    """A small source tree in a temporary folder."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        self.write("src/base/a.h", "// A.\n#pragma once\n")
        self.write("src/engine/b.h", '// B.\n#pragma once\n#include "base/a.h"\n')

    def tearDown(self):
        self.folder.cleanup()

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def errors(self):
        return "\n".join(direction.check_tree(self.root)[0])


class DependencyDirection(Tree):
    def test_good_tree(self):
        self.assertEqual(self.errors(), "")

    def test_upward_include(self):
        self.write("src/base/c.cpp", '// C.\n#include "engine/b.h"\n')
        self.assertIn("engine stands above base", self.errors())

    def test_mlx_outside_reference(self):
        self.write("src/engine/c.cpp", "// C.\n#include <mlx/mlx.h>\n")
        self.assertIn("only src/reference may use MLX", self.errors())
        self.write("src/engine/c.cpp", "// C.\n")
        self.write("src/reference/c.cpp", "// C.\n#include <mlx/mlx.h>\n")
        self.assertEqual(self.errors(), "")

    def test_unknown_folder(self):
        self.write("src/misc/c.cpp", "// C.\n")
        self.assertIn("src/misc is not a folder of the house", self.errors())

    def test_relative_and_bare_includes(self):
        self.write("src/base/c.cpp", '// C.\n#include "../base/a.h"\n#include "a.h"\n')
        self.assertIn("name it from src/", self.errors())
        self.assertIn("without its folder", self.errors())

    def test_missing_header(self):
        self.write("src/base/c.cpp", '// C.\n#include "base/gone.h"\n')
        self.assertIn("does not exist", self.errors())

    def test_cycle(self):
        self.write("src/base/a.h", '// A.\n#pragma once\n#include "base/d.h"\n')
        self.write("src/base/d.h", '// D.\n#pragma once\n#include "base/a.h"\n')
        self.assertIn("circle", self.errors())

    def test_manners(self):
        self.write("src/base/e.h", "#include <vector>\n\tint x; \nint y;")
        for words in ("does not begin with a comment", "no #pragma once", "has a tab", "ends in spaces", "end with a newline"):
            self.assertIn(words, self.errors())

    def test_length(self):
        self.write("src/base/long.cpp", "// Long.\n" * 801)
        self.write("src/base/long_test.cpp", "// Long.\n" * 801)
        self.assertIn("src/base/long.cpp: has", self.errors())
        self.assertNotIn("long_test.cpp", self.errors())


class ReadmeCommands(Tree):
    def checker(self):
        self.write("Makefile", "build: x\n\ttrue\n")
        self.write("tool", '#!/bin/sh\ncase "$*" in "train --help") echo "  --model TEXT  --data TEXT";; *) exit 2;; esac\n')
        (self.root / "tool").chmod(0o755)
        return readme.Checker(self.root, str(self.root / "tool"))

    def check(self, line):
        return "\n".join(e for words in readme.commands_of(f"```sh\n{line}\n```\n") for e in self.checker().check(words))

    def test_good_lines(self):
        self.assertEqual(self.check("make build JOBS=2  # a comment\nX=1 evolora train --model m \\\n  --data=d"), "")

    def test_unknown_things(self):
        self.assertIn("no target tset", self.check("make tset"))
        self.assertIn("--modle is not in the help", self.check("build/release/evolora train --modle m"))
        self.assertIn("fly --help fails", self.check("evolora fly"))
        self.assertIn("not an executable file", self.check("tools/gone.sh"))
        self.assertIn("unknown command frobnicate", self.check("frobnicate now"))
        self.assertIn("no target tset", self.check("cd there && make tset"))

    def test_other_blocks_are_ignored(self):
        self.assertEqual(readme.commands_of("```json\n{}\n```\ntext\n```sh\n\n# only a comment\n```\n"), [])


class ExampleData(unittest.TestCase):
    @staticmethod
    def record(answer):
        return {"prompt": example.INSTRUCTION + "Ann buys 2 pens", "completion": answer}

    def test_good(self):
        self.assertEqual(example.check_record(self.record('{"type": "order", "who": "Ann", "what": "pens", "when": null, "amount": "2"}')), [])

    def test_bad(self):
        for answer, words in (
            ("{", "not JSON"),
            ('{"type": "order", "who": "Ann", "what": "pens", "amount": "2"}', "keys"),
            ('{"type": "gift", "who": "Ann", "what": "pens", "when": null, "amount": "2"}', "unknown type"),
            ('{"type": "order", "who": "Bob", "what": "pens", "when": null, "amount": "2"}', "not part of the text"),
            ('{"type":"order","who":"Ann","what":"pens","when":null,"amount":"2"}', "one spelling"),
        ):
            self.assertIn(words, "\n".join(example.check_record(self.record(answer))))


if __name__ == "__main__":
    unittest.main()
