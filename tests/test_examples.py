"""The scripts of `examples/` work as their first lines say."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch

import munit_zoo as mz
from munit_zoo.cli import main
from munit_zoo.config import load_config

EXAMPLES = Path(__file__).parent.parent / "examples"
SMALL = (
    "ENGINE.ITERATIONS=2",
    "ENGINE.BATCH_SIZE=2",
    "ENGINE.WORKERS=0",
    "ENGINE.GRID_EVERY=0",
    "DATA.COUNT=6",
    "DATA.TEST_COUNT=2",
)


def run(monkeypatch: pytest.MonkeyPatch, script: str, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / script), run_name="__main__")


def test_two_folders_then_translate(tmp_path, monkeypatch):
    for folder in ("photos", "paintings"):
        (tmp_path / folder).mkdir()
        for number in range(4):
            image = torch.rand(3, 70, 66) * 2 - 1
            mz.save_image(tmp_path / folder / f"{number}.png", image)
    where = tmp_path / "run"
    small = [
        "MODEL.CONTENT_ENCODER.DIM=4",
        "MODEL.STYLE_ENCODER.DIM=4",
        "MODEL.DISCRIMINATOR.DIM=4",
        "ENGINE.ITERATIONS=1",
        "ENGINE.WORKERS=0",
        "ENGINE.BATCH_SIZE=1",
        "ENGINE.DISPLAY=1",
    ]
    folders = (tmp_path / "photos", tmp_path / "paintings")
    mz.save_image(tmp_path / "photos" / "0.png", torch.rand(1, 70, 66))  # a gray one is no trouble
    run(monkeypatch, "two_folders.py", *folders, "--run", where, *small)
    assert len(list(where.glob("painting_*.png"))) == 5
    run(
        monkeypatch,
        "translate.py",
        where,
        tmp_path / "photos" / "0.png",
        *("--to", "painting", "--example", tmp_path / "paintings" / "0.png"),
        *("--out", tmp_path / "out"),
    )
    assert len(list((tmp_path / "out").iterdir())) == 6


@pytest.mark.parametrize(
    ("file", "model", "words"),
    [
        (
            "custom_loss.py",
            [],
            ["LOSSES.EDGES={NAME: edges, WEIGHT: 2, PAIRS: [[x_aa, x_a]]}"],
        ),
        (
            "custom_recipe.py",
            ["MODEL={NAME: swap}"],
            ["LOSSES.STYLE_RECON=null", "LOSSES.CONTENT_RECON=null"],
        ),
    ],
)
def test_own_components(file, model, words, tmp_path):
    plugin = ["--plugin", str(EXAMPLES / file)]
    where = ["--run", str(tmp_path / "run")]
    assert main(["train", "munit/shapes", *model, *words, *SMALL, *plugin, *where]) == 0


def test_training_from_python(tmp_path):
    end = mz.train("munit/shapes", *SMALL, run=tmp_path / "run")
    assert (end.iteration, end.interrupted) == (2, False)
    more = load_config(str(end.run.folder / "config.yaml"), "ENGINE.ITERATIONS=3")
    assert mz.train(more, run=tmp_path / "run", resume=True).iteration == 3
    with pytest.raises(mz.errors.UsageError, match="holds a run already"):
        mz.train("munit/shapes", run=tmp_path / "run")
    with pytest.raises(mz.errors.UsageError, match=r"create_model\(load_config\("):
        mz.create_model("munit/shapes")
