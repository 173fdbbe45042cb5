"""Faults, on purpose: what a training survives, and what it says where it does not.

    python benchmarks/faults.py [CAMPAIGN …] [--kills 50] [--seed 0] [--json FILE]

Each campaign trains a small model on the CPU in processes of its own and harms them: `kills`,
`signals`, `damage`, `disk`, `folders`, `readers`. A run counts as survived where its final weights,
averages, moments and log are bit for bit those of a run that nothing happened to. Exit status 1
where anything did not.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from munit_zoo.config import resolve
from munit_zoo.engine.loading import load_model
from munit_zoo.engine.runs import Run
from munit_zoo.engine.train import train
from munit_zoo.errors import MunitZooError

SMALL = (
    "MODEL.CONTENT_ENCODER.DIM=4",
    "MODEL.CONTENT_ENCODER.BLOCKS=1",
    "MODEL.STYLE_ENCODER.DIM=4",
    "MODEL.STYLE_ENCODER.DOWNSAMPLES=2",
    "MODEL.DECODER.BLOCKS=1",
    "MODEL.DECODER.MAPPING.DIM=8",
    "MODEL.DISCRIMINATOR.DIM=4",
    "MODEL.DISCRIMINATOR.LAYERS=2",
    "DATA.SIZE=16",
    "DATA.COUNT=20",
    "DATA.TEST_COUNT=4",
    "ENGINE.BATCH_SIZE=2",
    "ENGINE.EMA=0.9",
    "ENGINE.LOG_EVERY=1",
    "ENGINE.WORKERS=0",
    "ENGINE.SHARE=none",
    "METRICS=null",
    "OPTIM.SCHEDULE={NAME: linear, START: 0.0}",  # so that a wrong iteration shows in the weights
)
RUNS = multiprocessing.get_context("fork")  # the libraries are imported once


class Trial:
    """A training of so many iterations, undisturbed in `folder / "whole"`; others are like it."""

    def __init__(self, folder: Path, *overrides: str, iterations: int = 12) -> None:
        self.folder = folder
        self.overrides = [*SMALL, f"ENGINE.ITERATIONS={iterations}", *overrides]
        began = time.monotonic()
        process = self.start("whole")
        process.join()
        if process.exitcode:
            raise RuntimeError(_text(folder / "whole.said"))
        self.seconds = time.monotonic() - began
        self.expected = outcome(folder / "whole")

    def start(self, name: str, **options: Any) -> Any:
        """A process that trains in a folder of its own, or resumes there."""
        said = self.folder / f"{Path(name).name}.said"
        said.unlink(missing_ok=True)
        arguments = (self.overrides, self.folder / name, said, options)
        process = RUNS.Process(target=_train, args=arguments)
        process.start()
        return process

    def goes_on(self, name: str) -> Any:
        """The same, begun or resumed, as the folder's state asks for."""
        begun = (self.folder / name / "config.yaml").is_file()
        return self.start(name, resume=begun)

    def same(self, name: str) -> bool:
        """Whether a run came out as the undisturbed one."""
        ours = outcome(self.folder / name)
        return ours.keys() == self.expected.keys() and all(
            torch.equal(ours[key], value) for key, value in self.expected.items()
        )


def _train(overrides: Sequence[str], folder: Path, said: Path, options: dict[str, Any]) -> None:
    """In the process: train, and exit as the command does. said: a file for an error's text."""
    torch.set_num_threads(1)
    resolved = None if options.get("resume") else resolve("munit/shapes", overrides)
    try:
        end = train(resolved, folder, device="cpu", **options)
    except MunitZooError as error:
        said.write_text(str(error))
        os._exit(2)
    except BaseException:
        said.write_text(traceback.format_exc())
        os._exit(1)
    os._exit(75 if end.interrupted else 0)


def outcome(folder: Path) -> dict[str, torch.Tensor]:
    """All that a finished run's last snapshot holds, and its log without the times."""
    captured = Run.open(folder).newest().read()
    found = {
        f"{part}.{name}": value
        for part in ("networks", "average", "criteria", "optimizers")
        for name, value in captured.part(part).items()
    }
    for line in (folder / "log.jsonl").read_text().splitlines():
        values = json.loads(line)
        for key in values.keys() - {"iteration", "images_per_second"}:
            found[f"log {values['iteration']} {key}"] = torch.tensor(values[key])
    return found


def kills(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """`kill -9` at random moments, each followed by a resumption."""
    chance = random.Random(seed)
    options = ("ENGINE.SNAPSHOT_EVERY=3", "ENGINE.GRID_EVERY=4", "ENGINE.KEEP=2")
    trial = Trial(folder, *options)
    done, trials, problems = 0, 0, []
    moments: Counter[str] = Counter()
    while done < count:
        name = f"run{trials}"
        trials += 1
        while True:
            process = trial.goes_on(name)
            process.join(chance.uniform(0, trial.seconds) if done < count else None)
            if process.exitcode is None:
                process.kill()
                process.join()
                done += 1
                moments[_moment(folder / name)] += 1
            elif process.exitcode == 0:
                break
            else:
                problems.append(f"{name}: {(folder / f'{name}.said').read_text()}")
                break
        if not problems and not trial.same(name):
            problems.append(f"{name}: other weights or another log")
        shutil.rmtree(folder / name, ignore_errors=True)
    return {"kills": done, "runs": trials, "found at": dict(moments), "problems": problems}


def _moment(folder: Path) -> str:
    """What a kill left."""
    if not (folder / "config.yaml").is_file():
        return "before the run"
    if list((folder / "snapshots").glob(".*")):
        return "while a snapshot was written"
    return "between snapshots" if Run(folder).snapshots() else "before a snapshot"


def signals(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Each signal: exit with 75 after the iteration, a snapshot, an exact resumption."""
    chance = random.Random(seed)
    trial = Trial(folder, "ENGINE.SNAPSHOT_EVERY=0", "ENGINE.GRID_EVERY=0", iterations=40)
    problems, waits = [], []
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
        process = trial.start(name)
        log = folder / name / "log.jsonl"
        while process.is_alive() and not log.is_file():
            time.sleep(0.01)
        time.sleep(chance.uniform(0, trial.seconds / 4))
        began = time.monotonic()
        os.kill(process.pid, getattr(signal, name))
        process.join()
        waits.append(time.monotonic() - began)
        if process.exitcode not in (0, 75):
            problems.append(f"{name}: exit status {process.exitcode}")
        resumed = trial.start(name, resume=True)
        resumed.join()
        if resumed.exitcode or not trial.same(name):
            problems.append(f"{name}: resumed otherwise")
    return {"signals": 4, "seconds to the end at most": max(waits), "problems": problems}


def damage(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Every file of a snapshot missing, empty, cut or with a bit flipped: it is named, and the
    snapshot before it offered; nothing is loaded."""
    chance = random.Random(seed)
    Trial(folder, "ENGINE.SNAPSHOT_EVERY=6", "ENGINE.GRID_EVERY=0")
    run, problems, cases = Run(folder / "whole"), [], 0
    older, newest = run.snapshots()
    for file in sorted(p for p in newest.folder.rglob("*") if p.is_file()):
        content = file.read_bytes()
        flipped = bytearray(content)
        flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        cut = content[: chance.randrange(len(content))]
        for how, harmed in (("missing", None), ("empty", b""), ("cut", cut), ("flipped", flipped)):
            cases += 1
            file.unlink()
            if harmed is not None:
                file.write_bytes(bytes(harmed))
            try:
                newest.read()
                problems.append(f"{file.name} {how}: was read")
            except MunitZooError as error:
                if file.name not in str(error) or older.folder.name not in str(error):
                    problems.append(f"{file.name} {how}: {error}")
            except Exception as error:
                problems.append(f"{file.name} {how}: {type(error).__name__}: {error}")
            file.write_bytes(content)
    newest.read()
    return {"files harmed": cases, "problems": problems}


def disk(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """A disk that fills up, on a small tmpfs: the former snapshot stays good, and is gone on with
    once there is room."""
    place = folder / "small"
    place.mkdir()
    trial = Trial(folder, "ENGINE.SNAPSHOT_EVERY=2", "ENGINE.GRID_EVERY=2", "ENGINE.KEEP=2")
    size = sum(p.stat().st_size for p in (folder / "whole").rglob("*") if p.is_file())
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size + 4_000_000}", "none", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        return {"skipped": "a tmpfs cannot be mounted here", "problems": []}
    problems, stages = [], Counter[str]()
    chance = random.Random(seed)
    try:
        for number in range(8):
            run = place / f"run{number}"
            ballast = place / "ballast"
            room = chance.randrange(20_000, size)
            free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
            ballast.write_bytes(bytes(max(0, free - room)))
            process = trial.start(f"small/{run.name}")
            process.join()
            said = folder / f"{run.name}.said"
            ballast.unlink()
            if process.exitcode == 0:
                stages["it fitted"] += 1
            elif process.exitcode != 2:
                problems.append(f"{room}: exit status {process.exitcode} {_text(said)}")
            elif "No space left" not in _text(said):
                problems.append(f"{room}: {_text(said)}")
            else:
                with suppress(MunitZooError):
                    for snapshot in Run(run).snapshots():
                        snapshot.check()
                stages[_moment(run)] += 1
            if process.exitcode:
                resumed = trial.goes_on(f"small/{run.name}")
                resumed.join()
                if resumed.exitcode or not trial.same(f"small/{run.name}"):
                    problems.append(f"{room}: resumed otherwise: {_text(said)}")
            shutil.rmtree(run, ignore_errors=True)
    finally:
        subprocess.run(["umount", str(place)], check=False)
    return {"disks filled": 8, "found at": dict(stages), "problems": problems}


def _text(file: Path) -> str:
    return file.read_text() if file.is_file() else ""


def folders(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Two trainings in one folder: the second is refused, and at once not after the first is
    killed. A run that was moved, and one whose images went away for a while, go on."""
    trial = Trial(folder, "ENGINE.SNAPSHOT_EVERY=2", "ENGINE.GRID_EVERY=0", "ENGINE.WORKERS=1")
    problems = []
    first = trial.start("one")
    while first.is_alive() and not (folder / "one/log.jsonl").is_file():
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGSTOP)
    second = trial.start("one", resume=True)
    second.join()
    if second.exitcode != 2 or "being trained by another process" not in _text(folder / "one.said"):
        problems.append(f"a second training: {second.exitcode} {_text(folder / 'one.said')}")
    first.kill()
    first.join()
    third = trial.start("one", resume=True)
    third.join()
    if third.exitcode or not trial.same("one"):
        problems.append("after the first was killed: resumed otherwise")
    cut = trial.start("two")
    while cut.is_alive() and not (folder / "two/snapshots/00000002").is_dir():
        time.sleep(0.01)
    cut.kill()
    cut.join()
    (folder / "two").rename(folder / "moved")
    resumed = trial.start("moved", resume=True)
    resumed.join()
    if resumed.exitcode or not trial.same("moved"):
        problems.append("a run that was moved: resumed otherwise")
    return {"cases": 3, "problems": problems}


def readers(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Loading the newest model while a training keeps one snapshot alone."""
    trial = Trial(
        folder,
        "ENGINE.SNAPSHOT_EVERY=1",
        "ENGINE.KEEP=1",
        "ENGINE.GRID_EVERY=0",
        iterations=80,
    )
    process = trial.start("busy")
    while process.is_alive() and not Run(folder / "busy").snapshots():
        time.sleep(0.01)
    loads, problems = 0, []
    while process.is_alive():
        try:
            load_model(folder / "busy")
        except Exception as error:
            problems.append(f"{type(error).__name__}: {error}")
        loads += 1
    process.join()
    return {"loads": loads, "problems": problems}


CAMPAIGNS: dict[str, Callable[[Path, int, int], dict[str, Any]]] = {
    "kills": kills,
    "signals": signals,
    "damage": damage,
    "disk": disk,
    "folders": folders,
    "readers": readers,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("campaigns", nargs="*", help=f"{', '.join(CAMPAIGNS)}; all")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the figures")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.campaigns if name not in CAMPAIGNS]
    if unknown:
        parser.error(f"there is no campaign {unknown[0]}")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    figures: dict[str, Any] = {"torch": torch.__version__, "seed": chosen.seed}
    for name in chosen.campaigns or CAMPAIGNS:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            figures[name] = CAMPAIGNS[name](Path(folder), chosen.kills, chosen.seed)
        figures[name]["seconds"] = round(time.monotonic() - began, 1)
        sys.stdout.write(f"{name}: {json.dumps(figures[name])}\n")
        sys.stdout.flush()
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return int(any(isinstance(f, dict) and f["problems"] for f in figures.values()))


if __name__ == "__main__":
    sys.exit(main())
