"""Ending a training from outside: signals, and the agreement of all processes on where to end.

SIGINT (Ctrl-C), SIGTERM, SIGHUP and SIGUSR1 (Slurm's `--signal`) let the iteration in progress
finish; then a snapshot is saved. One process looks before each iteration. Several agree once in
AGREE_EVERY iterations, by one small reduction, and all end at the same one: up to AGREE_EVERY
iterations later. An image that cannot be used, in any of them, ends all of them in the same way,
each after its last complete iteration.
"""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric

from munit_zoo.errors import DataError

__all__ = ["AGREE_EVERY", "RESUME_ME", "Stop", "led", "listening", "together"]

T = TypeVar("T")

AGREE_EVERY = 8
"""Iterations between two agreements of several processes."""

RESUME_ME = 75
"""Exit status of a training that was asked to end and can be resumed (sysexits' EX_TEMPFAIL)."""

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")


class Stop:
    """Whether this process was asked to end, by a signal or by a failure in what it writes."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self.failure: Exception | None = None

    @property
    def asked(self) -> bool:
        """Whether to end."""
        return self._asked.is_set()

    def ask(self) -> None:
        """End after the iteration in progress."""
        self._asked.set()

    def fail(self, error: Exception) -> None:
        """End, and raise an error once every process has ended."""
        self.failure = self.failure or error
        self.ask()


@contextmanager
def listening() -> Iterator[Stop]:
    """Signals ask for an end, inside the block; a second Ctrl-C ends at once."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: object) -> None:
        if stop.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.ask()

    before = {}
    for name in SIGNALS:
        number = getattr(signal, name, None)
        # what is ignored stays ignored: nohup does that with SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def together(
    batches: Iterator[T], stop: Stop, fabric: Fabric, *, every: int = AGREE_EVERY
) -> Iterator[T]:
    """The batches, as long as no process is asked to stop: in each process equally many.

    Several processes keep `every` batches ready, so that they know before an iteration that each of
    them can do it. Raises DataError in every process where one of them cannot.
    """
    source = _Source(batches)
    if fabric.world_size == 1:
        while not stop.asked and (batch := source.next()) is not None:
            yield batch
        source.complain()
        return
    ready: deque[T] = deque()
    while True:
        while len(ready) < every and (batch := source.next()) is not None:
            ready.append(batch)
        mine = torch.tensor([len(ready), not stop.asked, source.failure is None], dtype=torch.int64)
        found: Any = fabric.all_reduce(mine, reduce_op="min")
        count, going, sound = (int(value) for value in found.tolist())
        if not going:
            stop.ask()
            return
        for _ in range(count):
            yield ready.popleft()
            if (batch := source.next()) is not None:  # while the others are still busy
                ready.append(batch)
        if not sound and count < every:
            _complain_together(source)
        if count == 0:
            return


class _Source:
    """Batches one by one; what ends them early is kept until it is asked for."""

    def __init__(self, batches: Iterator[object]) -> None:
        self._batches = batches
        self.failure: DataError | None = None

    def next(self) -> Any:
        """The next batch, None where there is none or it cannot be made."""
        if self.failure is not None:
            return None
        try:
            batch = next(self._batches, None)
        except DataError as error:
            self.failure = error
            return None
        except (OSError, EOFError) as error:  # a loader's process was killed, or a file went away
            reason = str(error) or type(error).__name__
            self.failure = DataError(f"images could not be loaded: {reason}")
            return None
        return batch

    def complain(self) -> None:
        """Raises what ended the batches early."""
        if self.failure is not None:
            raise self.failure


def _complain_together(source: _Source) -> None:
    """Raises in every process what ended one of them."""
    mine = None if source.failure is None else str(source.failure)
    said: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(said, mine)
    raise DataError("; ".join(dict.fromkeys(text for text in said if text)))


@contextmanager
def led(fabric: Fabric) -> Iterator[bool]:
    """Work of the leading process alone, inside `if`: `with led(fabric) as leader: if leader: …`.

    The others wait; where it fails, they end as well, with the error's text.
    """
    error: Exception | None = None
    try:
        yield fabric.is_global_zero
    except Exception as raised:
        error = raised
    if fabric.world_size > 1:
        message = fabric.broadcast(None if error is None else str(error))
        if error is None and message is not None:
            raise Followed(message)
    if error is not None:
        raise error


class Followed(Exception):
    """The leading process failed, and says so itself; this one only ends."""
