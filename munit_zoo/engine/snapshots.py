"""Snapshots on disk: a training state, complete or absent, never half written.

A snapshot is a folder `snapshots/NNNNNNNN/` of a run, named by its iteration; `snapshot.json` in it
has the checksum of each file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from munit_zoo._version import __version__
from munit_zoo.engine.files import (
    FORMER,
    read_json,
    sync_folder,
    write_durably,
)
from munit_zoo.engine.logs import by_term
from munit_zoo.engine.state import Captured, upgrade
from munit_zoo.errors import CheckpointError, MunitZooError

__all__ = ["Retention", "Snapshot", "best_of", "snapshots_in", "write_snapshot"]


@dataclass(frozen=True)
class Snapshot:
    """A training state on disk.

    `networks/<path>.safetensors`, a file a network; where they exist `average/<path>.safetensors`
    (averaged networks), `criteria.safetensors` (what loss terms keep) and
    `optimizers/<path>.safetensors` (moments); `snapshot.json`: iteration, checksums, versions,
    components. Snapshots of munit-zoo 0.1 (`generators.safetensors`, … and `training.pt`) are read
    as well.
    """

    folder: Path

    @property
    def iteration(self) -> int:
        """Updates made before it was taken."""
        return int(self.info()["iteration"])

    @property
    def number(self) -> int:
        """The iteration by its folder's name."""
        return int(self.folder.name.removeprefix(FORMER))

    def info(self) -> dict[str, Any]:
        """What `snapshot.json` says. Raises CheckpointError where it is damaged."""
        file = self.folder / "snapshot.json"
        try:
            info = read_json(file)
            sealed = dict(info)
            seal = sealed.pop("sha256", None)
            if not isinstance(info.get("iteration"), int):
                raise CheckpointError(f"{file} is damaged: it names no iteration")
            if seal is not None and seal != _seal(sealed):
                raise CheckpointError(f"{file} is damaged: it is not as it was written")
        except CheckpointError as error:
            raise self._damaged(str(error)) from None
        return info

    def has(self, part: str) -> bool:
        """Whether it holds a part: `networks`, `average`, `criteria` or `optimizers`."""
        files = self.info().get("files")
        if files is None:
            old = {"average": "ema.safetensors", "criteria": "losses.safetensors"}
            old |= {"networks": "generators.safetensors", "optimizers": "training.pt"}
            return (self.folder / old[part]).is_file()
        return any(_part(name) == part for name in files)

    def read(self, *parts: str, only: Collection[str] | None = None) -> Captured:
        """The state, or some of its parts. Each file is checked before it is used.

        only: files of these networks alone. Raises CheckpointError that names a missing or damaged
        file and the newest older snapshot that is good.
        """
        info = self.info()
        if info.get("files") is None:
            return self._read_old(info, parts)
        files: dict[str, dict[str, Tensor]] = {}
        aliases = info.get("aliases", {})
        for name, checksum in info["files"].items():
            stem = name.removesuffix(".safetensors")
            if (parts and _part(name) not in parts) or not _wanted(stem, only, aliases):
                continue
            files[stem] = self._tensors(name, checksum)
        return Captured(info["iteration"], files, aliases, info.get("facts", {}))

    def check(self) -> None:
        """Raises CheckpointError where any of its files is missing or damaged."""
        self.read()

    def _tensors(self, name: str, checksum: str | None) -> dict[str, Tensor]:
        file = self.folder / name
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            raise self._damaged(f"{file} is missing") from None
        except OSError as error:
            raise CheckpointError(f"{file} cannot be read: {error.strerror}") from None
        if checksum is not None and hashlib.sha256(content).hexdigest() != checksum:
            raise self._damaged(f"{file} is damaged: its checksum is not that of snapshot.json")
        try:
            return safetensors.torch.load(content)
        except (SafetensorError, ValueError, KeyError) as error:
            raise self._damaged(f"{file} is damaged: {error}") from None

    def _read_old(self, info: Mapping[str, Any], parts: Collection[str]) -> Captured:
        """A snapshot of munit-zoo 0.1."""
        of = {
            "networks": ("generators", "discriminators"),
            "average": ("ema",),
            "criteria": ("losses",),
        }
        wanted = [
            name for part, names in of.items() if not parts or part in parts for name in names
        ]
        found = {
            name: self._tensors(f"{name}.safetensors", None)
            for name in wanted
            if name == "generators" or (self.folder / f"{name}.safetensors").is_file()
        }
        moments = None
        file = self.folder / "training.pt"
        if (not parts or "optimizers" in parts) and file.is_file():
            try:
                moments = torch.load(file, map_location="cpu", weights_only=True)["optimizers"]
            except OSError as error:
                raise CheckpointError(f"{file} cannot be read: {error.strerror}") from None
            except Exception:  # whatever damage makes torch say; its advice is not for this file
                raise self._damaged(f"{file} is damaged: it holds no optimizer state") from None
        return upgrade(info["iteration"], found, moments)

    def _damaged(self, problem: str) -> CheckpointError:
        """The error, with the newest good snapshot before this one."""
        older = [s for s in snapshots_in(self.folder.parent.parent) if s.folder < self.folder]
        for snapshot in reversed(older):
            try:
                snapshot.check()
            except MunitZooError:
                continue
            return CheckpointError(
                f"{problem}. The newest good snapshot before it is {snapshot.folder}: name that "
                f"one, or remove {self.folder}"
            )
        return CheckpointError(
            f"{problem}. There is no good snapshot before it" if older else problem
        )


@dataclass(frozen=True)
class Retention:
    """Which snapshots stay.

    newest: so many of the newest; None: all. every: beside them, those of each iteration that it
    divides. best: beside them, the one with the lowest loss of this name.
    """

    newest: int | None = None
    every: int | None = None
    best: str | None = None

    def doomed(self, snapshots: Sequence[Snapshot]) -> list[Snapshot]:
        """Those of a run's snapshots, oldest first, that do not stay."""
        if self.newest is None:
            return []
        older = [
            snapshot
            for snapshot in snapshots[: -self.newest]
            if not (self.every and snapshot.number % self.every == 0)
        ]
        best = None if self.best is None or not older else best_of(snapshots, self.best)
        return [snapshot for snapshot in older if snapshot != best]


def best_of(snapshots: Sequence[Snapshot], loss: str) -> Snapshot | None:
    """The snapshot with the lowest of a logged loss, the older of two; None where none says."""
    found: list[tuple[float, int, Snapshot]] = []
    for snapshot in snapshots:
        try:
            losses = snapshot.info().get("losses", {})
        except CheckpointError:  # damaged: no candidate
            continue
        value = losses.get(loss, by_term(losses).get(loss))
        if value is not None:
            found.append((value, snapshot.number, snapshot))
    return min(found)[2] if found else None


def snapshots_in(folder: Path) -> list[Snapshot]:
    """All snapshots of a run's folder, oldest first."""
    folder = folder / "snapshots"
    names = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
    found = {int(name): name for name in names if name.isdigit()}
    for name in names:  # one whose successor under the same number did not come to be
        if name.startswith(FORMER) and name.removeprefix(FORMER).isdigit():
            found.setdefault(int(name.removeprefix(FORMER)), name)
    return [Snapshot(folder / found[iteration]) for iteration in sorted(found)]


def write_snapshot(folder: Path, captured: Captured, info: Mapping[str, object]) -> Snapshot:
    """Write a snapshot of a run's folder: all of it, or nothing. One of the same iteration stays
    until then.

    info: what `snapshot.json` is to say beside. Raises OSError, as when the disk is full.
    """
    parent = folder / "snapshots"
    parent.mkdir(exist_ok=True)
    work = parent / f".writing-{captured.iteration:08d}-{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        sums: dict[str, str] = {}
        for stem, tensors in captured.files.items():
            name = f"{stem}.safetensors"
            kept = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
            sums[name] = write_durably(work / name, safetensors.torch.save(_apart(kept)))
        document = {
            "iteration": captured.iteration,
            "munit_zoo": __version__,
            "files": sums,
            "aliases": {part: dict(names) for part, names in captured.aliases.items() if names},
            "facts": dict(captured.facts),
            **info,
        }
        text = json.dumps({**document, "sha256": _seal(document)}, indent=2) + "\n"
        write_durably(work / "snapshot.json", text.encode())
        target = parent / f"{captured.iteration:08d}"
        former = parent / f"{FORMER}{captured.iteration:08d}"
        if target.exists():
            shutil.rmtree(former, ignore_errors=True)
            os.replace(target, former)  # still found by `snapshots_in` if all ends here
        os.replace(work, target)
        sync_folder(parent)
        shutil.rmtree(former, ignore_errors=True)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return Snapshot(target)


def _part(name: str) -> str:
    """The part that a snapshot's file belongs to."""
    return name.removesuffix(".safetensors").split("/")[0]


def _wanted(
    stem: str, only: Collection[str] | None, aliases: Mapping[str, Mapping[str, str]]
) -> bool:
    """Whether a file holds tensors of some networks, be it as those of another."""
    part, _, path = stem.partition("/")
    if only is None or path in only:
        return True
    return any(
        source.startswith(f"{path}.") and any(name.startswith(f"{p}.") for p in only)
        for name, source in aliases.get(part, {}).items()
    )


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, none a view into another: safetensors refuses shared memory."""
    seen: set[int] = set()
    found = {}
    for name, value in tensors.items():
        place = value.untyped_storage().data_ptr()
        found[name] = value.clone() if place in seen else value
        seen.add(place)
    return found


def _seal(document: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
