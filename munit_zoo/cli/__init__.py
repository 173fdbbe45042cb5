"""The command line: `munit-zoo`, `python -m munit_zoo`."""

from munit_zoo.cli._main import main

__all__ = ["main"]
