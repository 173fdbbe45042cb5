"""The campaign of faults: a short one here, a longer one with `-m slow`."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/faults.py"

pytestmark = [
    pytest.mark.skipif(not SCRIPT.is_file(), reason="benchmarks/ is not in this distribution"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]


@pytest.fixture(scope="module")
def campaigns():
    spec = importlib.util.spec_from_file_location("faults", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CAMPAIGNS


@pytest.mark.parametrize("name", ["kills", "damage"])
def test_nothing_is_lost(campaigns, tmp_path, name):
    assert campaigns[name](tmp_path, 3, 0)["problems"] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kills", "signals", "disk", "folders", "readers"])
def test_nothing_is_lost_in_many_cases(campaigns, tmp_path, name):
    assert campaigns[name](tmp_path, 20, 1)["problems"] == []
