"""Peaks take seconds to measure and hang on the machine: here they are given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

PEAKS = {"tflops_fp32": 0.1, "tflops_bf16": 0.1, "copy_gb_per_second": 10.0}


@pytest.fixture(scope="session", autouse=True)
def peaks() -> Iterator[None]:
    """The device's peaks, as if measured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("munit_zoo.bench.run.measure_peaks", lambda device: dict(PEAKS))
        yield
