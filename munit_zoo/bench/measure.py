"""Timing: warm-up until stable, arms in turns, medians; peaks of the device; memory."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Timing", "measure_peaks", "peak_memory", "take_turns", "warm_up"]

STABLE = 0.1
"""Warm-up ends where two calls in a row differ by less than this share."""
SHORTEST = 0.02
"""Calls shorter than this, in seconds, are timed several at once."""
LONG = 2.0
"""Calls longer than this, in seconds, have settled after the first."""


@dataclass
class Timing:
    """Seconds of an arm's iterations, and of its first calls, in which it is set up."""

    seconds: list[float] = field(default_factory=list)
    first: float = 0.0
    error: str | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Interquartile range."""
        if len(self.seconds) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return high - low

    @property
    def setup(self) -> float:
        """What the first call took beyond an iteration: compilation, for the most part."""
        return max(0.0, self.first - self.median) if self.seconds else self.first


def timed(call: Callable[[], object], count: int, device: torch.device) -> float:
    """Seconds of one of `count` calls in a row."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        start.record()
        for _ in range(count):
            call()
        end.record()
        torch.cuda.synchronize(device)
        return start.elapsed_time(end) / 1000 / count
    synchronise(device)
    began = time.perf_counter()
    for _ in range(count):
        call()
    synchronise(device)
    return (time.perf_counter() - began) / count


def synchronise(device: torch.device) -> None:
    """Wait for what a device has been given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def warm_up(call: Callable[[], object], device: torch.device, *, most: int = 12) -> Timing:
    """Calls until two in a row take about as long: the first, which sets up, never counts."""
    taken = [timed(call, 1, device), timed(call, 1, device)]
    while len(taken) < most and taken[-1] < LONG:
        taken.append(timed(call, 1, device))
        if abs(taken[-1] - taken[-2]) <= STABLE * taken[-1]:
            break
    return Timing(seconds=[taken[-1]], first=taken[0])


def take_turns(
    calls: Sequence[Callable[[], object]],
    timings: Sequence[Timing],
    device: torch.device,
    *,
    rounds: int,
    seconds: float,
    told: Callable[[int], None],
) -> None:
    """Time several arms in turns, so that the machine's drift meets all of them alike.

    rounds, seconds: at the least; an arm that fails keeps its error and drops out.
    """
    counts = [max(1, round(SHORTEST / max(t.seconds[-1], 1e-9))) for t in timings]
    for timing in timings:
        timing.seconds = []
    spent = 0.0
    done = 0
    while done < rounds or spent < seconds * len(calls):
        for call, timing, count in zip(calls, timings, counts, strict=True):
            if timing.error is not None:
                continue
            try:
                taken = timed(call, count, device)
            except Exception as error:
                timing.error = f"{type(error).__name__}: {error}"
                continue
            timing.seconds.append(taken)
            spent += taken * count
        done += 1
        told(done)
        if all(timing.error is not None for timing in timings) or done >= 1000:
            return


def peak_memory(call: Callable[[], object], device: torch.device, held: int) -> int | None:
    """Bytes allocated at the peak of one call; None where the device does not tell.

    held: bytes of what the arm holds between calls, which a CPU's allocator does not report.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    if device.type != "cpu":
        return None
    from torch.profiler import ProfilerActivity, profile

    with (
        _no_stderr(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded,
    ):
        call()
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return held + peak if events else None


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Without what libraries write to the process's standard error: the profiler's chatter."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def bytes_of(tensors: Sequence[Tensor]) -> int:
    """Bytes of some tensors, each storage once."""
    found = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(found.values())


def measure_peaks(device: torch.device) -> dict[str, float]:
    """What the device reaches here and now: dense matrix products and copies.

    Measured before each group of arms; the best of a run counts, as the machine may be disturbed.

    `tflops_fp32`, `tflops_tf32` (CUDA), `tflops_bf16`, in 10¹² operations a second, and
    `copy_gb_per_second`, bytes read and written.
    """
    side = 8192 if device.type == "cuda" else 2048
    found: dict[str, float] = {}
    for name in ("fp32", "tf32", "bf16"):
        if name == "tf32" and device.type != "cuda":
            continue
        allow_tf32(name == "tf32")
        dtype = torch.bfloat16 if name == "bf16" else torch.float32
        x, y = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        images, kernel = (
            x.view(side, -1, 32, 32).transpose(0, 1).contiguous(),
            y.view(side, side, 1, 1),
        )
        # the same product by two libraries: on CPUs they are not equally good
        with suppress(RuntimeError):
            best = _best(partial(torch.mm, x, y), device)
            if device.type == "cpu":
                best = min(best, _best(partial(F.conv2d, images, kernel), device))
            found[f"tflops_{name}"] = 2 * side**3 / best / 1e12
    source = torch.randn(256 * 2**20 // 4, device=device)
    target = torch.empty_like(source)
    best = _best(lambda: target.copy_(source), device)
    found["copy_gb_per_second"] = 2 * source.nbytes / best / 1e9
    return found


def allow_tf32(allowed: bool) -> None:
    """CUDA's convolutions and products with TensorFloat-32, or strictly in float32."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def _best(call: Callable[[], object], device: torch.device) -> float:
    timed(call, 2, device)
    return min(timed(call, 3, device) for _ in range(4))
