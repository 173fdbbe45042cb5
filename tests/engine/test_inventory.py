"""What lies in a folder of runs, and weights to give away."""

from __future__ import annotations

import pytest
import torch

import munit_zoo as mz
from munit_zoo.cli import main
from munit_zoo.config import resolve
from munit_zoo.engine.inventory import survey
from munit_zoo.engine.runs import Run
from munit_zoo.engine.train import train
from munit_zoo.errors import CheckpointError


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny):
    folder = tmp_path_factory.mktemp("runs")
    more = [*tiny, "ENGINE.EMA=0.9", "ENGINE.SNAPSHOT_EVERY=1", "ENGINE.KEEP_BEST=image_recon"]
    train(resolve("munit/shapes", more), folder / "deep/done", device="cpu")
    return folder


def test_runs_at_a_glance(runs, capsys):
    (one,) = survey(runs)
    assert (one.state, one.iteration, one.iterations, one.snapshots) == ("finished", 4, 4, 4)
    assert one.best in (1, 2, 3, 4)
    assert "image_recon" in one.losses
    assert one.size == sum(p.stat().st_size for p in runs.rglob("*") if p.is_file())
    with Run(one.folder).locked():
        assert survey(one.folder)[0].state == "training"
    assert not Run(one.folder).busy()
    assert main(["runs", str(runs)]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert "deep/done" in line
    assert f"4 of 4  4, best {one.best}" in line


def test_a_broken_run_is_listed_and_told(runs, capsys):
    broken = runs / "broken"
    broken.mkdir()
    (broken / "run.json").write_text("{}")
    (broken / "config.yaml").write_text("MODEL: {NAME: gone}")
    try:
        assert main(["runs", str(runs)]) == 2
        said = capsys.readouterr()
        assert "broken" in said.out
        assert "problem" in said.err
    finally:
        for file in broken.iterdir():
            file.unlink()
        broken.rmdir()


def test_weights_alone_translate_alike(runs, tmp_path, capsys):
    run = runs / "deep/done"
    assert main(["weights", str(run), "--out", str(tmp_path / "w")]) == 0
    assert "--init-from" in capsys.readouterr().out
    files = {p.name for p in Run(tmp_path / "w").newest().folder.rglob("*") if p.is_file()}
    assert not [name for name in files if "discriminator" in name]
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    style = torch.randn(1, 1, 4)
    one, two = (
        mz.load_model(path).translate(x, to="b", styles=style) for path in (run, tmp_path / "w")
    )
    assert torch.equal(one, two)
    assert survey(tmp_path / "w")[0].state == "weights"
    with pytest.raises(CheckpointError, match="no optimizer state"):
        train(None, tmp_path / "w", resume=True, device="cpu")
    train(
        resolve(str(run / "config.yaml"), ["ENGINE.ITERATIONS=1"]),
        tmp_path / "next",
        init_from=tmp_path / "w",
        device="cpu",
    )
