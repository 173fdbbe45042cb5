"""Runs and snapshots on disk: whole or absent, checked when read, one writer at a time."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from munit_zoo.config import resolve
from munit_zoo.engine.changes import changes
from munit_zoo.engine.logs import read_log
from munit_zoo.engine.page import write_page
from munit_zoo.engine.runs import Run, read_newest
from munit_zoo.engine.snapshots import Retention, Snapshot
from munit_zoo.engine.state import Captured
from munit_zoo.errors import CheckpointError, UsageError


def state(iteration: int, value: float = 0.0) -> Captured:
    weights = {"a.net.weight": torch.full((64,), value or float(iteration))}
    files = {"networks/a.net": weights, "average/a.net": weights, "optimizers/a.net": weights}
    return Captured(iteration, files, {}, {"optimizers": ["a.net"]})


def value(snapshot: Snapshot) -> float:
    return float(snapshot.read("networks").part("networks")["a.net.weight"][0])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with snapshots 1, 2 and 3."""
    (tmp_path / "config.yaml").write_text("")
    run = Run(tmp_path)
    for iteration in (1, 2, 3):
        run.save(state(iteration), {})
    return run


def spoil(file: Path, how: str) -> None:
    content = bytearray(file.read_bytes())
    if how == "missing":
        file.unlink()
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "truncated":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[-9] ^= 4
        file.write_bytes(content)


@pytest.mark.parametrize("how", ["missing", "empty", "truncated", "flipped"])
@pytest.mark.parametrize("name", ["networks/a.net", "average/a.net", "optimizers/a.net"])
def test_a_damaged_file_is_named_and_the_one_before_offered(run, name, how):
    spoil(run.newest().folder / f"{name}.safetensors", how)
    spoil(run.snapshots()[1].folder / f"{name}.safetensors", "flipped")
    with pytest.raises(CheckpointError) as caught:
        run.newest().read()
    text = str(caught.value)
    assert f"00000003/{name}.safetensors is {'missing' if how == 'missing' else 'damaged'}" in text
    assert "newest good snapshot before it is" in text
    assert "00000001" in text
    assert "00000002" not in text


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", "3", '{"iteration": "x"}', None])
def test_a_damaged_snapshot_json_is_an_error_of_ours(run, content):
    file = run.newest().folder / "snapshot.json"
    if content is None:
        file.write_text(file.read_text().replace('"iteration": 3', '"iteration": 4'))
    else:
        file.write_text(content)
    with pytest.raises(CheckpointError, match=r"snapshot.json is damaged.*00000002"):
        run.newest().read()


def test_a_part_is_read_without_the_others(run):
    spoil(run.newest().folder / "optimizers/a.net.safetensors", "missing")
    assert value(run.newest()) == 3


def test_an_old_snapshot_without_advice_of_torch(tmp_path):
    folder = tmp_path / "snapshots/00000004"
    folder.mkdir(parents=True)
    (folder / "snapshot.json").write_text('{"iteration": 4}')
    weights = {"a.net.weight": torch.ones(2)}
    (folder / "generators.safetensors").write_bytes(safetensors.torch.save(weights))
    assert not Snapshot(folder).has("average")
    for content in (b"", b"PK\x03\x04 half", b"garbage"):
        (folder / "training.pt").write_bytes(content)
        with pytest.raises(CheckpointError) as caught:
            Snapshot(folder).read()
        assert "training.pt is damaged" in str(caught.value)
        assert "weights_only" not in str(caught.value)
    torch.save({"optimizers": [{"state": {}}, {"state": {}}]}, folder / "training.pt")
    assert Snapshot(folder).read().facts["upgraded"]


def test_files_have_the_mode_that_the_umask_gives(run, tmp_path):
    before = os.umask(0o027)
    try:
        snapshot = run.save(state(4), {})
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(p.stat().st_mode) for p in snapshot.folder.rglob("*") if p.is_file()}
    assert modes == {0o640}
    assert stat.S_IMODE(snapshot.folder.stat().st_mode) == 0o750


def test_an_iteration_saved_anew_replaces_the_old_one_at_the_end(run, monkeypatch):
    assert value(run.save(state(3, 30.0), {})) == 30

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        run.save(state(3, 99.0), {})
    monkeypatch.undo()
    assert value(run.newest()) == 30
    # and where everything ends between the two renames
    replace, calls = os.replace, []

    def end(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", end)
    with pytest.raises(KeyboardInterrupt):
        run.save(state(3, 99.0), {})
    monkeypatch.undo()
    assert [s.iteration for s in run.snapshots()] == [1, 2, 3]
    assert value(run.newest()) == 30
    run.clean()
    assert value(run.newest()) == 30
    run.save(state(3, 31.0), {})
    assert value(run.newest()) == 31
    assert not list((run.folder / "snapshots").glob(".*"))


def test_what_an_interrupted_writer_left_is_cleaned(run):
    (run.folder / "snapshots/.writing-00000004-77").mkdir()
    (run.folder / "snapshots/.writing-00000004-77/half").write_text("x")
    (run.folder / "images").mkdir()
    (run.folder / "images/.a2b_00000004.png").write_text("x")
    (run.folder / ".index.html.writing").write_text("x")
    (run.folder / ".mine").write_text("x")
    run.clean()
    left = {p.name for p in run.folder.rglob(".*")}
    assert left == {".mine"}
    assert len(run.snapshots()) == 3


def test_older_snapshots_beyond_keep_are_deleted(run):
    run.save(state(4), {}, keep=Retention(2))
    assert [s.iteration for s in run.snapshots()] == [3, 4]


def test_snapshots_that_are_to_stay_stay(run):
    """The newest two, each third, and the one with the lowest loss: 4 beats 5 and 7."""
    losses = {4: 0.5, 5: 0.7, 6: float("inf"), 7: 0.6, 8: 0.9}
    keep = Retention(2, every=3, best="image_recon")
    for iteration, found in losses.items():
        parts = {"generators/image_recon/x_aa": found, "generators/image_recon/x_bb": 0.1}
        run.save(state(iteration), {"losses": parts}, keep=keep)
    assert [s.iteration for s in run.snapshots()] == [3, 4, 6, 7, 8]
    run.save(state(9), {"losses": {}}, keep=Retention(1, best="generators/image_recon/x_aa"))
    assert [s.iteration for s in run.snapshots()] == [4, 9]


def test_a_reader_takes_the_next_snapshot_where_one_is_deleted_meanwhile(run):
    tried = []

    def read(_: Run, snapshot: Snapshot) -> float:
        tried.append(snapshot.iteration)
        if len(tried) == 1:
            info = snapshot.info()
            run.save(state(4), {}, keep=Retention(1))  # the writer is faster
            assert info["iteration"] == 3
        return value(snapshot)

    assert read_newest(run.folder, read) == 4
    assert tried == [3, 4]
    spoil(run.newest().folder / "networks/a.net.safetensors", "flipped")
    with pytest.raises(CheckpointError, match="damaged"):
        read_newest(run.folder, read)


def test_one_training_in_a_folder(run):
    with (
        run.locked(),
        pytest.raises(UsageError, match=f"being trained by another.*process {os.getpid()}"),
        run.locked(),
    ):
        pass
    with run.locked():  # let go
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_lock_dies_with_its_owner_and_loaders_do_not_keep_it(run):
    code = (
        "import os, sys, time; from pathlib import Path; from munit_zoo.engine.runs import Run\n"
        "with Run(Path(sys.argv[1])).locked():\n"
        "    child = os.fork()\n"
        "    if child == 0: time.sleep(60); os._exit(0)\n"
        "    print(child, flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(run.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        child = int(owner.stdout.readline())
        try:
            with pytest.raises(UsageError, match="another process"), run.locked():
                pass
            owner.kill()
            owner.wait()
            with run.locked():
                pass
        finally:
            os.kill(child, 9)


def test_a_torn_line_of_the_log_is_no_matter(run):
    log = run.folder / "log.jsonl"
    whole = "".join(json.dumps({"iteration": i, "x": 0.1 * i}) + "\n" for i in (1, 2, 3))
    log.write_text(whole + '{"iteration": 4, "x"')
    assert [line["iteration"] for line in read_log(run.folder)] == [1, 2, 3]
    assert "iteration 3" in write_page(run.folder).read_text()
    run.rewind(2)
    assert log.read_text() == "".join(whole.splitlines(keepends=True)[:2])


def test_rewinding_forgets_what_came_later(run):
    images = run.folder / "images"
    images.mkdir()
    for name in ("a2b_00000000.png", "a2b_00000002.png", "a2b_00000003.png", "own.png"):
        (images / name).write_text("")
    run.rewind(2)
    assert {p.name for p in images.iterdir()} == {"a2b_00000000.png", "a2b_00000002.png", "own.png"}


def test_the_page_renews_itself_while_training(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"iteration": 30, "lr": 0.1, "images_per_second": 2.0}\n')
    text = write_page(tmp_path, iterations=100, left=7500.0, refresh=15).read_text()
    assert '<meta http-equiv="refresh" content="15">' in text
    assert "iteration 30 of 100" in text
    assert "about 2 h 5 min left" in text
    assert "refresh" not in write_page(tmp_path).read_text()


def test_leftovers_of_a_run_that_never_was_do_not_refuse_the_folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("run.json", "run.lock", ".config.yaml.writing"):
        (folder / name).write_text("{}")
    Run.refuse_used(folder)
    (folder / "config.yaml").write_text("")
    with pytest.raises(UsageError, match="a run without a snapshot yet; start it with --resume"):
        Run.refuse_used(folder)
    Run(folder).save(state(1), {})
    with pytest.raises(UsageError, match="holds a run already; continue it with --resume"):
        Run.refuse_used(folder)
    shutil.rmtree(folder)
    folder.write_text("")
    with pytest.raises(UsageError, match="is a file; a run is a folder"):
        Run.refuse_used(folder)


def test_what_may_change_on_resume(tiny):
    old = resolve("munit/shapes", tiny).config
    new = resolve("munit/shapes", [*tiny, "ENGINE.WORKERS=1", "MODEL.STYLE_DIM=5"]).config
    assert [(str(c), c.free) for c in changes(old, new)] == [
        ("MODEL.STYLE_DIM: 4 -> 5", False),
        ("ENGINE.WORKERS: 0 -> 1", True),
    ]
