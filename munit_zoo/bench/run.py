"""Running a request: group by group, each group's arms in turns."""

from __future__ import annotations

import gc
import itertools
import os
import platform
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from munit_zoo._version import __version__
from munit_zoo.bench.measure import Timing, measure_peaks, peak_memory, take_turns, warm_up
from munit_zoo.bench.plan import Arm, Request, plan_arms
from munit_zoo.bench.report import Result, Row
from munit_zoo.bench.work import Work, build_work
from munit_zoo.engine.devices import choose_device

__all__ = ["environment", "run"]


def run(request: Request, progress: Callable[[str], None] | None = None) -> Result:
    """Measure what is asked for.

    progress: is told what is being done. An arm that cannot be measured has its reason in its row;
    the others still run. Raises UsageError where nothing can be: a device that is not there, a
    component that nobody knows.
    """
    told = progress or (lambda text: None)
    device = torch.device(choose_device(request.device))
    arms = plan_arms(request, device.type)
    told(f"{len(arms)} arms on {device.type}")
    peaks: dict[str, float] = {}
    rows: list[Row] = []
    for _, group in itertools.groupby(arms, key=lambda arm: arm.group[:2]):
        told("measuring what the device reaches")
        for name, value in measure_peaks(device).items():
            peaks[name] = max(value, peaks.get(name, 0.0))
        for _, members in itertools.groupby(group, key=lambda arm: arm.group):
            rows += _measure(list(members), device, request, told)
    return Result(environment(device), peaks, tuple(row.of_peak(peaks) for row in rows))


def _measure(
    arms: Sequence[Arm],
    device: torch.device,
    request: Request,
    told: Callable[[str], None],
) -> list[Row]:
    """One group: every arm built and warmed up, then all in turns, then memory, one by one."""
    works: list[Work | None] = []
    timings: list[Timing] = []
    first = arms[0]
    name = f"{first.config} {first.mode}, batch {first.batch}"
    for arm in arms:
        told(f"{name}: {arm.label}, warming up")
        try:
            work = build_work(arm, device)
            works.append(work)
            timings.append(warm_up(work.call, device))
        except Exception as error:
            works[len(timings) :] = [None]
            timings.append(Timing(error=_told(error)))
            _let_go()
    ready = [i for i, timing in enumerate(timings) if timing.error is None]
    calls = [work.call for work in (works[i] for i in ready) if work is not None]
    if calls:
        take_turns(
            calls,
            [timings[i] for i in ready],
            device,
            rounds=request.rounds,
            seconds=request.seconds,
            told=lambda done: told(f"{name}: round {done}"),
        )
    memory = [
        _memory(work, device) if work is not None and timing.error is None else None
        for work, timing in zip(works, timings, strict=True)
    ]
    differences = _differences(works, timings)
    rows = [
        _row(arm, work, timing, bytes_used, difference)
        for arm, work, timing, bytes_used, difference in zip(
            arms, works, timings, memory, differences, strict=True
        )
    ]
    reference = next((r for r in rows if r.reference and r.seconds_median is not None), None)
    if reference is not None:
        rows = [row.against(reference) for row in rows]
    works.clear()
    calls.clear()
    _let_go()
    return rows


def _row(
    arm: Arm,
    work: Work | None,
    timing: Timing,
    memory: int | None,
    difference: float | None,
) -> Row:
    common: dict[str, Any] = {
        "config": arm.config,
        "mode": arm.mode,
        "batch": arm.batch,
        "size": arm.size,
        "precision": arm.precision,
        "compile": arm.compile,
        "channels_last": arm.channels_last,
        "reference": arm.reference,
        "variant": arm.variant,
        "styles": arm.styles,
        "label": arm.label,
    }
    if work is None or timing.error is not None or not timing.seconds:
        return Row(**common, error=timing.error or "was not measured")
    seconds = timing.median
    gflop = None if work.flop is None else work.flop / 1e9
    return Row(
        **common,
        rounds=len(timing.seconds),
        seconds_median=seconds,
        seconds_spread=timing.spread,
        compile_seconds=timing.setup if arm.compile != "off" else None,
        images_per_second=work.images / seconds,
        peak_memory_bytes=memory,
        gflop=gflop,
        tflops=None if gflop is None else gflop / seconds / 1000,
        largest_difference=difference,
    )


def _differences(works: Sequence[Work | None], timings: Sequence[Timing]) -> list[float | None]:
    """Largest difference of each arm's result from the first arm's, where arms have results."""
    found: list[float | None] = []
    first: torch.Tensor | None = None
    for work, timing in zip(works, timings, strict=True):
        if work is None or work.outcome is None or timing.error is not None:
            found.append(None)
            continue
        outcome = work.outcome()
        first = outcome if first is None else first
        found.append(float((outcome - first).abs().max()))
    return found


def _memory(work: Work, device: torch.device) -> int | None:
    try:
        return peak_memory(work.call, device, work.held())
    except RuntimeError:  # memory that is there without a profiler may not be there with one
        return None


def _told(error: BaseException) -> str:
    """An error as a row has it: short where it is the device's memory that ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "allocate memory" in str(error):
        return "out of memory"
    text = str(error).strip().partition("\n")[0]
    name = type(error).__name__
    return text if name.endswith("Error") and name in _OURS else f"{name}: {text}"


_OURS = ("UsageError", "GraphError", "ConfigError", "DataError", "WeightsError", "ContractError")


def _let_go() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if "torch._dynamo" in sys.modules:  # compiled forms of what is no longer there
        torch._dynamo.reset()


def environment(device: torch.device) -> dict[str, Any]:
    """What the figures depend on: device, processor, threads, versions, date."""
    found: dict[str, Any] = {
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
