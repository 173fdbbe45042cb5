"""Locks of files: held by one process at a time, and let go of however it ends."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Busy", "holding", "is_held"]


class Busy(Exception):
    """Another process holds the lock; the text says which, "" where that is not known."""


@contextmanager
def holding(file: Path, *, patience: float = 0.25) -> Iterator[None]:
    """Hold a lock on a file, which is created. Raises Busy where another process does.

    patience: seconds to try again in, as somebody may only ask whether it is held.
    It ends with the process that holds it; a loader's processes do not inherit it.
    """
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        until = time.monotonic() + patience
        while not (mine := _lock(handle)) and time.monotonic() < until:
            time.sleep(0.05)
        if not mine:
            raise Busy(os.read(handle, 200).decode(errors="replace").strip())
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        _held.add(handle)
        yield
    finally:
        _held.discard(handle)
        os.close(handle)


def is_held(file: Path) -> bool:
    """Whether a process holds the lock on a file; of none that was ever locked, or that is not ours
    to lock, no."""
    try:
        handle = os.open(file, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _lock(handle)
    finally:
        os.close(handle)


_held: set[int] = set()  # handles of locks


def _let_go() -> None:
    for handle in _held:
        os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def _lock(handle: int) -> bool:
    """Whether a lock on an open file could be had."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
