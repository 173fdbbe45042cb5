"""`munit-zoo bench`: measure, and print what was measured."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from munit_zoo.errors import MunitZooError, UsageError

if TYPE_CHECKING:
    from munit_zoo.bench.plan import Request
    from munit_zoo.bench.report import Result

SLOWER = 3
"""Exit status where --fail-below found a measurement that became slower."""


def bench(chosen: argparse.Namespace) -> int:
    """Exit status: 0; 2 where nothing could be measured; 3 for --fail-below."""
    from munit_zoo.bench.report import (
        check_plot,
        compare_results,
        read_result,
        save_plot,
        to_markdown,
    )
    from munit_zoo.bench.run import run

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    old = read_result(chosen.compare) if chosen.compare else None
    if chosen.fail_below is not None and old is None:
        raise UsageError("--fail-below compares with an older result: give --compare OLD.json, too")
    for file in (chosen.json, chosen.md, chosen.plot):
        if file is not None and not file.absolute().parent.is_dir():
            raise UsageError(f"there is no folder {file.parent} to write {file.name} to")
    if chosen.plot:
        check_plot(chosen.plot)
    console = Console(stderr=True)
    with console.status("starting", spinner="line") as status:
        told = status.update if console.is_terminal else lambda text: _line(text)
        result = run(_request(chosen), told)
    if chosen.json:
        chosen.json.write_text(result.to_json(), encoding="utf-8")
    if chosen.md:
        chosen.md.write_text(to_markdown(result), encoding="utf-8")
    _print(result)
    if chosen.plot:
        _save(lambda: save_plot(result.rows, chosen.plot))
    if result.interrupted:
        print("munit-zoo: interrupted; what was measured until then is kept", file=sys.stderr)
        return 130
    if all(row.error is not None for row in result.rows):
        print("munit-zoo: nothing could be measured; each row says why", file=sys.stderr)
        return 2
    if old is None:
        return 0
    for key in ("processor", "gpu", "threads", "torch"):
        before, now = old.environment.get(key), result.environment.get(key)
        if before != now:
            print(f"note: {key} was {before} and is {now}", file=sys.stderr)
    compared = compare_results(old, result)
    for row, ratio in compared:
        print(
            f"{ratio:5.2f} × the old speed: {row.config} {row.mode}, batch {row.batch}, {row.label}"
        )
    limit = chosen.fail_below
    slower = [row for row, ratio in compared if limit is not None and ratio < limit]
    if slower:
        print(f"munit-zoo: {len(slower)} below {limit:g} of the old speed", file=sys.stderr)
        return SLOWER
    return 0


def _line(text: str) -> None:
    if not text.rpartition(" ")[2].isdigit():  # rounds would fill a log
        print(text, file=sys.stderr)


def _save(action: Callable[[], None]) -> None:
    """What was measured stays even where it cannot be drawn."""
    try:
        action()
    except MunitZooError as error:
        print(f"munit-zoo: {error}", file=sys.stderr)


def _print(result: Result) -> None:
    from munit_zoo.bench.report import COLUMNS, cells, describe, groups

    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(describe(result), highlight=False, style="dim")
    for name, rows, kept in groups(result.rows):
        table = Table(title=name, title_justify="left")
        for column in kept:
            table.add_column(column, justify="left" if column == "arm" else "right")
        failed = []
        for row in rows:
            own = cells(row)
            if row.error is not None:
                failed.append(f"{row.label}: {row.error}")
                table.add_row(row.label, "not measured")
            else:
                table.add_row(*[own[COLUMNS.index(column)] for column in kept])
        console.print(table)
        for text in failed:
            console.print(f"not measured: {text}", highlight=False, soft_wrap=True)


def _request(chosen: argparse.Namespace) -> Request:
    from munit_zoo.bench.plan import Request

    configs = [word for word in chosen.overrides if "=" not in word]
    overrides = [word for word in chosen.overrides if "=" in word]
    return Request(
        configs=tuple(configs),
        overrides=tuple(overrides),
        vary=tuple(_varied(text) for text in chosen.vary),
        modes=_words(chosen.mode),
        batches=tuple(_numbers("--batch", chosen.batch)),
        size=chosen.size,
        precisions=_words(chosen.precision),
        compiles=_words(chosen.compile),
        channels_last=_layouts(chosen.channels_last),
        styles=chosen.styles,
        components=_words(chosen.components),
        device=chosen.device,
        reference=chosen.reference or not (configs or chosen.components or chosen.mode),
        seconds=chosen.seconds,
        rounds=chosen.rounds,
    )


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word for word in (text or "").split(",") if word)


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(word) for word in _words(text)]
    except ValueError:
        raise UsageError(f"{option} is numbers, as in 1,8,32; got {text!r}") from None


def _layouts(text: str | None) -> tuple[bool | None, ...]:
    known = {"on": True, "off": False}
    words = _words(text)
    for word in words:
        if word not in known:
            raise UsageError(f"--channels-last {word!r}: choose on, off or off,on")
    return tuple(known[word] for word in words) or (None,)


def _varied(text: str) -> tuple[str, tuple[str, ...]]:
    key, equals, values = text.partition("=")
    if not equals or not _words(values):
        raise UsageError(f"--vary {text!r}: write KEY=VALUE,VALUE as in ENGINE.SHARE=none,derived")
    return key, _words(values)
