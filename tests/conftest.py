"""What several tests share."""

from __future__ import annotations

import os
from pathlib import Path

import _parity
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

TINY = (
    "MODEL.CONTENT_ENCODER.DIM=4",
    "MODEL.CONTENT_ENCODER.BLOCKS=1",
    "MODEL.DECODER.BLOCKS=1",
    "MODEL.DISCRIMINATOR.DIM=4",
    "MODEL.DISCRIMINATOR.LAYERS=2",
    "DATA.SIZE=16",
    "DATA.COUNT=20",
    "DATA.TEST_COUNT=5",
    "ENGINE.BATCH_SIZE=2",
    "ENGINE.ITERATIONS=4",
    "ENGINE.LOG_EVERY=1",
    "ENGINE.GRID_EVERY=0",
    "ENGINE.SNAPSHOT_EVERY=2",
    "ENGINE.DISPLAY_STYLES=2",
    "METRICS=null",
)
"""Overrides that make munit/shapes and unit/shapes a matter of seconds."""

TINY_STYLE = (
    "MODEL.STYLE_ENCODER.DIM=4",
    "MODEL.STYLE_ENCODER.DOWNSAMPLES=2",
    "MODEL.DECODER.MAPPING.DIM=8",
)


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Overrides for a small and quick munit/shapes."""
    return (*TINY, *TINY_STYLE)


@pytest.fixture(scope="session")
def tiny_unit() -> tuple[str, ...]:
    """Overrides for a small and quick unit/shapes."""
    return TINY


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pytest_sessionfinish() -> None:
    _parity.write()
