"""Two processes with half a batch each against one with the whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

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


@pytest.mark.parametrize("case", CASES)
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
        idle = name.endswith("conv.bias") and name.startswith("generators.")
        torch.testing.assert_close(
            two["weights"][name], value, rtol=0, atol=1e-8 if idle else 1e-11, msg=name
        )
    moved = sum(not torch.equal(one["first"][n], one["weights"][n]) for n in one["first"])
    assert moved > 10
