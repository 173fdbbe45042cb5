"""Running a request: group by group, each group's arms in turns."""

from __future__ import annotations

import gc
import itertools
import math
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from munit_zoo._version import __version__
from munit_zoo.bench.measure import (
    Timing,
    explain,
    measure_peaks,
    peak_memory,
    take_turns,
    warm_up,
)
from munit_zoo.bench.plan import Arm, Request, plan_arms
from munit_zoo.bench.report import Result, Row
from munit_zoo.bench.work import Work, build_work
from munit_zoo.engine.devices import choose_device
from munit_zoo.errors import UsageError

__all__ = ["environment", "run"]


def run(request: Request, progress: Callable[[str], None] | None = None) -> Result:
    """Measure what is asked for.

    progress: is told what is being done. An arm that cannot be measured has its reason in its row;
    the others still run. Ctrl-C keeps what was measured before. Raises UsageError where nothing
    can be measured: a device that is not there, a component that nobody knows.
    """
    told = progress or (lambda text: None)
    device = torch.device(choose_device(request.device))
    arms = plan_arms(request, device.type)
    told(f"{len(arms)} arms on {device.type}")
    peaks: dict[str, float] = {}
    rows: list[Row] = []
    interrupted = False
    try:
        for _, of_mode in itertools.groupby(arms, key=lambda arm: arm.mode):
            _raise_peaks(peaks, device, told)
            for _, group in itertools.groupby(of_mode, key=lambda arm: arm.group):
                rows += _measure(list(group), device, request, told)
        _raise_peaks(peaks, device, told)
    except KeyboardInterrupt:
        interrupted = True
        rows += [_row(_Measured(arm, error="interrupted")) for arm in arms[len(rows) :]]
    shared = tuple(row.of_peak(peaks) for row in rows)
    return Result(environment(device), peaks, shared, interrupted)


def _raise_peaks(
    peaks: dict[str, float], device: torch.device, told: Callable[[str], None]
) -> None:
    """Measure what the device reaches; the best of a run counts, as it may be disturbed."""
    told("measuring what the device reaches")
    for name, value in measure_peaks(device).items():
        peaks[name] = max(value, peaks.get(name, 0.0))


@dataclass
class _Measured:
    """An arm, what it runs, and what was found; `error` where it failed."""

    arm: Arm
    work: Work | None = None
    timing: Timing = field(default_factory=Timing)
    memory: int | None = None
    difference: float | None = None
    error: str | None = None

    def attempt(self, action: Callable[[Work], None]) -> None:
        """Do something with the arm's work; an error becomes the arm's, and lets go of it."""
        if self.work is None or self.error is not None:
            return
        try:
            action(self.work)
        except Exception as error:
            self.error = explain(error)
        if self.error is not None:  # outside `except`: the traceback holds what it passed through
            self.work = None
            _let_go()


def _measure(
    arms: Sequence[Arm], device: torch.device, request: Request, told: Callable[[str], None]
) -> list[Row]:
    """One group: every arm built and warmed up, then all in turns, then results and memory."""
    name = f"{arms[0].config} {arms[0].mode}, batch {arms[0].batch}"
    found = [_Measured(arm) for arm in arms]
    for one in found:
        told(f"{name}: {one.arm.label}, warming up")
        _prepare(one, device)
    ready = [one for one in found if one.work is not None]
    take_turns(
        [one.work.call for one in ready if one.work is not None],
        [one.timing for one in ready],
        device,
        rounds=request.rounds,
        seconds=request.seconds,
        told=lambda done: told(f"{name}: round {done}"),
    )
    for one in ready:
        one.error = one.timing.error
    _compare(found)
    for one in found:
        one.attempt(lambda work, one=one: _note_memory(one, work, device))  # type: ignore[misc]
    rows = _completed([_row(one) for one in found])
    reference = next((r for r in rows if r.reference and r.seconds_median is not None), None)
    if reference is not None:
        rows = [row.against(reference) for row in rows]
    found.clear()
    ready.clear()
    _let_go()
    return rows


def _prepare(one: _Measured, device: torch.device) -> None:
    try:
        one.work = build_work(one.arm, device)
    except Exception as error:
        one.error = explain(error)
    # a graph is recorded at the fourth call
    least = 6 if one.arm.compile == "graphs" else 2

    def warm(work: Work) -> None:
        one.timing = warm_up(work.call, device, least=least)

    one.attempt(warm)


def _note_memory(one: _Measured, work: Work, device: torch.device) -> None:
    """Peak memory; a recorded graph has its own, which no counter tells."""
    if one.arm.mode != "data" and one.arm.compile != "graphs":
        one.memory = peak_memory(work.call, device, work.held())


def _compare(found: Sequence[_Measured]) -> None:
    """Largest difference of each arm's result from the first arm's, where arms have results."""
    first: list[torch.Tensor] = []

    def compare(one: _Measured, work: Work) -> None:
        if work.outcome is None:
            return
        outcome = work.outcome()
        first.append(outcome)
        difference = float((outcome - first[0]).abs().max())
        if not math.isfinite(difference):
            raise UsageError("its result is not finite")
        one.difference = difference

    for one in found:
        one.attempt(lambda work, one=one: compare(one, work))  # type: ignore[misc]


def _row(one: _Measured) -> Row:
    arm, work, timing = one.arm, one.work, one.timing
    common: dict[str, Any] = {
        "config": arm.config,
        "mode": arm.mode,
        "batch": arm.batch,
        "size": arm.size if work is None else work.size,
        "precision": arm.precision,
        "compile": arm.compile,
        "channels_last": arm.channels_last if work is None else work.channels_last,
        "reference": arm.reference,
        "overrides": arm.overrides,
        "variant": arm.variant,
        "styles": arm.styles,
        "label": arm.label,
    }
    if work is None or one.error is not None or not timing.seconds:
        return Row(**common, error=one.error or "was not measured")
    seconds = timing.median
    gflop = None if work.flop is None else work.flop / 1e9
    # less than an iteration is no compilation: what an arm before it compiled serves it, too
    compiled = timing.setup if arm.compile != "off" and timing.setup > seconds else None
    return Row(
        **common,
        rounds=len(timing.seconds),
        seconds_median=seconds,
        seconds_spread=timing.spread,
        compile_seconds=compiled,
        images_per_second=work.images / seconds,
        peak_memory_bytes=one.memory,
        gflop=gflop,
        tflops=None if gflop is None else gflop / seconds / 1000,
        largest_difference=one.difference,
    )


def _completed(rows: list[Row]) -> list[Row]:
    """A group's rows, with the size that those which failed would have had."""
    size = next((row.size for row in rows if row.error is None), None)
    return [replace(row, size=row.size or size) for row in rows]


def _let_go() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if "torch._dynamo" in sys.modules:  # compiled forms of what is no longer there
        torch._dynamo.reset()


def environment(device: torch.device) -> dict[str, object]:
    """What the figures depend on: device, processor, threads, versions, date."""
    found: dict[str, object] = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "device": device.type,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "munit_zoo": __version__,
        **{name: metadata.version(name) for name in ("torch", "torchvision", "lightning-fabric")},
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found["gpu"] = properties.name
        found["gpu_memory_bytes"] = properties.total_memory
        found["cuda"] = torch.version.cuda
        found["cudnn"] = torch.backends.cudnn.version()
    return found


def _processor() -> str:
    """The processor's model, as Linux tells it, else its architecture."""
    file = Path("/proc/cpuinfo")
    if file.is_file():
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
