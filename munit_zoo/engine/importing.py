"""Another project's checkpoint as a run of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from munit_zoo.config import domains_of, resolve_data
from munit_zoo.engine.page import write_page
from munit_zoo.engine.runs import Run, plugin_records, provenance
from munit_zoo.engine.state import imported
from munit_zoo.engine.step import build_optimizers
from munit_zoo.errors import UsageError
from munit_zoo.interop import nvlabs
from munit_zoo.models import assemble, create_model

__all__ = ["Imported", "import_nvlabs"]


@dataclass(frozen=True)
class Imported:
    """The new run, the recipe, the iteration, and what could not be taken over."""

    run: Run
    recipe: str
    iteration: int
    notes: tuple[str, ...]


def import_nvlabs(
    gen: Path,
    out: Path,
    *,
    dis: Path | None = None,
    optimizer: Path | None = None,
    config: Path | None = None,
    overrides: Sequence[str] = (),
    plugins: Sequence[Path] = (),
) -> Imported:
    """A run from a checkpoint of MUNIT's reference implementation.

    gen, dis, optimizer: its files. config: its YAML; without it, what shapes tell is inferred and
    the rest is the reference's default. overrides: `KEY=VALUE` on the converted config.
    plugins: local files whose components are in use, for the run's record.
    With `dis` and `optimizer` the run can be resumed.
    Raises CheckpointError for files that do not fit together, ConfigError for a YAML with values
    that are not known, UsageError where `out` holds something or `optimizer` comes without `dis`.
    """
    notes: list[str] = []
    if optimizer is not None and dis is None:
        raise UsageError("--optimizer is of generators and discriminators: give --dis, too")
    weights = nvlabs.read_checkpoint(gen, "gen")
    critics = nvlabs.read_checkpoint(dis, "dis") if dis is not None else None
    kind, hyper = nvlabs.infer_hyperparameters(weights, critics)
    if config is not None:
        hyper = _read_yaml(config)
        source = str(config)
    else:
        source = str(gen)
        notes.append(
            "no YAML was given: activations, padding and loss weights are the reference's defaults"
        )
    tree = nvlabs.config_from_hyperparameters(hyper, kind, source=source)
    resolved = resolve_data(tree, overrides, origin=f"converted from {source}")
    with torch.device("meta"):
        shadow: Any = create_model(resolved.config)
    networks = nvlabs.convert_weights(shadow, weights, critics)
    iteration = nvlabs.iteration_of(gen)
    moments = None
    if critics is None:
        notes.append("no --dis was given: the run translates, but training cannot resume from it")
    data = resolved.config.DATA
    if config is not None and data.NAME == "shapes" and tree["DATA"]["NAME"] == "shapes":
        notes.append(
            f"the YAML names no images: DATA is the synthetic shapes of {data.SIZE}×{data.SIZE}; "
            "give DATA=… to train on yours"
        )
    if optimizer is not None and critics is not None:
        moments = _moments(tree, overrides, optimizer, weights, critics)
    elif critics is not None:
        notes.append("no --optimizer was given: use --init-from to train on from these weights")
    record = {
        "imported_from": {"project": "NVlabs/MUNIT", "file": gen.name},
        "plugins": plugin_records(plugins),
    }
    run = Run.create(out, resolved, record)
    state = imported(iteration, list(shadow.networks()), networks, moments)
    run.save(state, provenance(resolved))
    write_page(run.folder)
    return Imported(run, kind, iteration, tuple(notes))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        hyper = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as the reference's YAML: {error}") from None
    if not isinstance(hyper, dict):
        raise UsageError(f"{path} is not the reference's YAML: it holds no keys")
    return hyper


def _moments(
    tree: Mapping[str, Any], overrides: Sequence[str], file: Path, gen: Any, dis: Any
) -> dict[str, dict[str, Tensor]]:
    """Our optimizers' state by parameter, of the reference's."""
    # The perceptual term reads what others read, too; leaving it out spares its weights here.
    config = resolve_data(tree, [*overrides, "LOSSES.PERCEPTUAL=null"], origin=str(file)).config
    states = nvlabs.read_checkpoint(file, "optimizer")
    sizes = {domain.name: (256, 256) for domain in domains_of(config)}  # any will do
    model: Any
    model, objective, _ = assemble(config, sizes)
    groups = build_optimizers(config, model, objective)
    names = [name for group in groups for name in group.parameters]
    found: dict[str, dict[str, Tensor]] = {}
    for side, weights in (("gen", gen), ("dis", dis)):
        positions = {name: index for index, name in enumerate(names)}
        moments = nvlabs.convert_adam_state(model, side, states[side], weights, positions)
        found |= {names[index]: state for index, state in moments.items()}
    return found
