"""Configs and command lines changed at random: they work, or are refused by an error of ours.

Every case follows from its number, which a failure names: `pytest -k "texts and 17"`. A few hundred
run by default, thousands with `-m slow`.
"""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from munit_zoo.cli import main
from munit_zoo.config import dump, list_configs, load_config, resolve
from munit_zoo.errors import MunitZooError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FEW, MANY = 10, 150  # groups of PER cases
PER = 25

VALUES = [
    "", "~", "null", "true", "off", "0", "-1", "1", "2.5", "1e308", "-1e-320", ".inf", "-.inf",
    ".nan", "65536", "2147483648", "-9223372036854775809", "1" + "0" * 20, "9" * 4301,
    "0x" + "f" * 40, "0o7", "x", "X_Y", "none", "munit", "a" * 5000, "é", "日本", "\0", "\udcff",
    "\ufeff", "\x1b[31m", "[/b]", "[]", "{}", "[[]]", "[1]", "[x, y]", "[1, [2, [3]]]",
    "[x_ab, x_a]", "[[x_ab, x_a]]", "[[x_ab]]", "{NAME: l1}", "{NAME: adam}", "{NAME: }",
    "{NAME: [x]}", "{A: 1}", "{a: {b: {c: d}}}", "{? x : y}", "&a [*a]", "*a", "!!int x",
    "!!python/object:os.system {}", "!x y", "<<", "#", "a #b", "a: b", "- x", "|", ">", "'", '"',
    "%", "@", "`", "{", "}", "[", "]", "---", "...", "[" * 300, "{A: " * 300,
    "{NAME: linear, START: 2, STOP: 1}", "{NAME: sgd, NESTEROV: true, MOMENTUM: 0}",
    "munit/shapes", "../x.yaml", "/etc/passwd", "x.py", "con", "nul.yaml", "C:\\x", "${HOME}",
    "~root", "$(id)",
]  # fmt: skip
"""Values that something or other is bound not to expect."""


@pytest.fixture(scope="module")
def paths() -> list[str]:
    """Dotted keys of configs, whole branches among them."""

    def walk(tree: Mapping[str, Any], prefix: str) -> Iterator[str]:
        for key, value in tree.items():
            yield f"{prefix}{key}"
            if isinstance(value, Mapping):
                yield from walk(value, f"{prefix}{key}.")

    shown = [load_config(name) for name in ("munit/shapes", "unit/shapes")]
    found = [path for config in shown for path in walk(config, "")]
    extra = ["_BASE_", "UPDATES.GENERATORS.CLIP", "OPTIM.NETWORKS.DECODER.LR", "LOSSES.NEW.NAME"]
    return [*dict.fromkeys(found), *extra, "LOSSES.NEW.PAIRS", "DOMAINS.C", "METRICS.X.NAME", "X"]


def refused_at_most(run: Callable[[], Any], what: object) -> None:
    """Runs a case: it may succeed or raise an error of ours, with a text that can be read."""
    text = ""
    try:
        run()
    except MunitZooError as error:
        text = str(error)
    except BaseException as error:
        raise AssertionError(f"{what!r:.2000}: {type(error).__name__}: {error}") from error
    assert len(text) < 100_000, what


def override(chance: random.Random, paths: list[str]) -> str:
    path = chance.choice(paths)
    if chance.random() < 0.3:
        path = spoiled(chance, path)
    value = chance.choice(VALUES)
    if chance.random() < 0.2:
        value = f"{{{chance.choice(paths).split('.')[-1]}: {value}}}"
    return f"{path}{'=' if chance.random() < 0.97 else ''}{value}"


def spoiled(chance: random.Random, text: str) -> str:
    """A text with a character or a line lost, doubled, exchanged or put in."""
    for _ in range(chance.randint(1, 3)):
        lines = text.splitlines(keepends=True) or [""]
        at, line = chance.randrange(len(text) + 1), chance.randrange(len(lines))
        kind = chance.randrange(7)
        if kind == 0:
            text = text[:at] + text[at + chance.randint(1, 4) :]
        elif kind == 1:
            text = text[:at] + chance.choice(VALUES) + text[at:]
        elif kind == 2:
            text = text[:at] + chance.choice(":{}[]&*!|>'\"#%@,-\n\t. \0") + text[at:]
        elif kind == 3:
            lines.insert(line, lines[chance.randrange(len(lines))])
            text = "".join(lines)
        elif kind == 4:
            del lines[line]
            text = "".join(lines)
        elif kind == 5:
            head, colon, _ = lines[line].partition(":")
            lines[line] = f"{head}{colon} {chance.choice(VALUES)}\n"
            text = "".join(lines)
        else:
            indent = " " * chance.randrange(6)
            lines[line] = indent + lines[line].lstrip()
            text = "".join(lines)
    return text


def fuzz_overrides(chance: random.Random, paths: list[str], _: Path) -> None:
    words = [override(chance, paths) for _ in range(chance.randint(1, 4))]
    refused_at_most(lambda: resolve("munit/shapes", words), words)


def fuzz_texts(chance: random.Random, _: list[str], folder: Path) -> None:
    if chance.random() < 0.5:
        files = sorted(CONFIGS.rglob("*.yaml"))
        text = chance.choice(files).read_text(encoding="utf-8")
        text = text.replace("_BASE_: ..", f"_BASE_: {CONFIGS}")
    else:
        text = dump(load_config(chance.choice(["munit/shapes", "unit/shapes"])).plain())
    if chance.random() < 0.2:
        text = text.replace("SCHEMA_VERSION: 2", "SCHEMA_VERSION: 1").replace(
            "DEFAULT:", "GENERATOR:"
        )
    data = spoiled(chance, text).encode("utf-8", "surrogatepass")
    file = folder / "x.yaml"
    file.write_bytes(data)
    refused_at_most(lambda: resolve(str(file)), data)


def fuzz_commands(chance: random.Random, paths: list[str], _: Path) -> None:
    command = chance.choice(
        [["config", "show"], ["config", "diff"], ["list"], ["describe"], ["config"], [], ["lst"]]
    )
    names = [*list_configs(), "norm", "losses", "model", "instance", "l1", "munit", "*", "--plain"]
    words = list(command)
    for _ in range(chance.randint(0, 3)):
        word = chance.choice(names)
        if chance.random() < 0.4:
            word = override(chance, paths)
        elif chance.random() < 0.3:
            word = spoiled(chance, word)
        words.append(word)

    def run() -> None:
        out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                status = main(words)
            except SystemExit as error:  # argparse's: usage, help
                status = error.code
        assert status in (0, 2), status

    refused_at_most(run, words)


CASES = {"overrides": fuzz_overrides, "texts": fuzz_texts, "commands": fuzz_commands}


def run_group(kind: str, group: int, paths: list[str], folder: Path) -> None:
    for case in range(PER):
        CASES[kind](random.Random(f"{kind} {group} {case}"), paths, folder)


@pytest.mark.parametrize("group", range(FEW))
@pytest.mark.parametrize("kind", CASES)
def test_a_few_cases(kind: str, group: int, paths: list[str], tmp_path: Path):
    run_group(kind, group, paths, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("group", range(FEW, MANY))
@pytest.mark.parametrize("kind", CASES)
def test_many_cases(kind: str, group: int, paths: list[str], tmp_path: Path):
    run_group(kind, group, paths, tmp_path)
