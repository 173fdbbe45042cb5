"""Reading YAML strictly."""

from __future__ import annotations

from pathlib import Path

import pytest

from munit_zoo.config import dump
from munit_zoo.config._yaml import parse_text, read_yaml
from munit_zoo.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.0e5", 1e5),
        (".5", 0.5),
        ("-3", -3),
        ("0x10", 16),
        ("010", 10),
        ("true", True),
        ("off", "off"),
        ("yes", "yes"),
        ("no", "no"),
        ("2020-01-01", "2020-01-01"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("[1, [a, 2.5]]", [1, ["a", 2.5]]),
        (".inf", float("inf")),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object):
    found = parse_text(f"KEY: {text}", "f.yaml").value["KEY"].plain()
    assert found == value
    assert type(found) is type(value)


def test_each_value_knows_its_line():
    tree = parse_text("A: 1\nB:\n  C: 2\n", "f.yaml")
    assert tree.value["A"].origin == "f.yaml:1"
    assert tree.value["B"].value["C"].origin == "f.yaml:3"


def test_duplicate_keys_are_all_reported():
    with pytest.raises(ConfigError) as caught:
        parse_text("A: 1\nB: {C: 1, C: 2}\nA: 3\n", "f.yaml")
    text = str(caught.value)
    assert "B.C (f.yaml:2): is written twice (first at f.yaml:2)" in text
    assert "A (f.yaml:3): is written twice (first at f.yaml:1)" in text


@pytest.mark.parametrize("text", ["A: !!python/object/apply:os.getcwd []", "A: !mine 3"])
def test_tags_are_refused(text: str):
    with pytest.raises(ConfigError, match="tag"):
        parse_text(text, "f.yaml")


def test_a_tag_on_a_sequence_is_refused():
    with pytest.raises(ConfigError, match="tag"):
        parse_text("A: !!python/tuple [1]", "f.yaml")


def test_broken_yaml_names_its_line():
    with pytest.raises(ConfigError, match=r"f\.yaml:3.*not YAML"):
        parse_text("A: 1\nB: [1\n", "f.yaml")


def test_python_is_refused_not_executed(tmp_path: Path):
    file = tmp_path / "config.py"
    file.write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    with pytest.raises(ConfigError, match="never executed"):
        read_yaml(file, "config.py")
    assert not (tmp_path / "executed").exists()


def test_what_is_dumped_reads_back():
    tree = {"A": {"B": [1, 2.5, "off", "1e-4", "010", None, True], "C": 1e-05}, "D": "null"}
    assert parse_text(dump(tree), "f.yaml").plain() == tree
