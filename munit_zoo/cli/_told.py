"""Progress of work that says what it does in a line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

__all__ = ["told"]


@contextmanager
def told() -> Iterator[Callable[[str], None]]:
    """Progress on stderr: one line that changes in a terminal, lines elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: print(text, file=sys.stderr)
        return
    with console.status("") as status:
        yield lambda text: status.update(text)
