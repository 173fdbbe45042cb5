"""The page about recipes: its example works as written, and does what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import munit_zoo as mz
from munit_zoo.cli import main
from munit_zoo.registry import MODELS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "recipes.md"


@pytest.fixture
def example(in_folder):
    """The page's files in the working directory; the recipe is forgotten afterwards."""
    text = PAGE.read_text(encoding="utf-8")
    blocks = dict(re.findall(r"```\w+\n# ([\w.]+)\n(.*?)```", text, flags=re.S))
    assert set(blocks) == {"morph.py", "morph.yaml"}
    for name, block in blocks.items():
        (in_folder / name).write_text(block, encoding="utf-8")
    yield text
    MODELS._local.pop("morph", None)


def test_the_example_is_drawn_as_shown(example, capsys):
    assert main(["describe", "model", "morph", "--plugin", "morph.py"]) == 0
    drawn = capsys.readouterr().out
    (shown,) = re.findall(r"```text\n(.*?)```", example, flags=re.S)
    assert shown in drawn
    assert "takes place in every critics-th iteration" in drawn
    assert "any to any: fake of x" in drawn


def test_the_example_trains_and_translates(example, capsys):
    small = ["ENGINE.ITERATIONS=5", "ENGINE.BATCH_SIZE=3", "ENGINE.GRID_EVERY=0", "DATA.SIZE=16"]
    small += ["MODEL.GENERATOR.DIM=4", "MODEL.DISCRIMINATOR.DIM=4", "DATA.COUNT=6"]
    small += ["DATA.TEST_COUNT=2"]
    plugin = ["--plugin", "morph.py"]
    assert main(["config", "check", "morph.yaml", *small, *plugin]) == 0
    told = capsys.readouterr().out
    assert "update critic: computes fake, between, d_real, d_fake, d_between" in told
    assert main(["train", "morph.yaml", *small, *plugin, "--run", "run"]) == 0
    model = mz.load_model("run")
    out = model.translate(torch.zeros(2, 3, 18, 16), "night")
    assert out.shape == (2, 1, 3, 18, 16)
    assert not torch.equal(out, model.translate(torch.zeros(2, 3, 18, 16), "filled"))
