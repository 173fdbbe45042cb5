"""A run's model, to translate with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from munit_zoo.config import Resolved
from munit_zoo.engine.acceleration import memory_format
from munit_zoo.engine.runs import Run, find_snapshot, read_newest
from munit_zoo.engine.snapshots import Snapshot
from munit_zoo.engine.state import drop_network, load_into
from munit_zoo.models import TranslationModel, create_model, translating_networks

__all__ = ["Loaded", "load_model", "load_newest"]


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


@dataclass(frozen=True)
class Loaded:
    """A model, and what its weights are: of which iteration, whether averaged."""

    model: TranslationModel
    iteration: int
    averaged: bool

    @property
    def weights(self) -> str:
        """In the words of records: `averaged`, or those of the `last` iteration."""
        return "averaged" if self.averaged else "last"


def load_newest(path: Path, *, device: str | torch.device = "cpu", ema: bool = True) -> Loaded:
    """As `load_model`, with what was loaded: a training may write another snapshot meanwhile."""

    def read(_: Run, snapshot: Snapshot) -> Loaded:
        averaged = ema and snapshot.has("average")
        model = load_model(snapshot.folder, device=device, ema=ema)
        return Loaded(model, snapshot.iteration, averaged)

    return read_newest(path, read)


def _as_built(run: Run) -> Resolved:
    """A run's config for networks whose weights are loaded: pretrained ones are not asked for."""
    resolved = run.resolved()
    overrides = [*_without_pretrained(resolved.config.MODEL, "MODEL")]
    return run.resolved(overrides) if overrides else resolved


def _without_pretrained(node: Mapping[str, object], path: str) -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _without_pretrained(value, f"{path}.{key}")
        elif value and (key == "PRETRAINED" or (key == "WEIGHTS" and "PRETRAINED" in node)):
            yield f"{path}.{key}={'false' if key == 'PRETRAINED' else 'null'}"
            if node.get("NORMALISE", False) is None:  # which means: as PRETRAINED
                yield f"{path}.NORMALISE=true"
