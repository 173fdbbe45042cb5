"""Trainings that end in the middle: what is kept, what is said, and how they go on."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import munit_zoo as mz
from munit_zoo.cli import main
from munit_zoo.config import load_config, resolve
from munit_zoo.data.images import write_image
from munit_zoo.engine.runs import Run
from munit_zoo.engine.session import Silent
from munit_zoo.engine.setup import Rates, _schedule_notes
from munit_zoo.engine.snapshots import Snapshot
from munit_zoo.engine.state import TrainingState
from munit_zoo.engine.step import Trainer
from munit_zoo.engine.train import train
from munit_zoo.errors import CheckpointError, DataError, UsageError
from munit_zoo.models import create_model
from munit_zoo.optim.schedules import Linear

SHORT = ("ENGINE.ITERATIONS=4", "ENGINE.SNAPSHOT_EVERY=1", "ENGINE.EMA=0.9")


@pytest.fixture(scope="module")
def overrides(tiny) -> tuple[str, ...]:
    return (*tiny, *SHORT)


def begin(folder: Path, overrides, **options):
    return train(resolve("munit/shapes", overrides), folder, device="cpu", **options)


def go_on(folder: Path, overrides=None, **options):
    resolved = None if overrides is None else resolve("munit/shapes", overrides)
    return train(resolved, folder, resume=True, device="cpu", **options)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    captured = Run(folder).newest().read()
    return {
        f"{part}.{name}": value
        for part in ("networks", "average", "optimizers")
        for name, value in captured.part(part).items()
    }


def same(first: Path, second: Path) -> bool:
    one, two = weights(first), weights(second)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def logged(folder: Path) -> list[int]:
    return [json.loads(line)["iteration"] for line in (folder / "log.jsonl").open()]


class Killed(BaseException):
    """As by `kill -9`: nothing more is done."""


class Told(Silent):
    """Keeps what is said; does something once an iteration is done."""

    def __init__(self, at: int = -1, action: Callable[[], Any] | None = None) -> None:
        self.notes: list[str] = []
        self.left: list[float] = []
        self.at, self.action = at, action

    def started(self, start, iterations, device, notes):
        self.notes = list(notes)

    def advanced(self, iteration):
        if iteration == self.at and self.action is not None:
            self.action()

    def logged(self, iteration, losses, speed, left):
        self.left.append(left)


def failing(error: BaseException) -> Callable[..., Any]:
    def action(*_: Any, **__: Any) -> None:
        raise error

    return action


@pytest.fixture(scope="module")
def whole(tmp_path_factory, overrides) -> Path:
    """A run of four iterations, undisturbed. To be read only."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    begin(folder, overrides)
    return folder


@pytest.fixture
def run(tmp_path, whole) -> Path:
    """A copy of it."""
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


# Before the first snapshot, and after it


def test_a_run_without_a_snapshot_starts_anew(tmp_path, overrides, whole):
    run, told = tmp_path / "run", Told()
    with pytest.raises(Killed):
        begin(run, overrides, progress=Told(1, failing(Killed())))
    assert not Run(run).snapshots()
    with pytest.raises(UsageError, match="a run without a snapshot yet; start it with --resume"):
        begin(run, overrides)
    go_on(run, progress=told)
    assert any("no snapshot yet: it starts anew, from iteration 0" in n for n in told.notes)
    assert same(run, whole)
    assert logged(run) == [1, 2, 3, 4]


def test_a_run_without_a_snapshot_remembers_what_it_started_from(tmp_path, overrides, whole):
    expected, cut = tmp_path / "expected", tmp_path / "cut"
    few = [*overrides, "ENGINE.ITERATIONS=1"]
    begin(expected, few, init_from=whole)
    with pytest.raises(Killed):
        begin(cut, few, init_from=whole, progress=Told(1, failing(Killed())))
    go_on(cut)
    assert same(cut, expected)


def test_log_and_grids_of_after_the_snapshot_are_taken_back(tmp_path, overrides, whole):
    more = [*overrides, "ENGINE.SNAPSHOT_EVERY=2", "ENGINE.GRID_EVERY=1"]
    run = tmp_path / "run"
    with pytest.raises(Killed):
        begin(run, more, progress=Told(4, failing(Killed())))
    assert logged(run) == [1, 2, 3, 4]
    with (run / "log.jsonl").open("a") as file:
        file.write('{"iteration": 5, "x"')  # torn
    grids = {p.name: p.stat().st_mtime_ns for p in (run / "images").glob("a2b_*.png")}
    assert "a2b_00000003.png" in grids
    go_on(run)
    assert logged(run) == [1, 2, 3, 4]
    now = {p.name: p.stat().st_mtime_ns for p in (run / "images").glob("a2b_*.png")}
    assert now["a2b_00000002.png"] == grids["a2b_00000002.png"]
    assert now["a2b_00000003.png"] != grids["a2b_00000003.png"]
    go_on(run, [*more, "ENGINE.ITERATIONS=4"])  # nothing left to do
    (run / "images/a2b_00000009.png").write_text("")
    go_on(run)
    assert not (run / "images/a2b_00000009.png").exists()


def test_resuming_under_a_falling_rate_is_exact(tmp_path, overrides):
    """The rate falls from the first iteration on, so that one taken from a snapshot shows."""
    falling = [*overrides, "OPTIM.SCHEDULE={NAME: linear, START: 0.0}", "ENGINE.ITERATIONS=3"]
    begin(tmp_path / "whole", falling)
    second = tmp_path / "whole/snapshots/00000002"
    train(None, tmp_path / "rest", resume_from=second, device="cpu")
    assert same(tmp_path / "rest", tmp_path / "whole")


def test_the_schedule_is_for_every_optimizer():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizers = [torch.optim.SGD([weight], lr=lr) for lr in (0.1, 0.4)]
    rates = Rates(optimizers, Linear(start=0.0, final=0.0), 4)
    assert rates.set(2) == pytest.approx(0.05)
    assert [o.param_groups[0]["lr"] for o in optimizers] == pytest.approx([0.05, 0.2])
    assert rates.set(0) == pytest.approx(0.1)
    assert [o.param_groups[0]["lr"] for o in optimizers] == pytest.approx([0.1, 0.4])


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1"])
def test_the_command_says_resume_me(tmp_path, overrides, whole, name, monkeypatch, capsys):
    from munit_zoo.cli import _run

    def ask(_: Any, iteration: int) -> None:
        if iteration == 2:
            os.kill(os.getpid(), getattr(signal, name))

    monkeypatch.setattr(_run._Bar, "advanced", ask)
    rare = [*overrides, "ENGINE.SNAPSHOT_EVERY=0"]
    command = ["train", "--run", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*command, "munit/shapes", *rare]) == 75
    out = capsys.readouterr().out
    assert "stopped and saved at iteration 2" in out
    assert "--resume" in out
    monkeypatch.undo()
    assert main([*command, "--resume"]) == 0
    assert same(tmp_path / "run", whole)


# What may change


def test_an_extension_is_remembered(run):
    more = Told()
    own = str(run / "config.yaml")
    longer = resolve(own, ["ENGINE.ITERATIONS=6", "ENGINE.LOG_EVERY=2"])
    with pytest.raises(Killed):
        train(longer, run, resume=True, device="cpu", progress=Told(5, failing(Killed())))
    assert load_config(own).ENGINE.ITERATIONS == 6
    assert go_on(run, progress=more).iteration == 6
    (entry,) = json.loads((run / "run.json").read_text())["changes"]
    assert entry == {
        "from_iteration": 4,
        "keys": {"ENGINE.ITERATIONS": [4, 6], "ENGINE.LOG_EVERY": [1, 2]},
    }
    assert logged(run) == [1, 2, 3, 4, 6]


def test_a_schedule_that_another_end_moves_is_said(run):
    told = Told()
    own = str(run / "config.yaml")
    train(resolve(own, ["ENGINE.ITERATIONS=5"]), run, resume=True, device="cpu", progress=told)
    (note,) = [n for n in told.notes if "moves the schedule linear" in n]
    assert "ENGINE.ITERATIONS 4 -> 5" in note
    assert any("goes on with ENGINE.ITERATIONS: 4 -> 5" in n for n in told.notes)


def test_a_falling_weight_that_another_end_moves_is_said():
    falling = "LOSSES.DIVERSITY.SCHEDULE={NAME: linear, START: 0.0}"
    old, new = (
        load_config("starganv2/shapes", falling, f"ENGINE.ITERATIONS={n}") for n in (100, 200)
    )
    notes = _schedule_notes(old, new, 50)
    assert any("at iteration 50 the weight of DIVERSITY is 0.75 times" in note for note in notes)
    assert not any("CYCLE_RECON" in note for note in notes)


def test_what_may_not_change_is_shown_and_can_be_forced(run, overrides):
    other = [*overrides, "ENGINE.SEED=3", "DATA.COUNT=19", "ENGINE.ITERATIONS=5"]
    with pytest.raises(UsageError, match=r"DATA.COUNT: 20 -> 19; ENGINE.SEED: 0 -> 3.*--force"):
        go_on(run, other)
    before = (run / "config.yaml").read_text()
    told = Told()
    assert go_on(run, other, force=True, progress=told).iteration == 5
    assert any("domain A has 19 training images and had 20" in note for note in told.notes)
    assert (run / "config.yaml").read_text() != before


def test_moved_data_and_more_of_them(tmp_path, overrides):
    def fill(folder: Path, count: int) -> None:
        for domain in "AB":
            (folder / f"train{domain}").mkdir(parents=True, exist_ok=True)
            for index in range(count):
                pixels = np.random.default_rng(index).integers(0, 256, (3, 16, 16), np.uint8)
                write_image(folder / f"train{domain}/{index}.png", pixels)

    fill(tmp_path / "one", 3)
    plain = [o for o in overrides if not o.startswith("DATA.")]
    data = "DATA={{NAME: image_folder, ROOT: {}, SIZE: 16}}"
    first = [*plain, data.format(tmp_path / "one"), "ENGINE.ITERATIONS=1"]
    begin(tmp_path / "run", first)
    (tmp_path / "one").rename(tmp_path / "two")
    with pytest.raises(DataError, match="there is no folder"):
        go_on(tmp_path / "run")
    fill(tmp_path / "two", 4)
    (tmp_path / "two/trainA/0.png").write_bytes(b"no image")
    moved, told = [*plain, data.format(tmp_path / "two"), "ENGINE.ITERATIONS=2"], Told()
    go_on(tmp_path / "run", [*moved, "DATA.ON_BAD_IMAGE=skip"], progress=told)
    assert any("domain B has 4 training images and had 3" in note for note in told.notes)
    assert not any("domain A has" in note for note in told.notes)
    assert any("skipped 1 unusable images of domain A" in note for note in told.notes)
    assert go_on(tmp_path / "run").iteration == 2  # the new place is remembered


# Snapshots


def test_nan_never_evicts_the_last_good_snapshot(tmp_path, overrides, monkeypatch):
    rare = [*overrides, "ENGINE.LOG_EVERY=50", "ENGINE.ITERATIONS=40", "ENGINE.KEEP=1"]
    step = Trainer.step

    def explode(self, *arguments):
        parts = step(self, *arguments)
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls == 3:
            with torch.no_grad():
                next(iter(self.model.parameters()))[0] = torch.nan
        return parts

    monkeypatch.setattr(Trainer, "step", explode)
    with pytest.raises(UsageError, match=r"iteration 3 a weight is not finite: networks .*000002"):
        begin(tmp_path / "run", rare)
    (snapshot,) = Run(tmp_path / "run").snapshots()
    assert snapshot.iteration == 2
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "run").values())


def test_a_loss_that_is_not_finite_is_named_at_a_snapshot(tmp_path, overrides, monkeypatch):
    rare = [*overrides, "ENGINE.LOG_EVERY=50", "ENGINE.ITERATIONS=40", "ENGINE.SNAPSHOT_EVERY=2"]
    step = Trainer.step

    def explode(self, *arguments):
        parts = dict(step(self, *arguments))
        parts[next(iter(parts))] = torch.tensor(torch.inf)
        return parts

    monkeypatch.setattr(Trainer, "step", explode)
    with pytest.raises(UsageError, match=r"iteration 2 the loss is not finite: .*adversarial.* no"):
        begin(tmp_path / "run", rare)


def test_a_damaged_snapshot_is_named_and_another_offered(run, capsys):
    (run / "snapshots/00000004/networks").rename(run / "snapshots/00000004/gone")
    with pytest.raises(CheckpointError, match=r"is missing. The newest good .*00000003"):
        go_on(run)
    assert main(["evaluate", str(run)]) == 2
    shutil.rmtree(run / "snapshots/00000004")
    assert go_on(run).iteration == 4


def as_before(snapshot: Snapshot) -> None:
    """Rewrite a snapshot as munit-zoo 0.1 had it."""
    captured, folder = snapshot.read(), snapshot.folder
    model = create_model(Run(folder.parent.parent).resolved().config)
    networks, moments = captured.part("networks"), captured.part("optimizers")
    sides = {
        "generators": {n: v for n, v in networks.items() if ".discriminator." not in n},
        "discriminators": {n: v for n, v in networks.items() if ".discriminator." in n},
    }
    shutil.rmtree(folder)
    folder.mkdir()
    optimizers = []
    for side, tensors in sides.items():
        order = [n for n, _ in model.named_parameters() if n in tensors]
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in moments.items():
            name, _, moment = key.rpartition("/")
            if name in tensors:
                state.setdefault(order.index(name), {})[moment] = value
        optimizers.append({"state": state, "param_groups": [{"lr": 7.0}]})
        kept = {n.replace(".discriminator.", "."): v for n, v in tensors.items()}
        save_file(kept, folder / f"{side}.safetensors")
    save_file(captured.part("average"), folder / "ema.safetensors")
    torch.save({"optimizers": optimizers}, folder / "training.pt")
    (folder / "snapshot.json").write_text(json.dumps({"iteration": captured.iteration}))


def test_snapshots_of_before_are_resumed_exactly_and_loaded(run, tmp_path, whole):
    snapshot = Run(run).snapshots()[1]
    now = mz.load_model(snapshot.folder).state_dict()
    as_before(snapshot)
    train(None, tmp_path / "on", resume_from=snapshot.folder, device="cpu")
    assert same(tmp_path / "on", whole)
    before = mz.load_model(snapshot.folder).state_dict()
    assert before.keys() == now.keys()
    assert all(torch.equal(before[name], now[name]) for name in now)


def test_a_model_is_loaded_without_judges_and_without_asking_for_pretrained_weights(
    tmp_path, tiny, monkeypatch
):
    from munit_zoo.blocks import timm_backbones

    def offline(
        model: str, options: Any, *, pretrained: bool = False, state: Any = None
    ) -> torch.nn.Module:
        assert not pretrained
        assert state is None
        return create(model, options)

    create = timm_backbones._create
    monkeypatch.setattr(timm_backbones, "_create", offline)
    network = "MODEL.CONTENT_ENCODER={{NAME: timm, MODEL: resnet10t, OUT_INDEX: 1, PRETRAINED: {}}}"
    kept = [o for o in tiny if "CONTENT_ENCODER" not in o]
    normalise = "MODEL.CONTENT_ENCODER.NORMALISE=true"
    plain = resolve("munit/shapes", [*kept, network.format("false"), normalise])
    model = create_model(plain.config)
    Run.create(tmp_path / "run", resolve("munit/shapes", [*kept, network.format("true")]), {})
    state = TrainingState(model, list(model.networks()), iteration=1)
    Run(tmp_path / "run").save(state.capture(), {})
    loaded = mz.load_model(tmp_path / "run")
    names = set(loaded.state_dict())
    assert names == {n for n in model.state_dict() if ".discriminator." not in n}
    assert loaded.a.content_encoder.backbone.normalise
    x = torch.rand(1, 3, 32, 32)
    z = torch.zeros(1, 1, 4)
    expected = model.eval().translate(x, "b", z)
    torch.testing.assert_close(loaded.translate(x, "b", z), expected)


def test_a_model_is_loaded_where_the_file_of_its_backbone_is_gone(tmp_path, tiny):
    network = "MODEL.CONTENT_ENCODER={{NAME: timm, MODEL: resnet10t, OUT_INDEX: 1, WEIGHTS: {}}}"
    kept = [o for o in tiny if "CONTENT_ENCODER" not in o]
    normalise = "MODEL.CONTENT_ENCODER.NORMALISE=true"
    plain = resolve("munit/shapes", [*kept, network.format("null"), normalise])
    model = create_model(plain.config)
    gone = network.format(tmp_path / "gone.safetensors")
    Run.create(tmp_path / "run", resolve("munit/shapes", [*kept, gone]), {})
    state = TrainingState(model, list(model.networks()), iteration=1)
    Run(tmp_path / "run").save(state.capture(), {})
    assert mz.load_model(tmp_path / "run").a.content_encoder.backbone.normalise


def test_two_trainings_in_one_folder(run):
    with Run(run).locked(), pytest.raises(UsageError, match="is being trained by another process"):
        go_on(run)


# What the machine causes


def test_a_full_disk_keeps_the_former_snapshot_and_says_so(tmp_path, overrides, monkeypatch):
    run, fsync, calls = tmp_path / "run", os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if Run(run).snapshots():
            raise OSError(28, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    said = f"{run} cannot be written: No space left on device.*snapshots/00000001, is whole"
    with pytest.raises(UsageError, match=said):
        begin(run, overrides)
    monkeypatch.undo()
    assert [s.iteration for s in Run(run).snapshots()] == [1]
    assert not list((run / "snapshots").glob(".*"))
    assert go_on(run).iteration == 4


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("file/run", "Not a directory"),
        ("file", "is a file; a run is a folder"),
        ("x" * 300, "File name too long"),
    ],
)
def test_folders_that_cannot_be(tmp_path, overrides, folder, message):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=message):
        begin(tmp_path / folder, overrides)


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only(tmp_path, overrides):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(UsageError, match="Permission denied"):
        begin(tmp_path / "locked/run", overrides)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_out_of_memory_names_keys_that_help(tmp_path, overrides, monkeypatch, error):
    monkeypatch.setattr(Trainer, "step", failing(error))
    with pytest.raises(UsageError, match=r"memory is short.*ENGINE.BATCH_SIZE, DATA.CROP"):
        begin(tmp_path / "run", overrides)


def test_a_process_that_is_gone(tmp_path, overrides, monkeypatch):
    text = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer"
    monkeypatch.setattr(Trainer, "step", failing(RuntimeError(text)))
    with pytest.raises(UsageError, match=r"another process of this training is gone.*--resume"):
        begin(tmp_path / "run", overrides)
    monkeypatch.setattr(Trainer, "step", failing(RuntimeError("of a component")))
    with pytest.raises(RuntimeError, match="of a component"):
        begin(tmp_path / "other", overrides)


def test_a_number_of_processes_that_cannot_be(tmp_path, overrides):
    for devices in (0, -1):
        with pytest.raises(UsageError, match=f"--devices is the number .*got {devices}"):
            begin(tmp_path / "run", overrides, devices=devices)
    assert not (tmp_path / "run").exists()


def test_nothing_is_left_behind_in_the_process(tmp_path, overrides, monkeypatch):
    """Threads, random generators, handlers of signals: after a training, and after one that
    failed."""
    few = [*overrides, "ENGINE.ITERATIONS=1"]
    begin(tmp_path / "warm", few)  # what libraries start once

    def now() -> tuple[Any, ...]:
        numpy = np.random.get_state()
        return (
            torch.get_rng_state().tolist(),
            random.getstate(),
            (numpy[1].tolist(), numpy[2]),
            [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
            sorted(thread.name for thread in threading.enumerate()),
        )

    before = now()
    begin(tmp_path / "good", few)
    assert now() == before
    monkeypatch.setattr(Trainer, "step", failing(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        begin(tmp_path / "bad", few)
    assert now() == before


def test_how_long_it_will_take(tmp_path, overrides):
    told = Told()
    begin(tmp_path / "run", overrides, progress=told)
    assert len(told.left) == 4
    assert told.left[0] > 0
    assert told.left[-1] == 0


def test_a_loader_process_that_is_killed_loses_nothing(tmp_path, overrides, whole):
    run = tmp_path / "run"

    def kill() -> None:
        for child in Path("/proc/self/task").iterdir():
            for pid in (child / "children").read_text().split():
                if b"multiprocessing" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(int(pid), signal.SIGKILL)

    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        pytest.skip("needs /proc")
    many = [*overrides, "ENGINE.WORKERS=1", "ENGINE.ITERATIONS=400", "ENGINE.SNAPSHOT_EVERY=0"]
    with pytest.raises(DataError, match=r"(could not be loaded|is gone).*and saved"):
        begin(run, many, progress=Told(2, kill))
    assert Run(run).newest().iteration >= 2


# Terminals


def test_names_that_look_like_markup(tmp_path, overrides, capsys):
    run = tmp_path / "br[/b] [red]"
    few = [*overrides, "ENGINE.ITERATIONS=1"]
    assert main(["train", "munit/shapes", *few, "--run", str(run), "--device", "cpu"]) == 0
    assert f"saved {run}" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_terminals_that_lack_letters(tmp_path, encoding, monkeypatch):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main(["train", "--run", str(tmp_path / "λ→"), "--resume"]) == 2
    err.flush()
    assert b"is not a run" in err.buffer.getvalue()
