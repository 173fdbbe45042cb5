"""Two processes with half a batch each against one with the whole."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from munit_zoo.data.images import write_image
from munit_zoo.data.seeding import rng
from munit_zoo.engine.runs import Run

SCRIPT = Path(__file__).with_name("_two_processes.py")
BATCH, ITERATIONS = 4, 3


def run(folder: Path, processes: int, *overrides: str) -> dict:
    out = folder / f"result{processes}.pt"
    command = [sys.executable, str(SCRIPT), str(out), str(processes), str(ITERATIONS), str(BATCH)]
    done = subprocess.run(
        [*command, *overrides], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out, weights_only=True)


CASES = {
    "plain": (),
    "unused networks": ("LOSSES.STYLE_RECON.WEIGHT=0", "LOSSES.IMAGE_RECON.WEIGHT=0"),
    "shared fakes": ("ENGINE.SHARE=fakes",),
    "no sharing, a critic with state": (
        "ENGINE.SHARE=none",
        "MODEL.DISCRIMINATOR.WEIGHT_NORM=spectral_legacy",
    ),
}


@pytest.mark.parametrize(
    "case",
    [case if case == "plain" else pytest.param(case, marks=pytest.mark.slow) for case in CASES],
)
def test_two_processes_equal_one(tmp_path: Path, tiny, case: str):
    overrides = (*tiny, "ENGINE.SHARE=derived", *CASES[case])
    one, two = (run(tmp_path, processes, *overrides) for processes in (1, 2))
    losses = [json.loads(found["losses"]) for found in (one, two)]
    assert losses[0][0].keys() == losses[1][0].keys()
    for first, second in zip(*losses, strict=True):
        for name in first:
            assert first[name] == pytest.approx(second[name], rel=1e-10, abs=1e-12), name
    assert one["weights"].keys() == two["weights"].keys()
    for name, value in one["weights"].items():
        # A bias that an instance norm removes again has a true gradient of zero; Adam scales up the
        # rounding noise in its place.
        idle = name.endswith("conv.bias") and "discriminator" not in name
        torch.testing.assert_close(
            two["weights"][name], value, rtol=0, atol=1e-8 if idle else 1e-11, msg=name
        )
    moved = sum(not torch.equal(one["first"][n], one["weights"][n]) for n in one["first"])
    assert moved > 10


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
