"""Runs and snapshots on disk: what training leaves behind and everything else starts from.

A run is a folder: `config.yaml` (resolved), `run.json` (where its components and images came from),
`log.jsonl` (one line a log), `images/`, `tensorboard/`, `index.html`, and `snapshots/NNNNNNNN/`.
A snapshot is a folder too, complete or absent, never half written.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from munit_zoo._version import __version__
from munit_zoo.config import Config, Resolved, free_on_resume, resolve
from munit_zoo.engine.acceleration import memory_format
from munit_zoo.errors import CheckpointError, ConfigError, Problem, UsageError
from munit_zoo.models import TranslationModel, create_model

__all__ = [
    "Run",
    "Snapshot",
    "load_model",
    "load_weights",
    "plugin_records",
    "resolve_config",
]


@dataclass(frozen=True)
class Snapshot:
    """A training state on disk.

    `generators.safetensors`, `discriminators.safetensors`; where they exist `ema.safetensors`
    (averaged generators) and `losses.safetensors` (criteria with parameters of their own);
    `training.pt` (optimizers); `snapshot.json` (iteration, versions, components).
    """

    folder: Path

    @property
    def iteration(self) -> int:
        """Updates made before it was taken."""
        return int(self.info()["iteration"])

    def info(self) -> dict[str, Any]:
        """What `snapshot.json` says."""
        return _read_json(self.folder / "snapshot.json")

    def weights(self, part: str) -> dict[str, Tensor]:
        """Tensors of a part: `generators`, `discriminators`, `ema` or `losses`.

        Raises CheckpointError for a missing or damaged file.
        """
        file = self.folder / f"{part}.safetensors"
        try:
            return load_file(file)
        except FileNotFoundError:
            raise CheckpointError(f"{file} is missing: the snapshot has no {part}") from None
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file} cannot be read: {error}") from None

    def has(self, part: str) -> bool:
        """Whether it holds a part."""
        return (self.folder / f"{part}.safetensors").is_file()

    def training_state(self) -> dict[str, Any]:
        """Optimizer states."""
        file = self.folder / "training.pt"
        if not file.is_file():
            raise CheckpointError(
                f"{self.folder} holds weights but no optimizer state: training cannot resume from "
                "it. Start a new run from its weights with --init-from."
            )
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        return state


@dataclass(frozen=True)
class Run:
    """A run's folder."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, resolved: Resolved, record: Mapping[str, Any]) -> Run:
        """A new run in a folder that is absent or empty.

        record: what `run.json` is to say beside versions and components.
        Raises UsageError where the folder holds anything: nothing is overwritten.
        """
        cls.refuse_used(folder)
        folder.mkdir(parents=True, exist_ok=True)
        run = cls(folder)
        write_text(folder / "config.yaml", resolved.config.dump())
        run.write_record({**provenance(resolved), **record})
        return run

    @staticmethod
    def refuse_used(folder: Path) -> None:
        """Raises UsageError where a folder for a new run holds anything."""
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            is_run = (folder / "config.yaml").is_file()
            what = "holds a run already" if is_run else "is not empty"
            way = "continue it with --resume, or " if is_run else ""
            raise UsageError(f"{folder} {what}; {way}choose another folder")

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

    def write_record(self, record: Mapping[str, Any]) -> None:
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

    def snapshots(self) -> list[Snapshot]:
        """All snapshots, oldest first."""
        folder = self.folder / "snapshots"
        names = (
            sorted(p.name for p in folder.iterdir() if p.name.isdigit()) if folder.is_dir() else []
        )
        return [Snapshot(folder / name) for name in names]

    def newest(self) -> Snapshot:
        """The newest snapshot. Raises CheckpointError where there is none."""
        snapshots = self.snapshots()
        if not snapshots:
            raise CheckpointError(f"the run {self.folder} has no snapshot yet")
        return snapshots[-1]

    def save(
        self,
        iteration: int,
        weights: Mapping[str, Mapping[str, Tensor]],
        training: Mapping[str, Any] | None,
        info: Mapping[str, Any],
        *,
        keep: int | None = None,
    ) -> Snapshot:
        """Write a snapshot: all of it, or nothing.

        weights: tensors by part. keep: older snapshots beyond this many are deleted afterwards.
        """
        parent = self.folder / "snapshots"
        parent.mkdir(exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".writing-", dir=parent))
        try:
            os.chmod(work, 0o755)  # mkdtemp's folders are private, a run is not
            for part, tensors in weights.items():
                kept = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
                save_file(kept, work / f"{part}.safetensors")
            if training is not None:
                torch.save(dict(training), work / "training.pt")
            document = {"iteration": iteration, "munit_zoo": __version__, **info}
            write_text(work / "snapshot.json", json.dumps(document, indent=2) + "\n")
            for file in work.iterdir():
                _sync(file)
            target = parent / f"{iteration:08d}"
            if target.exists():
                shutil.rmtree(target)
            os.replace(work, target)
            _sync(parent)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        for old in self.snapshots()[: -keep if keep else 0]:
            shutil.rmtree(old.folder)
        return Snapshot(target)


def provenance(resolved: Resolved) -> dict[str, Any]:
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
    Raises CheckpointError for a folder that is neither, or weights that do not fit.
    """
    run, snapshot = find_snapshot(Path(path))
    config = run.resolved().config
    model = create_model(config)
    part = "ema" if ema and snapshot.has("ema") else "generators"
    load_weights(model.generators, snapshot.weights(part), f"{snapshot.folder} ({part})")
    if snapshot.has("discriminators"):
        discriminators = snapshot.weights("discriminators")
        load_weights(model.discriminators, discriminators, f"{snapshot.folder} (discriminators)")
    layout = memory_format(config, device)
    model.to(device).to(memory_format=layout)  # type: ignore[call-overload]
    return model.eval()


def find_snapshot(path: Path) -> tuple[Run, Snapshot]:
    """The run and snapshot that a path means."""
    if (path / "snapshot.json").is_file():
        return Run.open(path.resolve().parent.parent), Snapshot(path)
    run = Run.open(path)
    return run, run.newest()


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], label: str) -> None:
    """Load weights that must fit exactly.

    Raises CheckpointError that lists what is missing, what is left over, and shapes that differ.
    """
    own = module.state_dict()
    problems = [f"missing: {name}" for name in own if name not in weights]
    problems += [f"left over: {name}" for name in weights if name not in own]
    problems += [
        f"{name} is {tuple(weights[name].shape)}, the model has {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    if problems:
        shown = problems[:8] + ([f"and {len(problems) - 8} more"] if len(problems) > 8 else [])
        raise CheckpointError(f"the weights of {label} do not fit: {'; '.join(shown)}")
    module.load_state_dict(dict(weights))


def write_text(path: Path, text: str) -> None:
    """Replace a file at once: a reader sees the old or the new one."""
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
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


def same_training(old: Config, new: Config) -> list[str]:
    """Keys in which two configs differ so that one cannot continue the other's training."""
    free = free_on_resume(old) | free_on_resume(new)

    def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in tree.items():
            if isinstance(value, Mapping):
                found |= flat(value, f"{prefix}{key}.")
            else:
                found[f"{prefix}{key}"] = value
        return found

    before, after = flat(old), flat(new)
    return [
        f"{key}: {before.get(key, 'absent')} -> {after.get(key, 'absent')}"
        for key in dict.fromkeys([*before, *after])
        if key not in free
        and not key.startswith("METRICS.")
        and before.get(key, "absent") != after.get(key, "absent")
    ]
