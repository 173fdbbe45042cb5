"""Committed results read back, and the documentation shows them as they are."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from munit_zoo.bench.report import read_result
from munit_zoo.cli._main import _parser

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FILES = sorted((BENCHMARKS / "results").rglob("*.json"))


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_results_are_whole(file: Path):
    result = read_result(file)
    assert {"processor", "torch", "python", "date"} <= result.environment.keys()
    assert any(row.seconds_median for row in result.rows)


def test_the_page_is_made_from_the_results():
    render = load("render")
    assert render.PAGE.read_text(encoding="utf-8") == render.render()


def test_the_zoo_has_its_page():
    """Slots and parts; sizes are measured anew in the slow test."""
    zoo = load("zoo")
    page = zoo.PAGE.read_text(encoding="utf-8")
    assert page.endswith(zoo.render_parts()), "python benchmarks/zoo.py"
    rows = page.partition("## Recipes")[2].partition("## Slots")[0]
    assert re.findall(r"^\| \[?`(\w+)`", rows, flags=re.M) == zoo.recipes()


@pytest.mark.slow
def test_the_sizes_of_the_zoo_are_measured():
    zoo = load("zoo")
    assert zoo.PAGE.read_text(encoding="utf-8") == zoo.render()


def test_the_workloads_are_commands_that_parse():
    workloads = load("workloads")
    for arguments in (*workloads.CPU.values(), *workloads.CUDA.values()):
        assert _parser().parse_args(["bench", *arguments.split()]).run == "_bench:bench"
    assert workloads.run("x", ["unknown"]) == 2
