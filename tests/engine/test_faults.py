"""The campaign of faults: a short one here, a longer one with `-m slow`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/faults.py"

pytestmark = [
    pytest.mark.skipif(not SCRIPT.is_file(), reason="benchmarks/ is not in this distribution"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]


def problems(name: str, count: int, seed: int) -> str:
    """What a campaign finds. In a process of its own: its trainings are forks, which autograd
    refuses of a process that has used its threads."""
    command = [sys.executable, str(SCRIPT), name, "--kills", str(count), "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("name", ["damage"])
def test_nothing_is_lost(name):
    assert problems(name, 3, 0) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kills", "signals", "disk", "folders", "readers"])
def test_nothing_is_lost_in_many_cases(name):
    assert problems(name, 20, 1) == ""
