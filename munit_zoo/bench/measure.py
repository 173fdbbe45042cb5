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

from munit_zoo.errors import MunitZooError

__all__ = ["Timing", "explain", "measure_peaks", "peak_memory", "take_turns", "warm_up"]

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


def explain(error: BaseException) -> str:
    """An error as a row has it: in one line, and short where memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "allocate memory" in str(error):
        return "out of memory"
    if isinstance(error, MunitZooError):
        return " ".join(str(error).split())
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


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
        return float(start.elapsed_time(end)) / 1000 / count
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


def warm_up(
    call: Callable[[], object], device: torch.device, *, least: int = 2, most: int = 12
) -> Timing:
    """Calls until two in a row take about as long: the first, which sets up, never counts."""
    taken = [timed(call, 1, device) for _ in range(least)]
    while len(taken) < most and taken[-1] < LONG:
        taken.append(timed(call, 1, device))
        if abs(taken[-1] - taken[-2]) <= STABLE * taken[-1]:
            break
    return Timing(seconds=[taken[-1]], first=max(taken[:least]))


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
    while calls and (done < rounds or spent < seconds * len(calls)):
        for call, timing, count in zip(calls, timings, counts, strict=True):
            if timing.error is not None:
                continue
            try:
                taken = timed(call, count, device)
            except Exception as error:
                timing.error = explain(error)
                continue
            timing.seconds.append(taken)
            spent += taken * count
        done += 1
        told(done)
        if all(timing.error is not None for timing in timings) or done >= 1000:
            return


def peak_memory(call: Callable[[], object], device: torch.device, held: int) -> int | None:
    """Bytes allocated at the peak of one call; None where the device does not tell.

    held: bytes of what the arm holds between calls; what the call adds is measured.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)  # the other arms' share among it
        call()
        torch.cuda.synchronize(device)
        return held + torch.cuda.max_memory_allocated(device) - before
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
    """What the device reaches here and now: dense products and copies.

    `tflops_fp32`, `tflops_tf32` (CUDA), `tflops_bf16`, in 10¹² operations a second, the best of a
    matrix product and, on CPUs, whose libraries are not equally good, 1×1 and 3×3 convolutions; and
    `copy_gb_per_second`, bytes read and written. What cannot be measured is absent.
    """
    found: dict[str, float] = {}
    for name in ("fp32", "tf32", "bf16"):
        if name == "tf32" and device.type != "cuda":
            continue
        allow_tf32(name == "tf32")
        dtype = torch.bfloat16 if name == "bf16" else torch.float32
        with suppress(RuntimeError):
            speeds = [flop / _best(call, device) for flop, call in _products(device, dtype)]
            found[f"tflops_{name}"] = max(speeds) / 1e12
    with suppress(RuntimeError):
        source = torch.randn(256 * 2**20 // 4, device=device)
        copy = torch.empty_like(source)
        best = _best(partial(copy.copy_, source), device)
        found["copy_gb_per_second"] = 2 * source.nbytes / best / 1e9
    return found


def _products(
    device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[float, Callable[[], object]]]:
    """(operations, call) of dense products that a device should be good at."""

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, device=device).to(dtype)

    side = 8192 if device.type == "cuda" else 2048
    yield 2 * side**3, partial(torch.mm, random(side, side), random(side, side))
    if device.type == "cpu":
        for kernel in (1, 3):
            x = random(1, 512, 64, 64).contiguous(memory_format=torch.channels_last)
            weight = random(512, 512, kernel, kernel)
            flop = 2 * 512 * 512 * kernel**2 * (64 - kernel + 1) ** 2
            yield flop, partial(F.conv2d, x, weight)


def allow_tf32(allowed: bool) -> None:
    """CUDA's convolutions and products with TensorFloat-32, or strictly in float32."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def _best(call: Callable[[], object], device: torch.device) -> float:
    timed(call, 2, device)
    return min(timed(call, 3, device) for _ in range(4))
