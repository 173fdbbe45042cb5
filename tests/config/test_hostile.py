"""Texts made to break a reader: each an error of ours, soon, and in little memory."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from munit_zoo.config import find_config, load_config
from munit_zoo.config._yaml import MOST_BYTES, parse_text
from munit_zoo.errors import ConfigError

BOMB = "A0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"A{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)
MAPS = "A0: &a0 {X: 1}\n" + "".join(
    f"A{i}: &a{i} {{{', '.join(f'K{k}: *a{i - 1}' for k in range(9))}}}\n" for i in range(1, 9)
)
TEXTS = {
    "an alias of itself": ("A: &a [*a]", "A .f.yaml:1.: is an alias of what it stands in"),
    "a map of itself": ("A: &a {B: *a}", "A.B .*: is an alias of what it stands in"),
    "brackets": ("A: " + "[" * 3000, "nested more than 64 deep"),
    "braces": ("A: " + "{A: " * 3000, "nested more than 64 deep"),
    "indentation": (
        "".join(f"{' ' * depth}A:\n" for depth in range(3000)),
        "nested more than 64 deep",
    ),
    "dashes": ("- " * 3000, "nested more than 64 deep"),
    "deep by aliases": (
        "A0: &a0 [x]\n" + "".join(f"A{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 99)),
        "nested more than 64 deep",
    ),
    "lists of lists": (BOMB, "more than 100,000 values"),
    "maps of maps": (MAPS, "more than 100,000 values"),
    "a tag that lies": ("A: !!int x", "A .f.yaml:1.: 'x' is no int"),
    "a boolean that is none": ("A: !!bool maybe", "'maybe' is no bool"),
    "a number that is none": ("A: !!float abc", "'abc' is no float"),
    "a null that is none": ("A: !!null abc", "'abc' is no null"),
    "a tag of another shape": ("A: !!int [1]", "tag 'tag:yaml.org,2002:int' is not allowed"),
    "digits": ("A: " + "1" * 4301, "A .f.yaml:1.: is a number of 4301 digits"),
    "hexadecimal digits": ("A: 0x" + "f" * 5000, "is a number of 5002 digits"),
    "no character": ('A: "\\U00110000"', "is not YAML"),
    "a zero byte": ("A: \0", "is not YAML"),
    "half a character": ("A: \udcff", "is not YAML"),
    "two documents": ("A: 1\n---\nA: 2", "is not YAML"),
    "a merge key": ("A: {<<: {B: 1}}", "the tag 'tag:yaml.org,2002:merge'|'<<'"),
    "a version of a thousand digits": ("%YAML " + "9" * 5000 + ".1\n---\nA: 1", "is not YAML"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_text_made_to_break_the_reader(case: str):
    text, message = TEXTS[case]
    began = time.process_time()
    if case == "a merge key":
        assert parse_text(text, "f.yaml").value["A"].value["<<"].is_map  # a key like any other
        return
    with pytest.raises(ConfigError, match=message) as caught:
        parse_text(text, "f.yaml")
    assert time.process_time() - began < 5
    assert len(str(caught.value)) < 10_000


def test_aliases_for_what_they_are_meant():
    tree = parse_text("A: &a {LR: 1, BETAS: &b [0.5, 1]}\nB: *a\nC: *b\n", "f.yaml")
    assert tree.plain() == {
        "A": {"LR": 1, "BETAS": [0.5, 1]},
        "B": {"LR": 1, "BETAS": [0.5, 1]},
        "C": [0.5, 1],
    }


# Files


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> str:
        Path(name).write_text(f"SCHEMA_VERSION: 2\n{text}\n")
        return name

    return write


def problems(source: str, *overrides: str) -> list[str]:
    began = time.process_time()
    with pytest.raises(ConfigError) as caught:
        load_config(source, *overrides)
    assert time.process_time() - began < 10
    assert len(str(caught.value)) < 20_000
    return [str(problem) for problem in caught.value.problems]


def test_bases_that_double_at_each_level(write):
    write("x0.yaml", "MODEL: {NAME: munit}")
    for level in range(1, 18):
        write(f"x{level}.yaml", f"_BASE_: [x{level - 1}.yaml, ./x{level - 1}.yaml]")
    assert "more than 200 files" in problems("x17.yaml")[0]


def test_a_base_listed_twice(write):
    write("base.yaml", "MODEL: {NAME: munit}")
    (problem,) = problems(write("x.yaml", "_BASE_: [base.yaml, base.yaml]"))
    assert "_BASE_ (x.yaml:2): lists 'base.yaml' twice" in problem


def test_a_chain_of_bases_longer_than_any(write):
    write("x0.yaml", "MODEL: {NAME: munit}")
    for level in range(1, 1500):
        write(f"x{level}.yaml", f"_BASE_: x{level - 1}.yaml")
    assert "more than 200 files" in problems("x1499.yaml")[0]


@pytest.mark.parametrize("name", ["a" * 5000, "a" * 5000 + ".yaml", "a\\0b.yaml", "a\\0b", ""])
def test_a_base_of_a_name_that_no_file_can_have(write, name: str):
    found = problems(write("x.yaml", f'_BASE_: "{name}"'))
    assert all(len(problem) < 1000 for problem in found)


def test_files_that_are_none(write, tmp_path: Path):
    os.symlink("loop.yaml", tmp_path / "loop.yaml")
    assert "cannot be read" in problems("loop.yaml")[0]
    os.symlink("/dev/zero", tmp_path / "zero.yaml")
    assert "larger than the 1 MiB" in problems("zero.yaml")[0]
    (tmp_path / "folder.yaml").mkdir()
    assert "cannot be read" in problems("folder.yaml")[0]
    (tmp_path / "latin.yaml").write_bytes(b"A: \xe4")
    assert "cannot be read" in problems("latin.yaml")[0]
    (tmp_path / "large.yaml").write_text("# " + "x" * MOST_BYTES)
    assert "larger than the 1 MiB" in problems("large.yaml")[0]
    assert "cannot be read" in problems("a" * 5000 + ".yaml")[0]


@pytest.mark.parametrize("prefix", ["", "munit-zoo:"])
def test_a_name_is_no_path(write, tmp_path: Path, prefix: str):
    write("x.yaml", "MODEL: {NAME: munit}")
    for name in (f"{tmp_path}/x", "../configs/munit/shapes", "munit//shapes", "./x", "x"):
        with pytest.raises(ConfigError, match="no config is called .* A file's path ends in .yaml"):
            find_config(prefix + name)
    assert find_config(prefix + "munit/shapes")


# Overrides


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("/data/set #2", "/data/set #2"),
        (" /data/set #2 ", "/data/set #2"),
        ("#2", "#2"),
        ("/data/set#2", "/data/set#2"),
        ("'/data/set #2'", "/data/set #2"),
        ("my data: no 2", "my data"),
    ],
)
def test_a_word_keeps_its_number_sign(text: str, root: str):
    override = "DATA={NAME: image_folder}", f"DATA.ROOT={text}"
    if ": " in text:
        assert "expected a word" in str(problems("munit/shapes", *override))
        return
    config = load_config("munit/shapes", *override)
    assert root == config.DATA.ROOT


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (".".join(["A"] * 5000) + "=1", "an override is KEY=VALUE"),
        ("A" * 5000 + "=1", "has no key"),
        ("=1", "an override is KEY=VALUE"),
        ("A..B=1", "an override is KEY=VALUE"),
        ("MODEL=" + "[" * 3000, "nested more than 64 deep"),
        ("MODEL.NAME=" + "x" * 5000, "no model is called"),
        ("MODEL.NAME=[" + "x, " * 5000 + "]", "expected the name of a model"),
        ("MODEL=[" + "x, " * 5000 + "]", "expected a map of keys"),
        ("ENGINE.SEED=" + "x" * 5000, "expected an integer"),
        ("ENGINE.SEED=[" + "1, " * 5000 + "]", "expected an integer"),
    ],
)
def test_an_override_made_to_break_the_reader(override: str, message: str):
    (problem,) = problems("munit/shapes", override)
    assert message in problem
    assert len(problem) < 2000


# Numbers

NUMBERS = {
    "MODEL.CONTENT_ENCODER.BLOCKS=65536": "less than or equal to 256",
    "MODEL.CONTENT_ENCODER.DIM=2147483647": "less than or equal to 65536",
    "MODEL.CONTENT_ENCODER.DOWNSAMPLES=65536": "less than or equal to 16",
    "MODEL.CONTENT_ENCODER.KERNEL_SIZE=65537": "at most 1023",
    "MODEL.DISCRIMINATOR.SCALES=65536": "less than or equal to 16",
    "MODEL.DECODER.MAPPING.LAYERS=65536": "less than or equal to 256",
    "DATA.COUNT=2147483648": "less than or equal to 2147483647",
    "ENGINE.SEED=100000000000000000000": "does not fit in 64 bits",
    "ENGINE.SEED=1e20": "expected an integer",
    "DATA.SEED=-9223372036854775809": "does not fit in 64 bits",
    "OPTIM.DEFAULT.LR=1e308": "too large for 32 bits",
    "OPTIM.DEFAULT.EPS=.inf": "a number here is finite",
    "LOSSES.IMAGE_RECON.WEIGHT=.nan": "a number here is finite",
    "LOSSES.IMAGE_RECON.CRITIC_WEIGHT=-.inf": "a number here is finite",
    "DOMAINS.A.VALUE_RANGE=[0, .inf]": "a number here is finite",
    "ENGINE.EMA_NETWORKS={GENERATOR: .nan}": "a number here is finite",
    "ENGINE.ITERATIONS=99999999999": "less than or equal to 2147483647",
    "SCHEMA_VERSION=7": "is a file's own",
}


def test_numbers_that_nothing_can_hold_are_listed_together():
    found = problems("munit/shapes", *NUMBERS)
    for override, message in NUMBERS.items():
        told = [p for p in found if p.startswith(override.partition("=")[0]) and message in p]
        if override != "ENGINE.SEED=100000000000000000000":  # a later one wins
            assert told, override
    assert "does not fit in 64 bits" in problems("munit/shapes", "ENGINE.SEED=1" + "0" * 20)[0]


@pytest.mark.parametrize("value", [".inf", ".nan", "1e99"])
def test_what_is_held_out_is_a_number(value: str):
    data = f"DATA={{NAME: image_folder, ROOT: x, HOLD_OUT: {value}}}"
    assert problems("munit/shapes", data)[0].startswith("DATA.HOLD_OUT")
