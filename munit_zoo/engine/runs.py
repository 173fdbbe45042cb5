"""Runs on disk: what training leaves behind and everything else starts from.

A run is a folder: `config.yaml` (resolved), `run.json` (where its components and images came from),
`log.jsonl`, `images/`, `tensorboard/`, `index.html`, and `snapshots/`. `run.lock` is held by the
process that trains.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from munit_zoo._version import __version__
from munit_zoo.config import Resolved, resolve
from munit_zoo.engine.changes import Change, plain
from munit_zoo.engine.files import is_scrap, read_json, remove_folder, write_text
from munit_zoo.engine.locks import Busy, holding, is_held
from munit_zoo.engine.logs import read_log
from munit_zoo.engine.snapshots import Retention, Snapshot, snapshots_in, write_snapshot
from munit_zoo.engine.state import Captured
from munit_zoo.errors import CheckpointError, ConfigError, Problem, UsageError

__all__ = [
    "Run",
    "find_snapshot",
    "plugin_records",
    "provenance",
    "read_newest",
    "resolve_config",
]

T = TypeVar("T")

TRIES = 20
"""Snapshots tried by a reader while a training replaces them."""


@dataclass(frozen=True)
class Run:
    """A run's folder."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, resolved: Resolved, record: Mapping[str, object]) -> Run:
        """A new run in a folder that is absent or empty.

        record: what `run.json` is to say beside versions and components.
        Raises UsageError where the folder holds anything: nothing is overwritten.
        """
        cls.refuse_used(folder)
        folder.mkdir(parents=True, exist_ok=True)
        run = cls(folder)
        run.write_record({**provenance(resolved), **record})
        write_text(folder / "config.yaml", resolved.config.dump())  # with it, it is a run
        return run

    @staticmethod
    def refuse_used(folder: Path) -> None:
        """Raises UsageError where a folder for a new run holds anything."""
        if not folder.exists():
            return
        if not folder.is_dir():
            raise UsageError(f"{folder} is a file; a run is a folder: choose another name")
        run = Run(folder)
        if (folder / "config.yaml").is_file():
            way = "continue it with --resume" if run.snapshots() else "start it with --resume"
            what = "a run already" if run.snapshots() else "a run without a snapshot yet"
            raise UsageError(f"{folder} holds {what}; {way}, or choose another folder")
        # what is left of a run that never came to be is no reason to refuse
        if any(
            p.name not in ("run.json", "run.lock") and not is_scrap(p) for p in folder.iterdir()
        ):
            raise UsageError(f"{folder} is not empty; choose another folder")

    @classmethod
    def open(cls, folder: Path) -> Run:
        """An existing run. Raises CheckpointError where the folder is none."""
        if not (folder / "config.yaml").is_file():
            there = "there is no such folder" if not folder.exists() else "it has no config.yaml"
            raise CheckpointError(f"{folder} is not a run: {there}")
        return cls(folder)

    def resolved(self, overrides: Sequence[str] = ()) -> Resolved:
        """The run's config. An error about a component names the distribution it came from."""
        try:
            return resolve(str(self.folder / "config.yaml"), overrides)
        except ConfigError as error:
            record = self.record()
            raise ConfigError(
                [_with_owner(problem, record) for problem in error.problems], source=error.source
            ) from None

    def record(self) -> dict[str, Any]:
        """What `run.json` says."""
        file = self.folder / "run.json"
        return read_json(file) if file.is_file() else {}

    def write_record(self, record: Mapping[str, object]) -> None:
        """Replace `run.json`."""
        write_text(self.folder / "run.json", json.dumps(record, indent=2) + "\n")

    def goes_on_with(self, plugins: Sequence[Path], iteration: int) -> list[str]:
        """Add to the record the local files that training goes on with; a note on each new one."""
        record = self.record()
        known = record.get("plugins", [])
        before = [(entry["file"], entry["sha256"]) for entry in known]
        new = [e for e in plugin_records(plugins) if (e["file"], e["sha256"]) not in before]
        if new:
            added = [{**entry, "from_iteration": iteration} for entry in new]
            self.write_record({**record, "plugins": [*known, *added]})
        changed = {file for file, _ in before}
        return [
            f"{entry['file']} {'has changed since' if entry['file'] in changed else 'is new to'} "
            "the run; run.json says so"
            for entry in new
        ]

    def changes_to(self, resolved: Resolved, changed: Sequence[Change], iteration: int) -> None:
        """Go on with another config from an iteration: it becomes the run's own."""
        record = self.record()
        entry = {
            "from_iteration": iteration,
            "keys": {c.key: [plain(c.before), plain(c.after)] for c in changed},
        }
        history = [*record.get("changes", []), entry]
        self.write_record({**record, **provenance(resolved), "changes": history})
        write_text(self.folder / "config.yaml", resolved.config.dump())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Train in this folder alone. Raises UsageError where another process does.

        The lock ends with the process that holds it, however that ends; a loader's processes do
        not inherit it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with holding(self.folder / "run.lock"):
                yield
        except Busy as busy:
            holder = f" ({busy})" if str(busy) else ""
            raise UsageError(
                f"{self.folder} is being trained by another process{holder}: wait for it, or "
                "choose another folder"
            ) from None

    def busy(self) -> bool:
        """Whether a process trains in this folder."""
        return is_held(self.folder / "run.lock")

    def clean(self) -> None:
        """Remove what an interrupted writer left. For the holder of the lock."""
        there = {s.folder.name for s in self.snapshots()}
        for folder in (self.folder, self.folder / "images", self.folder / "snapshots"):
            for path in folder.iterdir() if folder.is_dir() else ():
                if path.name in there or not is_scrap(path):
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def rewind(self, iteration: int) -> None:
        """Forget what was logged and shown after the snapshot that training resumes from."""
        file = self.folder / "log.jsonl"
        if file.is_file():
            kept = [line for line in read_log(self.folder) if line["iteration"] <= iteration]
            write_text(file, "".join(json.dumps(line) + "\n" for line in kept))
        for image in (self.folder / "images").glob("*_????????.png"):
            if image.stem[-8:].isdigit() and int(image.stem[-8:]) > iteration:
                image.unlink()

    def snapshots(self) -> list[Snapshot]:
        """All snapshots, oldest first."""
        return snapshots_in(self.folder)

    def newest(self) -> Snapshot:
        """The newest snapshot. Raises CheckpointError where there is none."""
        snapshots = self.snapshots()
        if not snapshots:
            raise CheckpointError(f"the run {self.folder} has no snapshot yet")
        return snapshots[-1]

    def save(
        self,
        captured: Captured,
        info: Mapping[str, object],
        *,
        keep: Retention | None = None,
    ) -> Snapshot:
        """Write a snapshot: all of it, or nothing. One of the same iteration stays until then.

        info: what `snapshot.json` is to say beside. keep: which older snapshots stay afterwards;
        all where it is left out. Raises OSError, as when the disk is full.
        """
        snapshot = write_snapshot(self.folder, captured, info)
        for old in () if keep is None else keep.doomed(self.snapshots()):
            remove_folder(old.folder)
        return snapshot


def provenance(resolved: Resolved) -> dict[str, object]:
    """The package's version and each component's origin, for records."""
    return {
        "munit_zoo": __version__,
        "config_sha256": resolved.config.digest(),
        "components": {
            path: {
                "kind": entry.kind,
                "name": entry.name,
                "distribution": entry.distribution,
                "version": entry.version,
                "target": entry.target,
            }
            for path, entry in resolved.components.items()
        },
    }


def plugin_records(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Local files for a run's record: where each stands, and what it says."""
    return [
        {"file": str(file.resolve()), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for file in files
    ]


def resolve_config(source: str, overrides: Sequence[str] = ()) -> Resolved:
    """As `resolve`; for a run's own config.yaml an error says what the run was made with."""
    path = Path(source)
    if path.name == "config.yaml" and (path.parent / "run.json").is_file():
        return Run(path.parent).resolved(overrides)
    return resolve(source, overrides)


def find_snapshot(path: Path) -> tuple[Run, Snapshot]:
    """The run and snapshot that a path means."""
    if (path / "snapshot.json").is_file():
        return Run.open(path.resolve().parent.parent), Snapshot(path)
    run = Run.open(path)
    return run, run.newest()


def read_newest(path: Path, read: Callable[[Run, Snapshot], T]) -> T:
    """What `read` makes of the snapshot that a path means.

    Where it is deleted meanwhile, as by a training with ENGINE.KEEP, the next one is read.
    """
    for _ in range(TRIES):
        run, snapshot = find_snapshot(path)
        try:
            return read(run, snapshot)
        except CheckpointError:
            if snapshot.folder.exists():
                raise
    raise CheckpointError(
        f"the snapshots of {path} are replaced faster than they can be read: train with a larger "
        "ENGINE.KEEP, or wait"
    )


def _with_owner(problem: Problem, record: Mapping[str, Any]) -> Problem:
    """A problem with a component's name, with where the run once had the component from."""
    made = record.get("components", {}).get(problem.path.removesuffix(".NAME"))
    if not made or not problem.path.endswith(".NAME"):
        return problem
    if made["distribution"]:
        source = f"{made['distribution']} {made['version']}; install that again"
    else:
        names = dict.fromkeys(entry["file"] for entry in record.get("plugins", []))
        files = " ".join(f"--plugin {file}" for file in names)
        source = f"a local file; give {files or '--plugin FILE.py'} again"
    message = f"{problem.message} The run was made with it from {source}."
    return Problem(problem.path, message, problem.origin)
