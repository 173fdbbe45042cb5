"""What was measured, as JSON, Markdown and a plot; and two results compared."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from munit_zoo.errors import UsageError

__all__ = [
    "Result",
    "Row",
    "check_plot",
    "compare_results",
    "read_result",
    "save_plot",
    "to_markdown",
]

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Row:
    """One arm's figures; None where a thing was not measured, `error` where the arm failed.

    seconds_median, seconds_spread: of one iteration; the spread is the interquartile range.
    compile_seconds: what the first call took beyond an iteration. images_per_second: pairs of
    images in `train` and `data`, translations in `translate` and `decode`, samples in `component`.
    gflop: operations of an iteration, counted. tflops: those a second. peak_share: of the device's
    dense matrix product in this precision, measured in the same run. speedup_vs_reference: ratio
    of the reference's median to this one's. largest_difference: of the result from the group's
    first arm, for images in [-1, 1].
    """

    config: str
    mode: str
    batch: int
    size: int | None
    precision: str
    compile: str
    channels_last: bool | None
    reference: bool
    overrides: tuple[str, ...] = ()
    variant: tuple[str, ...] = ()
    styles: int = 1
    label: str = ""
    rounds: int = 0
    seconds_median: float | None = None
    seconds_spread: float | None = None
    compile_seconds: float | None = None
    images_per_second: float | None = None
    peak_memory_bytes: int | None = None
    gflop: float | None = None
    tflops: float | None = None
    peak_share: float | None = None
    speedup_vs_reference: float | None = None
    largest_difference: float | None = None
    error: str | None = None

    def against(self, reference: Row) -> Row:
        """The row with its ratio to the reference's."""
        if not self.seconds_median or not reference.seconds_median:
            return self
        ratio = reference.seconds_median / self.seconds_median
        return replace(self, speedup_vs_reference=ratio)

    def of_peak(self, peaks: Mapping[str, float]) -> Row:
        """The row with its share of what the device reached in its precision."""
        peak = peaks.get(f"tflops_{self.precision}")
        if self.tflops is None or not peak:
            return self
        return replace(self, peak_share=self.tflops / peak)

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two rows of different results the same measurement."""
        return (
            self.config,
            self.mode,
            self.batch,
            self.size,
            self.precision,
            self.compile,
            self.channels_last,
            self.reference,
            self.overrides,
            self.variant,
            self.styles,
        )


@dataclass(frozen=True)
class Result:
    """A run of the bench: where, what the device reaches, and a row an arm.

    interrupted: it was ended before all arms were measured.
    """

    environment: Mapping[str, object]
    peaks: Mapping[str, float]
    rows: tuple[Row, ...]
    interrupted: bool = False

    def to_json(self) -> str:
        """The documented form: schema 1."""
        content = {
            "schema": SCHEMA,
            "environment": dict(self.environment),
            "peaks": dict(self.peaks),
            "arms": [asdict(row) for row in self.rows],
        }
        return json.dumps(content, indent=1, allow_nan=False) + "\n"


def read_result(file: Path) -> Result:
    """A result from its JSON. Raises UsageError for a file that is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise UsageError(f"{file} has the schema {content['schema']}; this reads {SCHEMA}")
        known = {field.name for field in fields(Row)}
        rows = []
        for arm in content["arms"]:
            kept = {name: value for name, value in arm.items() if name in known}
            words = {key: tuple(arm.get(key, ())) for key in ("variant", "overrides")}
            rows.append(Row(**{**kept, **words}))
        return Result(content["environment"], content["peaks"], tuple(rows))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} is no result of the bench (--json): {error}") from error


# As a table


COLUMNS = (
    "arm",
    "time",
    "spread",
    "img/s",
    "× reference",
    "peak memory",
    "GFLOP",
    "TFLOP/s",
    "of peak",
    "compile",
    "difference",
)


def cells(row: Row) -> list[str]:
    """A row's cells under COLUMNS."""
    if row.error is not None:
        return [row.label, row.error]
    return [
        row.label,
        duration(row.seconds_median),
        "" if not row.seconds_median else f"{_of(row.seconds_spread) / row.seconds_median:.0%}",
        number(row.images_per_second),
        "" if row.speedup_vs_reference is None else f"{row.speedup_vs_reference:.2f}",
        size(row.peak_memory_bytes),
        number(row.gflop),
        number(row.tflops),
        "" if row.peak_share is None else f"{row.peak_share:.0%}",
        "" if _of(row.compile_seconds) < 1e-2 else duration(row.compile_seconds),
        "" if row.largest_difference is None else f"{row.largest_difference:.0e}",
    ]


def title(row: Row) -> str:
    """What the arms of a row's group have in common."""
    where = f", {row.size}×{row.size}" if row.size else ""
    styles = f", {row.styles} styles" if row.mode == "translate" else ""
    name = "" if row.mode == "component" else f"{row.config}: "
    own = "".join(f", {override}" for override in row.overrides)
    return f"{name}{row.mode}, batch {row.batch}{where}{styles}{own}"


def groups(rows: Sequence[Row]) -> list[tuple[str, list[Row], tuple[str, ...]]]:
    """(title, rows, columns with something in them) of each group; components share one."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(title(row), []).append(row)
    result = []
    for name, members in found.items():
        if members[0].mode == "component":
            members = [replace(m, label=f"{m.config} {m.label}") for m in members]
        filled = [cells(m) for m in members if m.error is None]
        kept = tuple(
            column for i, column in enumerate(COLUMNS) if i == 0 or any(row[i] for row in filled)
        )
        result.append((name, members, kept))
    return result


def to_markdown(result: Result) -> str:
    """The result as Markdown: environment, peaks, a table a group."""
    lines = [describe(result), ""]
    for name, members, kept in groups(result.rows):
        lines += [f"**{name}**", "", "| " + " | ".join(kept) + " |"]
        lines.append("|---|" + "---:|" * (len(kept) - 1))
        for row in members:
            own = cells(row)
            if row.error is not None:
                own = [row.label, f"not measured: {row.error}"]
                lines.append("| " + " | ".join(own + [""] * (len(kept) - 2)) + " |")
            else:
                shown = [own[COLUMNS.index(column)] for column in kept]
                lines.append("| " + " | ".join(shown) + " |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def describe(result: Result) -> str:
    """One paragraph: the machine, its versions, what it reaches."""
    e = result.environment
    where = f"{e['gpu']}, " if "gpu" in e else ""
    versions = ", ".join(f"{n} {e[n]}" for n in ("torch", "python", "munit_zoo") if n in e)
    peaks = [f"{_peak_name(name)} {value:.3g}" for name, value in result.peaks.items()]
    threads = f"{e.get('threads')} threads"
    return (
        f"{where}{e.get('processor')} ({e.get('cores')} cores, {threads}), {versions}; "
        f"{e.get('date')}. Reached in the same run: {', '.join(peaks)}."
    )


def _peak_name(name: str) -> str:
    if name.startswith("tflops_"):
        return f"TFLOP/s in {name.removeprefix('tflops_')}"
    return "GB/s copied"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def size(count: int | None) -> str:
    if count is None:
        return ""
    return f"{count / 2**20:.0f} MiB" if count < 2**30 else f"{count / 2**30:.2f} GiB"


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _of(value: float | None) -> float:
    return 0.0 if value is None else value


# Two results


def compare_results(old: Result, new: Result) -> list[tuple[Row, float]]:
    """(new row, its speed over the old one's) of every measurement that both have; 0 for one that
    has failed since.

    Where both also measured the reference in that group, the ratio is that of the speed-ups over
    it, which holds on a machine whose own speed has drifted. The reference itself is not compared.
    Raises UsageError where they have nothing in common.
    """
    before = {row.key: row for row in old.rows if row.seconds_median}
    found = []
    for row in new.rows:
        other = before.get(row.key)
        if other is None or not other.seconds_median or row.reference:
            continue
        if not row.seconds_median:
            found.append((row, 0.0))
            continue
        ratio = other.seconds_median / row.seconds_median
        if row.speedup_vs_reference and other.speedup_vs_reference:
            ratio = row.speedup_vs_reference / other.speedup_vs_reference
        found.append((row, ratio))
    if not found:
        raise UsageError("the two results have no measurement in common: nothing to compare")
    return found


# A plot


def check_plot(file: Path) -> None:
    """Raises UsageError where a plot could not be written: no matplotlib, another kind of file."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError(
            "--plot draws with matplotlib, which is not installed: pip install 'munit-zoo[bench]'"
        )
    if file.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UsageError(f"--plot {file}: write .png, .svg or .pdf")


def save_plot(rows: Iterable[Row], file: Path) -> None:
    """Images a second over the batch size, a line an arm, a panel a mode.

    file: `.png`, `.svg` or `.pdf`. Raises UsageError as `check_plot` does.
    """
    check_plot(file)
    from matplotlib.figure import Figure

    lines: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for row in rows:
        if row.images_per_second is not None and row.mode != "component":
            panel = lines.setdefault(f"{row.config} {row.mode}", {})
            panel.setdefault(row.label, []).append((row.batch, row.images_per_second))
    if not lines:
        raise UsageError("--plot: nothing was measured that has a batch size to plot over")
    columns = min(2, len(lines))
    height = math.ceil(len(lines) / columns)
    figure = Figure(figsize=(6 * columns, 4 * height), layout="constrained")
    panels = figure.subplots(height, columns, squeeze=False).flatten()
    for panel, (name, arms) in zip(panels, lines.items(), strict=False):
        for label, points in arms.items():
            batches, speeds = zip(*sorted(points), strict=True)
            panel.plot(batches, speeds, marker="o", label=label)
        panel.set_title(name)
        panel.set_xlabel("batch")
        panel.set_ylabel("img/s")
        panel.set_ylim(bottom=0)
        panel.set_xticks(sorted({batch for points in arms.values() for batch, _ in points}))
        panel.legend()
    for panel in panels[len(lines) :]:
        panel.set_visible(False)
    figure.savefig(file)
