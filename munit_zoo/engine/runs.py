"""Runs and snapshots on disk: what training leaves behind and everything else starts from.

A run is a folder: `config.yaml` (resolved), `run.json` (where its components and images came from),
`log.jsonl` (one line a log), `images/`, `tensorboard/`, `index.html`, and `snapshots/NNNNNNNN/`.
A snapshot is a folder too, complete or absent, never half written; `snapshot.json` in it has the
checksum of each file. `run.lock` is held by the process that trains.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from munit_zoo._version import __version__
from munit_zoo.config import Config, Resolved, free_on_resume, resolve
from munit_zoo.engine.acceleration import memory_format
from munit_zoo.engine.locks import Busy, holding, is_held
from munit_zoo.engine.state import Captured, drop_network, load_into, upgrade
from munit_zoo.errors import CheckpointError, ConfigError, MunitZooError, Problem, UsageError
from munit_zoo.models import TranslationModel, create_model, translating_networks

__all__ = [
    "Change",
    "Retention",
    "Run",
    "Snapshot",
    "best_of",
    "by_term",
    "changes",
    "find_snapshot",
    "load_model",
    "plugin_records",
    "read_log",
    "read_newest",
    "resolve_config",
    "write_text",
]

T = TypeVar("T")

TRIES = 20
"""Snapshots tried by a reader while a training replaces them."""


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
        return int(self.folder.name.removeprefix(_FORMER))

    def info(self) -> dict[str, Any]:
        """What `snapshot.json` says. Raises CheckpointError where it is damaged."""
        file = self.folder / "snapshot.json"
        try:
            info = _read_json(file)
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
        older = [s for s in Run(self.folder.parent.parent).snapshots() if s.folder < self.folder]
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
        if any(p.name not in ("run.json", "run.lock") and not _scrap(p) for p in folder.iterdir()):
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
        return _read_json(file) if file.is_file() else {}

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
            "keys": {c.key: [_plain(c.before), _plain(c.after)] for c in changed},
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
                if path.name in there or not _scrap(path):
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
        folder = self.folder / "snapshots"
        names = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
        found = {int(name): name for name in names if name.isdigit()}
        for name in names:  # one whose successor under the same number did not come to be
            if name.startswith(_FORMER) and name.removeprefix(_FORMER).isdigit():
                found.setdefault(int(name.removeprefix(_FORMER)), name)
        return [Snapshot(folder / found[iteration]) for iteration in sorted(found)]

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
        parent = self.folder / "snapshots"
        parent.mkdir(exist_ok=True)
        work = parent / f".writing-{captured.iteration:08d}-{os.getpid()}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            sums: dict[str, str] = {}
            for stem, tensors in captured.files.items():
                name = f"{stem}.safetensors"
                kept = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
                sums[name] = _write_durably(work / name, safetensors.torch.save(_apart(kept)))
            document = {
                "iteration": captured.iteration,
                "munit_zoo": __version__,
                "files": sums,
                "aliases": {part: dict(names) for part, names in captured.aliases.items() if names},
                "facts": dict(captured.facts),
                **info,
            }
            text = json.dumps({**document, "sha256": _seal(document)}, indent=2) + "\n"
            _write_durably(work / "snapshot.json", text.encode())
            target = parent / f"{captured.iteration:08d}"
            former = parent / f"{_FORMER}{captured.iteration:08d}"
            if target.exists():
                shutil.rmtree(former, ignore_errors=True)
                os.replace(target, former)  # still found by `snapshots` if all ends here
            os.replace(work, target)
            _sync(parent)
            shutil.rmtree(former, ignore_errors=True)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        for old in () if keep is None else keep.doomed(self.snapshots()):
            _remove(old.folder)
        return Snapshot(target)


_FORMER = ".former-"


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


def load_model(
    path: str | Path, *, device: str | torch.device = "cpu", ema: bool = True
) -> TranslationModel:
    """The model of a run or a snapshot, in evaluation mode.

    path: a run's folder (its newest snapshot) or a snapshot's.
    ema: the averaged weights where they were kept.
    Raises CheckpointError for a folder that is neither, or weights that do not fit, and UsageError
    for a device that is not here.
    """
    from munit_zoo.engine.devices import device_at_hand  # which loads what scans all metadata

    device = device_at_hand(device)
    config = _as_built(find_snapshot(Path(path))[0]).config
    facts = read_newest(Path(path), lambda run, snapshot: snapshot.info().get("facts", {}))
    missing = facts.get("missing", [])  # of an import: networks that its files lacked
    model = create_model(config)
    if missing:
        graph, ways = model.graph(), [tuple(way) for way in facts["ways"]]
        graph.translations = {way: graph.translations[way] for way in ways}
    kept = [network for network in translating_networks(model) if network not in missing]
    for network in model.networks():
        if network not in kept:
            drop_network(model, network)

    def read(run: Run, snapshot: Snapshot) -> tuple[dict[str, Tensor], str]:
        part = "average" if ema and snapshot.has("average") else "networks"
        return snapshot.read(part, only=kept).part(part), f"{snapshot.folder} ({part})"

    load_into(model, *read_newest(Path(path), read))  # read at once: a training may go on
    layout = memory_format(config, device)
    model.to(device).to(memory_format=layout)
    return model.eval()


def _as_built(run: Run) -> Resolved:
    """A run's config for networks whose weights are loaded: pretrained ones are not asked for."""
    resolved = run.resolved()
    overrides = [*_without_pretrained(resolved.config.MODEL, "MODEL")]
    return run.resolved(overrides) if overrides else resolved


def _without_pretrained(node: Mapping[str, object], path: str) -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _without_pretrained(value, f"{path}.{key}")
        elif key == "PRETRAINED" and value is True:
            yield f"{path}.{key}=false"
            if node.get("NORMALISE", False) is None:  # which means: as PRETRAINED
                yield f"{path}.NORMALISE=true"


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


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log. What a crash or a full disk left half written is left out."""
    file = folder / "log.jsonl"
    if not file.is_file():
        return []
    lines = []
    for text in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("iteration"), int):
            lines.append(line)
    return lines


def by_term(parts: Mapping[str, float]) -> dict[str, float]:
    """Losses by term: the parts of each (`generators/image_recon/x_aa`, `…/x_bb`) added up. A term
    that several updates know has each of them named."""
    sums: dict[tuple[str, str], float] = {}
    for name, value in parts.items():
        update, _, rest = name.partition("/")
        if rest != "total":
            key = rest.split("/")[0], update
            sums[key] = sums.get(key, 0.0) + value
    several = [term for term, _ in sums]
    return {
        f"{update}/{term}" if several.count(term) > 1 else term: value
        for (term, update), value in sums.items()
    }


def write_text(path: Path, text: str) -> None:
    """Replace a file at once: a reader sees the old or the new one."""
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _scrap(path: Path) -> bool:
    """Whether a name is that of something unfinished."""
    name = path.name
    return name.startswith(".") and (
        name.endswith((".writing", ".png")) or name.startswith((".writing-", ".gone-", _FORMER))
    )


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


def _write_durably(path: Path, content: bytes) -> str:
    """Write a file to the disk itself; its checksum."""
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(content).hexdigest()


def _remove(folder: Path) -> None:
    """Delete a snapshot: a reader finds all of it or nothing."""
    gone = folder.with_name(f".gone-{folder.name}-{os.getpid()}")
    os.replace(folder, gone)
    shutil.rmtree(gone, ignore_errors=True)


def _sync(path: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_json(path: Path) -> dict[str, object]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
    if not isinstance(document, dict):
        raise CheckpointError(f"{path} is damaged: it holds no keys")
    return document


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


INEXACT = ("ENGINE.COMPILE", "ENGINE.CUDA_GRAPHS")
"""Keys that may change on resume, under which the same maths may round otherwise."""


@dataclass(frozen=True)
class Change:
    """A key in which two configs differ; None where one lacks it.

    free: whether training may go on with it.
    """

    key: str
    before: object
    after: object
    free: bool

    def __str__(self) -> str:
        return f"{self.key}: {_shown(self.before)} -> {_shown(self.after)}"


def changes(old: Config, new: Config) -> list[Change]:
    """The keys in which two configs differ."""
    before, after = _flat(old), _flat(new)
    free = {*free_on_resume(old), *free_on_resume(new), *INEXACT, "METRICS"}
    return [
        Change(
            key,
            before.get(key),
            after.get(key),
            any(key == other or key.startswith(f"{other}.") for other in free),
        )
        for key in dict.fromkeys([*before, *after])
        if (key in before, before.get(key)) != (key in after, after.get(key))
    ]


def _flat(tree: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _shown(value: object) -> str:
    return "none" if value is None else str(value)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
