"""Ways to have cells worked on: here, by several processes here, by Slurm, or by somebody else."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from munit_zoo.comparison.cells import CellFolder, Outcome, Work, work_on
from munit_zoo.comparison.plan import Cell, Plan
from munit_zoo.comparison.reading import read_plan
from munit_zoo.engine.signals import RESUME_ME
from munit_zoo.errors import UsageError, counted

__all__ = [
    "CellJob",
    "default_jobs",
    "print_commands",
    "run_here",
    "run_processes",
    "run_submitit",
]

TRIES = 2
"""Attempts at a cell that fails, in one call."""


def run_here(plan: Plan, cells: Sequence[Cell], out: Path, work: Work) -> bool:
    """Work on cells one after another in this process; whether all were tried, rather than that
    it was asked to end. What fails is tried again after the others."""
    waiting = list(cells)
    for attempt in range(TRIES):
        failed = []
        for number, cell in enumerate(waiting, start=1):
            name = f"[{number}/{len(waiting)}] {cell.variant.name}, seed {cell.seed}"
            if not CellFolder.of(out, cell).finished(plan):
                work.tell(name if not attempt else f"{name}, again")
            outcome: Outcome = work_on(plan, cell, out, work)
            if outcome == "interrupted":
                return False
            if outcome == "busy":
                work.tell("  another process works on it")
            if outcome == "failed":
                work.tell(f"  failed: {CellFolder.of(out, cell).state().get('error')}")
                failed.append(cell)
        waiting = failed
    return True


def default_jobs(device: str) -> int:
    """A process a CUDA device, where that is what is meant; else one."""
    if device in ("auto", "cuda") and torch.cuda.is_available():
        return torch.cuda.device_count()
    return 1


def command_of(plan_file: Path, out: Path, work: Work, cell: Cell | None = None) -> list[str]:
    """The command that works on a cell, or on all that are left."""
    words = ["ablate", str(plan_file), "--out", str(out), "--device", work.device]
    words += ["--cell", cell.key] if cell is not None else ["--worker"]
    for folder in work.weights:
        words += ["--weights-dir", str(folder)]
    for file in work.plugins:
        words += ["--plugin", str(file)]
    return [*words, "--download"] if work.download else words


def run_processes(plan_file: Path, out: Path, work: Work, jobs: int) -> bool:
    """Work on a plan's cells by several processes, each of which takes what is free.

    On CUDA one device each, in turn; on a CPU its threads are shared out.
    """
    words = [sys.executable, "-m", "munit_zoo", *command_of(plan_file, out, work)]
    children = [subprocess.Popen(words, env=_share(i, jobs, work.device)) for i in range(jobs)]
    work.tell(f"{jobs} processes work on it")
    try:
        codes = [child.wait() for child in children]
    except KeyboardInterrupt:  # the terminal told them, too: they save, and end
        codes = [child.wait() for child in children]
        return False
    crashed = [code for code in codes if code < 0]
    if crashed:
        work.tell(f"processes ended by signal {', '.join(str(-code) for code in crashed)}")
    return RESUME_ME not in codes


def _share(index: int, jobs: int, device: str) -> dict[str, str]:
    """The environment of one process of several."""
    env = dict(os.environ)
    if device in ("auto", "cuda") and torch.cuda.is_available():
        env["CUDA_VISIBLE_DEVICES"] = _visible(env)[index % torch.cuda.device_count()]
    else:
        threads = max(1, torch.get_num_threads() // jobs)
        env |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    return env


def _visible(env: Mapping[str, str]) -> list[str]:
    named = [word for word in env.get("CUDA_VISIBLE_DEVICES", "").split(",") if word]
    return named or [str(index) for index in range(torch.cuda.device_count())]


@dataclass
class CellJob:
    """A cell as a job of submitit: it can be sent to another machine, and be resumed there."""

    plan_file: str
    out: str
    key: str
    work: Mapping[str, Any]

    def __call__(self) -> str:
        """Work on the cell; its outcome. Raises RuntimeError where it failed, so that the queue
        shows it as failed, too."""
        from munit_zoo.registry import load_plugin_file

        work = Work(**self.work, tell=lambda text: print(text, flush=True))  # noqa: T201  # log
        for file in work.plugins:
            load_plugin_file(file)
        plan = read_plan(self.plan_file)
        cell = next(cell for cell in plan.cells if cell.key == self.key)
        outcome = work_on(plan, cell, Path(self.out), work)
        if outcome == "failed":
            raise RuntimeError(CellFolder.of(Path(self.out), cell).state().get("error"))
        return outcome

    def checkpoint(self) -> object:
        """What Slurm is to queue again when it takes the job's machine away: the same, which goes
        on from the newest snapshot."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def run_submitit(
    plan_file: Path,
    cells: Sequence[Cell],
    out: Path,
    work: Work,
    *,
    jobs: int | None = None,
    cluster: str | None = None,
    options: Mapping[str, object] | None = None,
    submitted: Callable[[Sequence[object]], None] | None = None,
) -> bool:
    """Submit each cell as a job of submitit, and wait for all of them.

    jobs: as many at a time at the most. cluster: `slurm`, `local`, or None for what there is.
    options: submitit's parameters (timeout_min, slurm_partition, gpus_per_node, …).
    Raises UsageError where submitit is not installed, or does not know an option.
    """
    try:
        import submitit
    except ImportError:
        raise UsageError(
            "--launcher submitit needs the package submitit: pip install 'munit-zoo[slurm]', or "
            "have the commands of --launcher print queued in your own way"
        ) from None
    executor = submitit.AutoExecutor(folder=str(out / "submitit"), cluster=cluster)
    chosen = {"timeout_min": 24 * 60, **(options or {})}
    if jobs is not None:
        chosen.setdefault("slurm_array_parallelism", jobs)
    try:
        executor.update_parameters(name=f"ablate-{out.name}"[:60], **chosen)
    except (NameError, TypeError, ValueError) as error:
        raise UsageError(f"--option: {error}") from None
    plain = {k: v for k, v in vars(replace(work)).items() if k != "tell"}
    tasks = [CellJob(str(plan_file.resolve()), str(out.resolve()), c.key, plain) for c in cells]
    with executor.batch():
        submissions = [executor.submit(task) for task in tasks]
    work.tell(f"{counted(len(submissions), 'job')} submitted, logs in {out / 'submitit'}")
    if submitted is not None:
        submitted(submissions)
    for submission, cell in zip(submissions, cells, strict=True):
        wrong = submission.exception()
        said = f"failed: {str(wrong).strip().splitlines()[-1]}" if wrong else submission.result()
        work.tell(f"{cell.variant.name}, seed {cell.seed}: {said}")
    return True


def print_commands(plan_file: Path, cells: Sequence[Cell], out: Path, work: Work) -> str:
    """A command a line, each for a cell: for any scheduler."""
    lines = [
        shlex.join(["munit-zoo", *command_of(plan_file.resolve(), out.resolve(), work, cell)])
        for cell in cells
    ]
    return "".join(f"{line}\n" for line in lines)
