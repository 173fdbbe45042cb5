"""Commands that set runs against each other: ablate, compare, study."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys

from munit_zoo.cli._told import told
from munit_zoo.errors import UsageError

FAILED = 1
"""Exit status where a cell of an ablation failed, or is missing."""


def ablate(chosen: argparse.Namespace) -> int:
    """`munit-zoo ablate`: 0 done, 1 where cells are missing, 75 where it was asked to end."""
    from munit_zoo.comparison.ablate import Launch, ablate_cells
    from munit_zoo.comparison.ablate import ablate as run_ablation
    from munit_zoo.comparison.cells import Work
    from munit_zoo.engine.signals import RESUME_ME

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    plugins = tuple(file.resolve() for file in chosen.plugin or ())
    weights = tuple(folder.resolve() for folder in chosen.weights_dir)
    work = Work(chosen.device, weights, chosen.download, plugins, _line)
    if chosen.cell or chosen.worker:
        if chosen.out is None:
            raise UsageError("--cell works in an ablation's folder: name it with --out")
        done = ablate_cells(chosen.plan, chosen.out, work, chosen.cell)
        return RESUME_ME if done.ended else FAILED if done.failed else 0
    launch = Launch(chosen.launcher, chosen.jobs, chosen.cluster, dict(map(_option, chosen.option)))
    done = run_ablation(
        chosen.plan,
        chosen.out,
        launch,
        work,
        overrides=chosen.overrides,
        dry_run=chosen.dry_run,
        remake=chosen.from_results is not None,
    )
    print(done.commands, end="")
    if done.ended:
        _line("stopped and saved: the same command goes on")
        return RESUME_ME
    if done.table is None or done.page is None:
        return 0
    print((done.out / "table.md").read_text(encoding="utf-8"))
    for line in done.failed:
        print(f"failed: {line}", file=sys.stderr)
    print(f"page: {done.page}")
    return FAILED if done.failed or done.table.missing else 0


def compare(chosen: argparse.Namespace) -> None:
    """`munit-zoo compare`."""
    from munit_zoo.comparison.compare import compare as run_comparison
    from munit_zoo.comparison.grids import GridChoice

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    choice = GridChoice(chosen.inputs, chosen.styles, chosen.examples, chosen.seed)
    with told() as tell:
        page = run_comparison(
            chosen.paths,
            chosen.out,
            choice,
            measure=not chosen.no_cost,
            device=chosen.device,
            tell=tell,
        )
    print(f"page: {page}")


def make_study(chosen: argparse.Namespace) -> None:
    """`munit-zoo study make`."""
    from munit_zoo.comparison.study import StudyChoice
    from munit_zoo.comparison.study import make_study as run_making

    choice = StudyChoice(
        chosen.questions,
        chosen.controls,
        chosen.pairs,
        tuple(chosen.ways),
        chosen.each,
        chosen.seed,
    )
    with told() as tell:
        page = run_making(chosen.paths, chosen.out, choice, device=chosen.device, tell=tell)
    print(f"page: {page} (open it, or put {page.parent} on a web server)")
    print(f"key: {chosen.out / 'key.json'} (stays with you)")
    print(f"then: munit-zoo study score ANSWERS.json… --key {shlex.quote(str(chosen.out))}")


def score_study(chosen: argparse.Namespace) -> None:
    """`munit-zoo study score`."""
    from munit_zoo.comparison.answers import score_study as run_scoring

    score = run_scoring(chosen.answers, chosen.key, threshold=chosen.controls)
    print(score.markdown(), end="")
    if chosen.out is not None:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(score.to_json(), encoding="utf-8")
        print(f"scores: {chosen.out}")


def _line(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _option(text: str) -> tuple[str, object]:
    """`timeout_min=60`, for submitit: numbers as numbers."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--option {text!r}: write KEY=VALUE, as timeout_min=60")
    return key, int(value) if value.lstrip("-").isdigit() else value
