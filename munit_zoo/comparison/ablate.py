"""An ablation: what a plan still asks for is done, and the table made of it.

The folder of an ablation holds `plan.yaml`, `cells/` (see `comparison.cells`), `costs/`, and what
is made of them: `index.html` with `grids/` and `plots/`, `table.md`, `.csv`, `.tex`, `.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from munit_zoo.comparison.cells import CellFolder, Work
from munit_zoo.comparison.cost import Cost, remembered_cost
from munit_zoo.comparison.launch import (
    default_jobs,
    print_commands,
    run_here,
    run_processes,
    run_submitit,
)
from munit_zoo.comparison.plan import Cell, Plan, Variant, shown_changes, sizes_of
from munit_zoo.comparison.reading import read_plan
from munit_zoo.comparison.table import AblationTable
from munit_zoo.comparison.writeup import collect, write_up
from munit_zoo.config import bind, dump, engine_settings
from munit_zoo.engine.files import write_text
from munit_zoo.errors import ConfigError, MunitZooError, Problem, UsageError, counted, duration
from munit_zoo.models import rehearse
from munit_zoo.weights import looking_in

__all__ = ["Ablation", "Launch", "ablate", "ablate_cells"]

Launcher = Literal["local", "submitit", "print"]


@dataclass(frozen=True)
class Launch:
    """How cells are had worked on.

    jobs: processes here, or jobs at a time of submitit; None for one a CUDA device, or one.
    cluster, options: of submitit.
    """

    launcher: Launcher = "local"
    jobs: int | None = None
    cluster: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Ablation:
    """What came of a call: the table of what is there, what failed, and where all of it is.

    commands: of the launcher `print`, a line a cell that is left. ended: it was asked to end, and
    the same call goes on. page: None where nothing was run or made.
    """

    plan: Plan
    out: Path
    preview: Preview | None = None
    table: AblationTable | None = None
    failed: tuple[str, ...] = ()
    page: Path | None = None
    commands: str = ""
    ended: bool = False


def ablate(
    source: str | Path | Mapping[str, object],
    out: Path | None = None,
    launch: Launch | None = None,
    work: Work | None = None,
    *,
    overrides: Sequence[str] = (),
    dry_run: bool = False,
    remake: bool = False,
) -> Ablation:
    """Do what a plan asks for and is not done, and make its table, plots and page.

    source: a shipped plan's name, a path, or a tree. out: its folder (`ablations/<name>`).
    overrides: as `read_plan` takes them. dry_run: say what would be done. remake: run nothing, make
    all of what is there.

    Cells that are finished are kept, interrupted ones resumed, failed ones tried again and at last
    reported. Raises ConfigError, before anything is trained, for a plan any cell of which cannot
    be; UsageError for a launcher that cannot be used.
    """
    launch, work = launch or Launch(), work or Work()
    if launch.jobs is not None and launch.jobs < 1:
        raise UsageError(f"--jobs is 1 or more, got {launch.jobs}")
    plan = read_plan(source, overrides)
    folder = out if out is not None else Path("ablations") / plan.name
    if remake and not (folder / "cells").is_dir():
        raise UsageError(f"{folder} holds no results of an ablation: run it first, without --from")
    if remake:
        return _made(plan, folder, work, costs_of(plan, folder, work))
    left = [cell for cell in plan.cells if not CellFolder.of(folder, cell).finished(plan)]
    rehearse_all(plan, left, work)
    costs = costs_of(plan, folder, work, keep=not dry_run)
    ahead = preview(plan, folder, costs)
    work.tell(ahead.text())
    if dry_run:
        return Ablation(plan, folder, ahead)
    file = save_plan(plan, folder)
    if launch.launcher == "print":
        commands = print_commands(file, left, folder, work)
        return Ablation(plan, folder, ahead, commands=commands)
    through = not left or _launched(plan, left, file, folder, launch, work)
    if not through:
        return Ablation(plan, folder, ahead, ended=True)
    return _made(plan, folder, work, costs, ahead)


def ablate_cells(
    source: str | Path | Mapping[str, object], out: Path, work: Work, keys: Sequence[str] = ()
) -> Ablation:
    """Work on some cells of a plan, or all that are free, and make nothing of them: what other
    processes are started for."""
    plan = read_plan(source)
    cells = choose_cells(plan, keys)
    through = run_here(plan, cells, out, work)
    failed = tuple(
        f"{cell.key}: {state.get('error')}"
        for cell in cells
        if (state := CellFolder.of(out, cell).state()).get("state") == "failed"
    )
    return Ablation(plan, out, failed=failed, ended=not through)


def _launched(
    plan: Plan, left: Sequence[Cell], file: Path, folder: Path, launch: Launch, work: Work
) -> bool:
    """Have the cells worked on; whether all were tried."""
    if launch.launcher == "submitit":
        return run_submitit(
            file,
            left,
            folder,
            work,
            jobs=launch.jobs,
            cluster=launch.cluster,
            options=launch.options,
        )
    jobs = min(launch.jobs or default_jobs(work.device), len(left))
    if jobs > 1:
        return run_processes(file, folder, work, jobs)
    return run_here(plan, left, folder, work)


def _made(
    plan: Plan, folder: Path, work: Work, costs: Mapping[str, Cost], ahead: Preview | None = None
) -> Ablation:
    table, failed = collect(plan, folder, costs)
    page = write_up(plan, table, failed, folder, device=work.device, tell=work.tell)
    return Ablation(plan, folder, ahead, table, tuple(failed), page)


@dataclass(frozen=True)
class Preview:
    """What an ablation would do: per variant what it changes, and how long a training takes.

    seconds: of what is left, one cell after another, without scoring; None where not measured.
    """

    lines: tuple[str, ...]
    cells: int
    left: int
    seconds: float | None

    def text(self) -> str:
        """For people."""
        head = f"{counted(self.cells, 'cell')}, {self.left} left"
        if self.seconds is not None and self.left:
            head += f": about {duration(self.seconds)} of training, one after another, and scores"
        return "\n".join([head, *(f"  {line}" for line in self.lines)])


def rehearse_all(plan: Plan, left: Sequence[Cell], work: Work) -> None:
    """Try, of every variant that has a cell left, the shapes on the `meta` device, and whether the
    weights of its metrics are there.

    Raises ConfigError that lists what is wrong with each, before anything is trained.
    """
    problems = []
    checked: set[str] = set()
    with looking_in(*work.weights, download=work.download):
        for variant in dict.fromkeys(cell.variant for cell in left):
            config = plan.of(variant)[0].config
            path = f"VARIANTS.{variant.name}"
            try:
                rehearse(config, sizes_of(config))
            except MunitZooError as error:
                problems.append(Problem(path, str(error), variant.origin))
            for name, node in config.METRICS.items():
                if str(node) in checked:
                    continue
                checked.add(str(node))
                ready = getattr(bind("metric", node, f"METRICS.{name}")(), "check", None)
                try:
                    if ready is not None:
                        ready()
                except MunitZooError as error:
                    problems.append(Problem(f"METRICS.{name}", str(error)))
    if problems:
        raise ConfigError(problems, source=plan.name)


def costs_of(plan: Plan, out: Path, work: Work, *, keep: bool = True) -> dict[str, Cost]:
    """Each variant's cost, measured once. What cannot be measured is left out, and told."""
    found = {}
    for variant in plan.variants:
        try:
            with looking_in(*work.weights, download=work.download):
                found[variant.name] = remembered_cost(
                    out / "costs" if keep else None,
                    variant.base,
                    variant.overrides,
                    device=work.device,
                )
        except Exception as error:
            work.tell(f"{variant.name} could not be measured: {error}")
    return found


def preview(plan: Plan, out: Path, costs: Mapping[str, Cost]) -> Preview:
    """What is to be done, and about how long it takes."""
    base = plan.of(plan.base)[0].config
    lines, seconds, left = [], 0.0, 0
    for variant in plan.variants:
        cells = plan.of(variant)
        waiting = [cell for cell in cells if not CellFolder.of(out, cell).finished(plan)]
        left += len(waiting)
        if variant == plan.base:
            what = f"the base, {_from(variant)}"
        elif variant.base != plan.base.base:
            what = ", ".join([f"another config, {_from(variant)}", *variant.written])
        else:
            what = shown_changes(variant, base)
        cost = costs.get(variant.name)
        time = ""
        if cost is not None:
            each = cost.seconds * engine_settings(cells[0].config).iterations
            time = f", about {duration(each)} a training"
            for cell in waiting:
                done = CellFolder.of(out, cell).iteration()
                iterations = engine_settings(cell.config).iterations
                seconds += cost.seconds * max(0, iterations - done)
        kept = f", {len(cells) - len(waiting)} done" if len(waiting) < len(cells) else ""
        lines.append(f"{variant.name} ({counted(len(cells), 'seed')}{kept}{time}): {what}")
    return Preview(tuple(lines), len(plan.cells), left, seconds if costs else None)


def _from(variant: Variant) -> str:
    return Path(variant.base).name if variant.base.endswith((".yaml", ".yml")) else variant.base


def save_plan(plan: Plan, out: Path) -> Path:
    """The plan's file in its folder, from which other processes read it."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "plan.yaml"
    text = dump(dict(plan.tree))
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        write_text(file, text)
    return file


def choose_cells(plan: Plan, keys: Sequence[str]) -> list[Cell]:
    """The cells of these keys, or all. Raises UsageError for a key that the plan has not."""
    by_key = {cell.key: cell for cell in plan.cells}
    for key in keys:
        if key not in by_key:
            raise UsageError(
                f"the plan has no cell {key!r}: it was changed since, or is another one. "
                "--launcher print lists the cells that are left"
            )
    return [by_key[key] for key in keys] or list(plan.cells)
