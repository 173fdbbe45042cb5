"""Two processes with half a batch each against one with the whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from _training import CYCLEGAN, MUNIT, PIX2PIX, STARGAN_V2

from munit_zoo.data.images import write_image
from munit_zoo.data.seeding import rng
from munit_zoo.engine.runs import Run

SCRIPT = Path(__file__).with_name("_two_processes.py")
BATCH, ITERATIONS = 4, 3

CASES = {
    "plain": MUNIT,
    "unused networks": (*MUNIT, "LOSSES.STYLE_RECON.WEIGHT=0", "LOSSES.IMAGE_RECON.WEIGHT=0"),
    "shared fakes": ("munit/shapes", "ENGINE.SHARE=fakes"),
    "no sharing, a critic with state": (
        "munit/shapes",
        "ENGINE.SHARE=none",
        "MODEL.DISCRIMINATOR.WEIGHT_NORM=spectral_legacy",
    ),
    "parts of a share": (*MUNIT, "ENGINE.ACCUMULATE=2"),
    "K domains, R1, averages": STARGAN_V2,
    "pools": CYCLEGAN,
    "pairs": PIX2PIX,
    "augmentation that adapts": (
        *MUNIT,
        "AUGMENT={NAME: adaptive_diffaugment, EVERY: 1, IMAGES: 64, START: 0.5}",
        "LOSSES.ADVERSARIAL={NAME: rpgan, SCALES: mean}",
    ),
}


def run(folder: Path, tiny: tuple[str, ...], processes: int, names: list[str], batch: int) -> dict:
    """What so many processes come to, by case."""
    cases = {}
    for name in names:
        config, *overrides = CASES[name]
        own = [*tiny, *overrides] if config.startswith("munit") else overrides
        if processes == 1:  # whole batches, computed at once
            own = [o for o in own if "ACCUMULATE" not in o]
        cases[name] = [config, ITERATIONS, batch, own]
    out = folder / f"of{processes}"
    out.mkdir(parents=True)
    (out / "cases.json").write_text(json.dumps(cases))
    words = [sys.executable, str(SCRIPT), str(out / "cases.json"), str(out), str(processes)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: torch.load(out / f"{name}.pt", weights_only=True) for name in names}


def assert_equal(one: dict, several: dict) -> None:
    """Losses, weights, pools and averages of several processes are those of one."""
    losses = [json.loads(found["losses"]) for found in (one, several)]
    assert losses[0][0].keys() == losses[1][0].keys()
    for first, second in zip(*losses, strict=True):
        for name in first:
            assert first[name] == pytest.approx(second[name], rel=1e-10, abs=1e-12), name
    for part in ("weights", "average"):
        assert one[part].keys() == several[part].keys()
        for name, value in one[part].items():
            # A bias that an instance norm removes again has a true gradient of zero; Adam scales
            # up the rounding noise in its place.
            idle = name.endswith("bias") and "discriminator" not in name
            torch.testing.assert_close(
                several[part][name], value, rtol=0, atol=1e-8 if idle else 1e-11, msg=name
            )
    moved = sum(not torch.equal(one["first"][n], one["weights"][n]) for n in one["first"])
    assert moved > 10


def test_two_processes_equal_one(tmp_path: Path, tiny):
    one, two = (run(tmp_path, tiny, processes, ["plain"], BATCH) for processes in (1, 2))
    assert_equal(one["plain"], two["plain"])


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, tiny):
    """What 1, 2 and 4 processes come to in all cases, of a batch of 8."""
    found: dict[int, dict] = {}

    def of(processes: int) -> dict:
        if processes not in found:
            folder = tmp_path_factory.mktemp("outcomes")
            found[processes] = run(folder, tiny, processes, list(CASES), 8)
        return found[processes]

    return of


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_equal_one(outcomes, case: str, processes: int):
    assert_equal(outcomes(1)[case], outcomes(processes)[case])
    if case == "pools":
        pool = outcomes(1)[case]["weights"]["a.pool.count"]
        assert pool == 5  # full: some of what was judged was older


def command(folder: Path, *more: str) -> subprocess.Popen:
    """`munit-zoo train` in two processes."""
    words = ["-m", "munit_zoo", "train", "--run", str(folder), "--device", "cpu", "--devices", "2"]
    return subprocess.Popen(
        [sys.executable, *words, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen) -> tuple[int, str]:
    out, err = process.communicate(timeout=240)
    assert "Traceback" not in out + err, err[-3000:]
    return process.returncode, out + err


def logged(folder: Path) -> list[int]:
    file = folder / "log.jsonl"
    return [json.loads(line)["iteration"] for line in file.open()] if file.is_file() else []


@pytest.mark.slow
def test_two_processes_end_and_resume_together(tmp_path: Path, tiny):
    folder = tmp_path / "run"
    overrides = [*tiny, "ENGINE.ITERATIONS=100000", "ENGINE.SNAPSHOT_EVERY=0"]
    process = command(folder, "munit/shapes", *overrides)
    deadline = time.monotonic() + 200
    while len(logged(folder)) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)  # to the leading process alone
    status, text = ended(process)
    assert status == 75, text
    (snapshot,) = Run(folder).snapshots()
    done = snapshot.iteration
    assert logged(folder) == list(range(1, done + 1))
    # a line and a grid that the snapshot does not know: one process alone takes them back
    with (folder / "log.jsonl").open("a") as log:
        log.write(json.dumps({"iteration": done + 1}) + "\n")
    (folder / f"images/a2b_{done + 1:08d}.png").write_text("stale")
    status, text = ended(command(folder, "--resume", f"ENGINE.ITERATIONS={done + 2}"))
    assert status == 0, text
    assert logged(folder) == list(range(1, done + 3))
    assert not (folder / f"images/a2b_{done + 1:08d}.png").exists()


@pytest.mark.slow
def test_an_image_that_one_process_cannot_use_ends_both_and_loses_nothing(tmp_path: Path, tiny):
    for domain in "AB":
        (tmp_path / f"train{domain}").mkdir()
        for index in range(20):
            pixels = np.random.default_rng(index).integers(0, 256, (3, 16, 16), np.uint8)
            write_image(tmp_path / f"train{domain}/{index}.png", pixels)
    bad = int(rng("order", 0, "b", 0).permutation(20)[3 * 2 + 1])  # iteration 3, second process
    assert bad != 0  # which is tried beforehand
    (tmp_path / f"trainB/{bad}.png").write_bytes(b"no image")
    kept = [o for o in tiny if not o.startswith("DATA.")]
    data = f"DATA={{NAME: image_folder, ROOT: {tmp_path}, SIZE: 16}}"
    more = [data, "ENGINE.ITERATIONS=6", "ENGINE.SNAPSHOT_EVERY=0", "ENGINE.DISPLAY=1"]
    folder = tmp_path / "run"
    status, text = ended(command(folder, "munit/shapes", *kept, *more))
    assert status == 2, text
    assert f"{bad}.png cannot be read" in text
    assert "Training stopped after iteration 3 and saved" in text
    assert [s.iteration for s in Run(folder).snapshots()] == [3]


@pytest.mark.slow
@pytest.mark.parametrize("leader", [True, False])
def test_a_process_that_is_killed_ends_the_other_with_a_message(tmp_path: Path, tiny, leader: bool):
    folder = tmp_path / "run"
    overrides = [*tiny, "ENGINE.ITERATIONS=100000", "ENGINE.SNAPSHOT_EVERY=2", "ENGINE.KEEP=2"]
    process = command(folder, "munit/shapes", *overrides)
    deadline = time.monotonic() + 200
    while len(logged(folder)) < 5 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    (follower,) = (
        child for child in _children(process.pid) if b"munit_zoo" in _command_line(child)
    )
    os.kill(process.pid if leader else follower, signal.SIGKILL)
    began = time.monotonic()
    text = process.communicate(timeout=120)[1]  # both hold the pipe: read until both have ended
    assert time.monotonic() - began < 60
    # ours, or the leader's watch over its children is quicker: it looks once in five seconds
    theirs = "terminated with code -9. Forcefully terminating all other processes"
    assert "another process of this training is gone" in text or theirs in text
    assert "Traceback" not in text
    assert Run(folder).newest().read()


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def _command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
