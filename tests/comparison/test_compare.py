"""Runs side by side on a page."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from _recipes import cyclegan_noise, munit

import munit_zoo as mz
from munit_zoo.cli import main
from munit_zoo.comparison.compare import compare, scores_of
from munit_zoo.comparison.cost import Cost
from munit_zoo.comparison.grids import GridChoice, _grid, draw_grids
from munit_zoo.engine.evaluate import EvaluationChoice, evaluate
from munit_zoo.errors import CheckpointError, UsageError
from munit_zoo.registry import load_plugin_file

PLUGIN = Path(__file__).parent / "_brightness.py"


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny) -> list[Path]:
    """Two runs of one config, scored by one protocol and another."""
    load_plugin_file(PLUGIN)
    folder = tmp_path_factory.mktemp("runs")
    found = []
    for seed in (0, 1):
        path = folder / f"seed_{seed}" / "run"
        words = [*tiny, f"ENGINE.SEED={seed}", "ENGINE.ITERATIONS=1"]
        mz.train("munit/shapes", *words, run=path, device="cpu")
        light = EvaluationChoice(metrics=("brightness",))
        evaluate(path, light, device="cpu")
        words = (f"METRICS.OWN={{NAME: brightness, PROTOCOL: {seed}}}",)
        evaluate(path, EvaluationChoice(metrics=("own",), overrides=words), device="cpu")
        found.append(path)
    return found


def test_a_page(runs, tmp_path, capsys, monkeypatch):
    cost = Cost(4_000_000, 2_000_000, 1.5, 0.1, 2, 2**21, "cpu", 1)  # measured in test_ablate
    monkeypatch.setattr("munit_zoo.comparison.compare.cost_of", lambda *_, **__: cost)
    out = tmp_path / "sub" / "both.html"
    command = ["compare", *map(str, runs), "--out", str(out), "--device", "cpu"]
    assert main([*command, "--inputs", "2", "--styles", "3", "--examples", "1"]) == 0
    assert f"page: {out}" in capsys.readouterr().out
    page = out.read_text()
    assert "<td>seed_0</td>" in page  # what tells them apart: neither `run` nor the whole path
    table = page.split("<h3>Brightness</h3>")[1].split("</table>")[0]
    assert table.count("class='model'") == 2
    assert "floor: input copied" in table
    assert "Brightness (own), protocol 1 of 2" in page
    assert "Not to be compared with the first: protocol.protocol differ" in page
    assert "GFLOP an image" in page
    assert "<td>4</td><td>2</td><td>1.5</td><td>20</td><td>2</td>" in page
    assert "other test images" not in page
    for file in re.findall(r"img src='([^']+)'", page):
        assert (out.parent / file).is_file()
    assert page.count("<figure>") == 4
    assert len(set(re.findall(r"<img src='[^']+' width='(\d+)'", page))) == 1


def test_a_recipe_that_encodes_no_examples_is_shown_in_drawn_styles_alone():
    class Images(list):
        test = list.__getitem__

    data = Images([torch.rand(3, 16, 16) for _ in range(4)])
    for model, legend in (
        (cyclegan_noise(), "input | 2 drawn styles"),
        (munit(), "input | 2 drawn styles | styles of 1 real images, shown above"),
    ):
        choice = GridChoice(inputs=2, styles=2, examples=1)
        way = ("day", "night")
        grid, columns = _grid(model.eval(), data[:2], way, dict.fromkeys(way, data), choice)
        assert columns == legend
        assert grid.shape[0] == 3


def test_grids_show_the_same_under_the_same(runs, tmp_path):
    """One run twice makes the same file; styles of a column are those of every row."""
    choice = GridChoice(inputs=2, styles=3, examples=1)
    named = [("one", runs[0]), ("again", runs[0])]
    one, again = draw_grids(named, tmp_path / "g", choice, device="cpu")
    first, second = (mz.read_image(tmp_path / shown.files["a2b"]) for shown in (one, again))
    assert torch.equal(first, second)
    assert one.inputs == again.inputs
    # 1 input, 3 drawn styles, 1 example across; the example's row and 2 inputs down; 16 pixels + 2
    assert first.shape[2:] == (3 * 18 + 2, 5 * 18 + 2)
    model = mz.load_model(runs[0])
    example = first[..., 2:18, 4 * 18 + 2 : 5 * 18]
    x = first[..., 20:36, 2:18]
    made = model.translate(x, "b", example)[0]
    assert (made - first[..., 20:36, 4 * 18 + 2 : 5 * 18]).abs().max() < 0.02
    assert "styles of 1 real images, shown above" in one.columns["a2b"]


def test_other_images_are_said_to_be_others(runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(runs[0], other)
    text = (other / "config.yaml").read_text()
    seeded = re.sub(r"(DATA:.*?SEED: )0", r"\g<1>7", text, flags=re.S)
    assert seeded != text
    (other / "config.yaml").write_text(seeded)
    page = compare([runs[0], other], tmp_path / "c.html", GridChoice(1, 1, 1), measure=False)
    assert "other test images than the first" in page.read_text()


def test_what_cannot_be_compared(runs, tmp_path):
    with pytest.raises(UsageError, match="two or more runs"):
        compare(runs[:1], tmp_path / "c.html")
    with pytest.raises(UsageError, match="is named twice"):
        compare([runs[0], runs[1], runs[0]], tmp_path / "c.html")
    with pytest.raises(UsageError, match="--out is a page"):
        compare(runs, tmp_path / "c")
    with pytest.raises(CheckpointError, match="is not a run"):
        mz.compare(runs[0], tmp_path, out=tmp_path / "c.html", device="cpu")
    with pytest.raises(UsageError, match="--styles is 1 or more"):
        GridChoice(styles=0)
    (runs[0] / "evaluation" / "bad_00000001.json").write_text("{")
    assert {score.metric for score in scores_of("x", runs[0])} == {"brightness", "own"}
