"""Training: resuming bit for bit, what a run holds, and what is refused."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import munit_zoo as mz
from munit_zoo.config import load_config, resolve
from munit_zoo.data.images import write_image
from munit_zoo.engine.runs import Run
from munit_zoo.engine.state import Captured, load_into
from munit_zoo.engine.train import Silent, train
from munit_zoo.errors import CheckpointError, ConfigError, DataError, UsageError


def weights_of(run: Path, iteration: int) -> dict[str, torch.Tensor]:
    """All that a snapshot holds, by part and name."""
    snapshot = next(s for s in Run.open(run).snapshots() if s.iteration == iteration)
    captured = snapshot.read()
    return {
        f"{part}.{name}": value
        for part in ("networks", "average", "criteria", "optimizers")
        for name, value in captured.part(part).items()
    }


def logged(run: Path) -> list[dict[str, float]]:
    lines = (run / "log.jsonl").read_text().splitlines()
    drop = ("images_per_second",)
    return [{k: v for k, v in json.loads(line).items() if k not in drop} for line in lines]


@pytest.fixture
def overrides(tiny) -> tuple[str, ...]:
    return (*tiny, "ENGINE.EMA=0.9", "ENGINE.ITERATIONS=5", "ENGINE.SNAPSHOT_EVERY=1")


@pytest.mark.parametrize("recipe", ["munit", pytest.param("unit", marks=pytest.mark.slow)])
def test_resuming_from_any_snapshot_is_bit_exact(tmp_path, overrides, tiny_unit, recipe):
    if recipe == "unit":
        overrides = (*tiny_unit, "ENGINE.EMA=0.9", "ENGINE.ITERATIONS=5", "ENGINE.SNAPSHOT_EVERY=1")
    resolved = resolve(f"{recipe}/shapes", overrides)
    whole = tmp_path / "whole"
    train(resolved, whole, device="cpu")
    expected = weights_of(whole, 5)
    for snapshot in Run.open(whole).snapshots()[:4]:
        torch.randn(7)  # whatever else draws in between
        part = tmp_path / snapshot.folder.name
        end = train(None, part, resume_from=snapshot.folder, device="cpu")
        assert end.iteration == 5
        ours = weights_of(part, 5)
        assert ours.keys() == expected.keys()
        different = [name for name in ours if not torch.equal(ours[name], expected[name])]
        assert not different
        assert logged(part) == logged(whole)[snapshot.iteration :]


SMALL = {
    "drit": (
        "MODEL.CONTENT_ENCODER.DIM=4",
        "MODEL.STYLE_ENCODER.DIM=4",
        "MODEL.DISCRIMINATOR.DIM=4",
        "MODEL.CONTENT_DISCRIMINATOR.DIM=4",
        "MODEL.EVERY=2",  # so that a snapshot lies between two iterations that differ
    ),
    "cyclegan_noise": ("MODEL.GENERATOR.DIM=4", "MODEL.DISCRIMINATOR.DIM=4", "MODEL.POOL_SIZE=3"),
}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", SMALL)
def test_other_recipes_resume_exactly(tmp_path, recipe):
    few = ("ENGINE.ITERATIONS=4", "ENGINE.SNAPSHOT_EVERY=1", "ENGINE.LOG_EVERY=1")
    few += ("ENGINE.GRID_EVERY=0", "ENGINE.BATCH_SIZE=2", "DATA.COUNT=20", "METRICS=null")
    whole = tmp_path / "whole"
    train(resolve(f"{recipe}/shapes", (*SMALL[recipe], *few)), whole, device="cpu")
    expected = weights_of(whole, 4)
    for snapshot in Run.open(whole).snapshots()[:3]:
        part = tmp_path / snapshot.folder.name
        train(None, part, resume_from=snapshot.folder, device="cpu")
        ours = weights_of(part, 4)
        assert ours.keys() == expected.keys()
        assert not [name for name in ours if not torch.equal(ours[name], expected[name])]
        assert logged(part) == logged(whole)[snapshot.iteration :]


class Dropping(torch.nn.Dropout):
    """Dropout, under a norm's contract."""

    num_parameters = 0

    def __init__(self, num_features: int) -> None:
        super().__init__(0.5)


def test_components_that_draw_resume_exactly_too(tmp_path, overrides):
    from munit_zoo.registry import NORMS

    NORMS.register("test_dropout")(Dropping)
    try:
        more = [*overrides, "MODEL.DISCRIMINATOR.NORM.NAME=test_dropout", "ENGINE.ITERATIONS=4"]
        train(resolve("munit/shapes", more), tmp_path / "whole", device="cpu")
        middle = tmp_path / "whole/snapshots/00000002"
        train(None, tmp_path / "p", resume_from=middle, device="cpu")
        expected, ours = (weights_of(tmp_path / name, 4) for name in ("whole", "p"))
        assert all(torch.equal(ours[name], expected[name]) for name in expected)
    finally:
        del NORMS._local["test_dropout"]


def test_the_number_of_workers_changes_nothing(tmp_path, overrides):
    for workers in (0, 2):
        train(
            resolve("munit/shapes", [*overrides, f"ENGINE.WORKERS={workers}"]),
            tmp_path / str(workers),
            device="cpu",
        )
    first, second = (weights_of(tmp_path / name, 5) for name in ("0", "2"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_acts_now_and_then_is_logged(tmp_path, overrides):
    """Also where its turns never meet those of the log, or nothing else acts in an iteration."""
    more = [
        *overrides,
        "LOSSES.ADVERSARIAL.EVERY=2",
        "LOSSES.STYLE_RECON.EVERY=2",
        "ENGINE.ITERATIONS=4",
        "ENGINE.LOG_EVERY=2",
    ]
    train(resolve("munit/shapes", more), tmp_path / "run", device="cpu")
    lines = logged(tmp_path / "run")
    assert [line["iteration"] for line in lines] == [2, 4]
    for line in lines:
        assert {"generators/style_recon/s_ab", "discriminators/total"} <= line.keys()
    assert lines[0]["discriminators/total"] != lines[1]["discriminators/total"]


def test_a_batch_that_cannot_be_parted_is_refused_before_anything_is_written(tmp_path, overrides):
    resolved = resolve("munit/shapes", [*overrides, "ENGINE.BATCH_SIZE=4", "ENGINE.ACCUMULATE=3"])
    with pytest.raises(UsageError, match="a batch of 4 cannot be computed in 3 equal parts"):
        train(resolved, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_going_on_in_a_run_and_from_another_are_two_things(tmp_path):
    with pytest.raises(UsageError, match="--resume-from in a new one: give one of them"):
        train(None, tmp_path / "run", resume=True, resume_from=tmp_path / "other", device="cpu")


def test_what_a_run_holds(tmp_path, overrides):
    more = [*overrides, "ENGINE.GRID_EVERY=5", "ENGINE.KEEP=2"]
    run = tmp_path / "run"
    train(resolve("munit/shapes", more), run, device="cpu")
    assert load_config(str(run / "config.yaml")) == load_config("munit/shapes", *more)
    assert [s.iteration for s in Run.open(run).snapshots()] == [4, 5]
    record = json.loads((run / "run.json").read_text())
    assert record["components"]["MODEL.DECODER"]["distribution"] == "munit-zoo"
    assert record["data"]["train"]["a"]["mapping"]
    assert record["config_sha256"] == load_config("munit/shapes", *more).digest()
    assert {p.name for p in (run / "images").glob("*.png")} == {
        f"{way}_{i:08d}.png" for way in ("a2b", "b2a") for i in (0, 5)
    }
    page = (run / "index.html").read_text()
    for source in re.findall(r"src='([^']+)'", page):
        assert (run / source).is_file()
    assert "image_recon/x_aa" in page
    assert "http" not in page.replace("http-equiv", "")  # readable without a network
    assert any((run / "tensorboard").iterdir())
    assert not list(run.rglob(".writing*"))


def test_display_of_fewer_images_than_asked_for(tmp_path, overrides):
    more = [*overrides, "ENGINE.GRID_EVERY=1", "DATA.TEST_COUNT=1", "ENGINE.DISPLAY=50"]
    train(resolve("munit/shapes", [*more, "ENGINE.ITERATIONS=1"]), tmp_path / "r", device="cpu")
    assert (tmp_path / "r/images/a2b_00000001.png").is_file()


def test_an_existing_run_is_not_overwritten(tmp_path, overrides):
    run = tmp_path / "run"
    train(resolve("munit/shapes", [*overrides, "ENGINE.ITERATIONS=1"]), run, device="cpu")
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    with pytest.raises(UsageError, match="holds a run already; continue it with --resume"):
        train(resolve("munit/shapes", overrides), run, device="cpu")
    assert before == {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        train(resolve("munit/shapes", overrides), tmp_path / "other", device="cpu")


def test_resuming_with_another_config_is_refused(tmp_path, overrides):
    run = tmp_path / "run"
    train(resolve("munit/shapes", [*overrides, "ENGINE.ITERATIONS=1"]), run, device="cpu")
    with pytest.raises(UsageError, match=r"MODEL\.STYLE_DIM: 4 -> 5"):
        train(resolve("munit/shapes", [*overrides, "MODEL.STYLE_DIM=5"]), run, resume=True)
    with pytest.raises(CheckpointError, match="is not a run: there is no such folder"):
        train(None, tmp_path / "nowhere", resume=True)
    with pytest.raises(UsageError, match="leave --init-from out"):
        train(None, run, resume=True, init_from=run)


def test_start_from_another_runs_weights(tmp_path, overrides):
    first = tmp_path / "first"
    train(resolve("munit/shapes", [*overrides, "ENGINE.ITERATIONS=2"]), first, device="cpu")
    second = tmp_path / "second"
    frozen = [*overrides, "ENGINE.ITERATIONS=1", "OPTIM.DEFAULT.LR=0"]
    train(resolve("munit/shapes", frozen), second, init_from=first, device="cpu")
    old, new = weights_of(first, 2), weights_of(second, 1)
    kept = [n for n in new if n.startswith("networks.") and "discriminator" not in n]
    for name in kept:
        assert torch.equal(new[name], old[name.replace("networks.", "average.")])  # EMA where kept
    with pytest.raises(CheckpointError, match="do not fit"):
        train(
            resolve("munit/shapes", [*overrides, "MODEL.STYLE_DIM=5"]),
            tmp_path / "third",
            init_from=first,
            device="cpu",
        )
    assert not (tmp_path / "third").exists()


class Interrupting(Silent):
    """Sends the signal once an iteration is done."""

    def __init__(self, at: int) -> None:
        self.at = at

    def advanced(self, iteration: int) -> None:
        if iteration == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_saves_and_resuming_goes_on_exactly(tmp_path, overrides):
    rare = [*overrides, "ENGINE.SNAPSHOT_EVERY=0"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(resolve("munit/shapes", rare), whole, device="cpu")
    end = train(resolve("munit/shapes", rare), cut, device="cpu", progress=Interrupting(2))
    assert end.interrupted
    assert [s.iteration for s in Run.open(cut).snapshots()] == [end.iteration]
    assert end.iteration < 5
    train(None, cut, resume=True, device="cpu")
    expected, ours = weights_of(whole, 5), weights_of(cut, 5)
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


def test_a_loss_that_is_not_finite_stops_and_says_so(tmp_path, overrides):
    wild = [*overrides, "OPTIM.DEFAULT.LR=1e30", "OPTIM.NETWORKS.DISCRIMINATOR.LR=1e-3"]
    wild.append("ENGINE.ITERATIONS=20")
    with pytest.raises(UsageError, match=r"loss ADVERSARIAL is not finite; .*The last snapshot is"):
        train(resolve("munit/shapes", wild), tmp_path / "run", device="cpu")
    assert Run.open(tmp_path / "run").snapshots()


def test_a_failed_snapshot_leaves_nothing_half_written(tmp_path, monkeypatch):
    run = Run(tmp_path)
    (tmp_path / "config.yaml").write_text("")

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        run.save(Captured(1, {"networks/a": {"a.w": torch.ones(1)}}), {})
    assert run.snapshots() == []
    assert list((tmp_path / "snapshots").iterdir()) == []


def test_load_model_takes_runs_and_snapshots(tmp_path, overrides):
    run = tmp_path / "run"
    train(resolve("munit/shapes", overrides), run, device="cpu")
    newest, averaged = mz.load_model(run, ema=False), mz.load_model(run)
    assert not newest.training
    expected = weights_of(run, 5)
    for model, part in ((newest, "networks"), (averaged, "average")):
        for name, value in model.state_dict().items():
            assert torch.equal(value, expected[f"{part}.{name}"])
    older = mz.load_model(run / "snapshots" / "00000002", ema=False).state_dict()
    name = next(name for name in older if "content_encoder" in name)
    assert not torch.equal(older[name], newest.state_dict()[name])
    with pytest.raises(CheckpointError, match="no config"):
        mz.load_model(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is the GPU that is to be absent")
def test_a_device_that_is_not_here(tmp_path, overrides):
    for device, message in (
        ("cuda", "device 'cuda' is not available here; there is cpu"),
        ("cuda:1", "device 'cuda' is not available"),
        ("gpu", "device 'gpu' is none of torch's: cpu, cuda, cuda:1, mps"),
    ):
        with pytest.raises(UsageError, match=message):
            mz.load_model(tmp_path, device=device)


def test_weights_that_do_not_fit_are_listed():
    module = torch.nn.Linear(2, 3)
    with pytest.raises(CheckpointError) as caught:
        load_into(module, {"weight": torch.ones(3, 4), "extra": torch.ones(1)}, "here")
    text = str(caught.value)
    assert "missing: bias" in text
    assert "left over: extra" in text
    assert "weight is (3, 4), the model has (3, 2)" in text


def test_an_uninstalled_plugin_is_named_with_its_version(tmp_path, overrides):
    run = tmp_path / "run"
    train(resolve("munit/shapes", [*overrides, "ENGINE.ITERATIONS=1"]), run, device="cpu")
    text = (run / "config.yaml").read_text().replace("NAME: layer", "NAME: gone", 1)
    (run / "config.yaml").write_text(text)
    record = json.loads((run / "run.json").read_text())
    for component in record["components"].values():
        component |= {"distribution": "zoo-gone", "version": "3.1"}
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(ConfigError, match=r"zoo-gone 3\.1; install that again"):
        mz.load_model(run)


def test_training_in_a_thread_leaves_signals_alone(tmp_path, overrides):
    before = signal.getsignal(signal.SIGINT)
    ends = []
    few = resolve("munit/shapes", [*overrides, "ENGINE.ITERATIONS=1"])
    worker = threading.Thread(
        target=lambda: ends.append(train(few, tmp_path / "run", device="cpu"))
    )
    worker.start()
    worker.join()
    assert ends[0].iteration == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_missing_data_is_reported_before_anything_is_written(tmp_path, overrides):
    data = [f"DATA={{NAME: image_folder, ROOT: {tmp_path / 'nowhere'}, SIZE: 16}}"]
    plain = [o for o in overrides if not o.startswith("DATA.")]
    with pytest.raises(DataError, match="there is no folder"):
        train(resolve("munit/shapes", [*plain, *data]), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_unusable_images_are_reported_before_anything_is_written(tmp_path, overrides):
    for name in ("trainA", "trainB"):
        (tmp_path / name).mkdir()
        write_image(tmp_path / name / "1.png", np.zeros((1, 20, 20), np.uint8))
    plain = [o for o in overrides if not o.startswith("DATA.")]
    data = f"DATA={{NAME: image_folder, ROOT: {tmp_path}, SIZE: 16}}"
    with pytest.raises(DataError, match=r"1\.png has 1 channel, domain A is declared with 3"):
        train(resolve("munit/shapes", [*plain, data]), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_training_goes_without_test_images_and_says_so(tmp_path, overrides):
    for name in ("trainA", "trainB"):
        (tmp_path / name).mkdir()
        write_image(tmp_path / name / "1.png", np.zeros((3, 20, 20), np.uint8))
    plain = [o for o in overrides if not o.startswith("DATA.")]
    data = f"DATA={{NAME: image_folder, ROOT: {tmp_path}, SIZE: 16}}"
    told = []

    class Listening(Silent):
        def started(self, start, iterations, device, notes):
            told.extend(notes)

    few = resolve("munit/shapes", [*plain, data, "ENGINE.ITERATIONS=1"])
    train(few, tmp_path / "run", device="cpu", progress=Listening())
    assert any("no test images" in note and "testA" in note for note in told)
    assert (tmp_path / "run/images/a2b_00000001.png").is_file()


def test_bf16_trains(tmp_path, overrides):
    more = [*overrides, "ENGINE.PRECISION=bf16", "ENGINE.ITERATIONS=2"]
    train(resolve("munit/shapes", more), tmp_path / "run", device="cpu")
    for value in weights_of(tmp_path / "run", 2).values():
        assert value.dtype == torch.float32
        assert np.isfinite(value.numpy()).all()


def test_global_randomness_is_not_what_training_draws_from(tmp_path, overrides):
    few = resolve("munit/shapes", [*overrides, "ENGINE.ITERATIONS=2"])
    torch.manual_seed(1)
    train(few, tmp_path / "one", device="cpu")
    torch.manual_seed(int(time.time()))
    train(few, tmp_path / "two", device="cpu")
    one, two = (weights_of(tmp_path / name, 2) for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("key", ["ENGINE.CUDA_GRAPHS=true", "ENGINE.COMPILE=default"])
def test_an_acceleration_that_cannot_be_had_is_refused_before_anything_is_written(
    tmp_path, overrides, monkeypatch, key
):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UsageError, match=key.partition("=")[0]):
        train(resolve("munit/shapes", [*overrides, key]), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


SPECTRAL = ("MODEL.CONTENT_ENCODER.WEIGHT_NORM=spectral_legacy", "ENGINE.SHARE=none")


@pytest.mark.parametrize("ema", ["null", "0.9"])
def test_looking_on_changes_nothing(tmp_path, overrides, ema):
    """Spectral vectors of the reference move in evaluation, too."""
    for every in (0, 1):
        more = [
            *overrides,
            *SPECTRAL,
            f"ENGINE.EMA={ema}",
            f"ENGINE.GRID_EVERY={every}",
            "ENGINE.ITERATIONS=2",
        ]
        train(resolve("munit/shapes", more), tmp_path / str(every), device="cpu")
    unseen, seen = (weights_of(tmp_path / name, 2) for name in ("0", "1"))
    assert all(torch.equal(unseen[name], seen[name]) for name in unseen)


def test_spectral_vectors_resume_exactly(tmp_path, overrides):
    more = [*overrides, *SPECTRAL, "ENGINE.EMA=null", "ENGINE.SNAPSHOT_EVERY=2"]
    train(resolve("munit/shapes", [*more, "ENGINE.ITERATIONS=4"]), tmp_path / "w", device="cpu")
    train(resolve("munit/shapes", [*more, "ENGINE.ITERATIONS=2"]), tmp_path / "p", device="cpu")
    longer = resolve("munit/shapes", [*more, "ENGINE.ITERATIONS=4"])
    train(longer, tmp_path / "p", resume=True, device="cpu")
    whole, parts = (weights_of(tmp_path / name, 4) for name in ("w", "p"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_an_image_that_cannot_be_read_loses_no_iteration(tmp_path, overrides):
    for domain in "AB":
        folder = tmp_path / f"train{domain}"
        folder.mkdir()
        for index in range(4):
            image = np.random.default_rng(index).integers(0, 256, (3, 16, 16), dtype=np.uint8)
            write_image(folder / f"{index}.png", image)
    good = (tmp_path / "trainB/3.png").read_bytes()
    (tmp_path / "trainB/3.png").write_bytes(b"no image")
    kept = [o for o in overrides if not o.startswith("DATA.") and "SNAPSHOT" not in o]
    data = f"DATA={{NAME: image_folder, ROOT: {tmp_path}, SIZE: 16}}"
    more = [*kept, data, "ENGINE.BATCH_SIZE=1", "ENGINE.ITERATIONS=8", "ENGINE.SNAPSHOT_EVERY=0"]
    config = resolve("munit/shapes", [*more, "ENGINE.SEED=1", "ENGINE.DISPLAY=1"])
    with pytest.raises(DataError, match=r"3.png cannot be read.*after iteration (\d) and saved"):
        train(config, tmp_path / "run", device="cpu")
    (snapshot,) = Run.open(tmp_path / "run").snapshots()
    assert 0 < snapshot.iteration < 4
    (tmp_path / "trainB/3.png").write_bytes(good)
    assert train(None, tmp_path / "run", resume=True, device="cpu").iteration == 8
