"""Another project's checkpoint as a run of ours.

`import_checkpoint` serves the systems of the table in `interop.systems`; the 2018 implementation of
MUNIT, which has hyperparameters in a YAML and both domains in one file, has `import_nvlabs`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from munit_zoo.config import Resolved, domains_of, resolve_data
from munit_zoo.engine.page import write_page
from munit_zoo.engine.runs import Run, plugin_records, provenance
from munit_zoo.engine.state import Captured, imported
from munit_zoo.engine.step import build_optimizers
from munit_zoo.errors import CheckpointError, UnknownComponentError, UsageError
from munit_zoo.interop import nvlabs, nvlabs_options
from munit_zoo.interop.checkpoints import ReadNetworks
from munit_zoo.interop.systems import SYSTEMS, System
from munit_zoo.models import TranslationModel, assemble, create_model, translating_networks
from munit_zoo.models.rehearsal import look
from munit_zoo.registry import MODELS

__all__ = ["Imported", "import_checkpoint", "import_nvlabs"]


@dataclass(frozen=True)
class Imported:
    """The new run, the recipe, the iteration, (source, target) of its translations, and what could
    not be taken over."""

    run: Run
    recipe: str
    iteration: int
    ways: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def import_checkpoint(
    system: str,
    files: Sequence[Path],
    out: Path,
    *,
    options: Path | None = None,
    overrides: Sequence[str] = (),
    plugins: Sequence[Path] = (),
) -> Imported:
    """A run from a checkpoint of another system's original implementation.

    system: a key of SYSTEMS. files: those of its files that there are. options: the file of its
    training's options; without it they are as published, where shapes do not tell them.
    overrides: `KEY=VALUE` on the converted config. plugins: local files whose components are in
    use, for the run's record.
    Raises CheckpointError for files that are damaged, of another system or do not fit together,
    UsageError where `out` holds something or the recipe's plug-in is missing, ConfigError for
    overrides that are wrong. Nothing is left in `out` then.
    """
    known = SYSTEMS[system]
    Run.refuse_used(out)
    if not files:
        raise UsageError("name the files of the checkpoint")
    _require(known)
    given = {} if options is None else known.options(options)
    if known.models and given.get("model", known.models[0]) not in known.models:
        raise CheckpointError(
            f"{options} is of the model {given['model']!r}, not of {' or '.join(known.models)}"
        )
    settings = {**known.defaults, **given}
    read = _read(known, files, settings)
    origin = ", ".join(path.name for path in files)
    tree = known.config(settings, read)
    own = {"NAME": known.recipe, **known.nodes(settings), **read.settings}
    tree["MODEL"] = {**own, **tree.get("MODEL", {})}
    resolved = resolve_data(tree, overrides, origin=f"converted from {origin}")
    with torch.device("meta"):
        shadow = create_model(resolved.config)
    networks = _placed(known, shadow, read.weights)
    averages = _placed(known, shadow, read.averages)
    moments = _moments_of(known, read, networks)
    missing, notes = _absent(known, shadow, networks)
    facts = {"missing": missing, "ways": [*shadow.graph().translations]} if missing else {}
    if moments is None:
        notes.append("without the optimizers' state: train on with --init-from, not with --resume")
    elif not averages:
        kept = tuple(f"{path}." for path in translating_networks(shadow))
        averages = {name: value for name, value in networks.items() if name.startswith(kept)}
        notes.append("no averages were given: they start from the networks")
    if options is None:
        notes.append("no --options were given: what shapes do not tell is as published")
    notes += known.notes(settings, read, resolved.config)
    paths = list(shadow.networks())
    state = imported(read.iteration, paths, networks, moments, averages=averages, facts=facts)
    record = {"project": known.project, "files": [path.name for path in files]}
    run = _write(out, resolved, record, plugins, state)
    return Imported(run, known.recipe, read.iteration, shadow.ways, tuple(notes))


def _require(system: System) -> None:
    """Raises UsageError where the recipe's plug-in is not installed."""
    try:
        MODELS.get(system.recipe)
    except UnknownComponentError:
        raise UsageError(
            f"the recipe {system.recipe!r} is of a plug-in that is not installed: "
            f"pip install {system.plugin}"
        ) from None


def _read(system: System, files: Sequence[Path], options: Mapping[str, object]) -> ReadNetworks:
    """What the files hold. Raises CheckpointError where it is not the system's."""
    try:
        read = system.read(files, options)
    except (AttributeError, IndexError, KeyError, StopIteration, TypeError, ValueError) as error:
        # names and shapes are taken at their word; a file may lie in more ways than can be listed
        listed = ", ".join(path.name for path in files)
        raise CheckpointError(f"{listed}: no checkpoint of {system.project} ({error})") from error
    for name in read.weights:
        if name not in system.networks:
            known = ", ".join(system.networks)
            raise CheckpointError(
                f"the recipe {system.recipe!r} has no network {name}; its original has {known}"
            )
    return read


def _placed(
    system: System, shadow: TranslationModel, weights: Mapping[str, Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """Tensors under the model's own names. Raises CheckpointError where they do not fit."""
    found: dict[str, Tensor] = {}
    for name, tensors in weights.items():
        path = system.networks[name]
        own = shadow.networks()[path].state_dict()
        problems = [f"{key} is missing" for key in own if key not in tensors]
        problems += [f"{key} is left over" for key in tensors if key not in own]
        problems += [
            f"{key} is {tuple(tensors[key].shape)}, the config makes {tuple(value.shape)}"
            for key, value in own.items()
            if key in tensors and tensors[key].shape != value.shape
        ]
        if problems:
            more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
            raise CheckpointError(
                f"the network {name} does not fit {path} of the config: "
                f"{'; '.join(problems[:4])}{more}"
            )
        found |= {f"{path}.{key}": tensors[key] for key in own}
    return found


def _moments_of(
    system: System, read: ReadNetworks, networks: Mapping[str, Tensor]
) -> dict[str, dict[str, Tensor]] | None:
    """The optimizers' moments by the model's own names. Raises CheckpointError where they do not
    fit."""
    if read.moments is None:
        return None
    found = {
        f"{system.networks[network]}.{name}": moments
        for network, of in read.moments.items()
        for name, moments in of.items()
    }
    for name, moments in found.items():
        for key, value in moments.items():
            if key != "step" and value.shape != networks[name].shape:
                raise CheckpointError(
                    f"the optimizers' state does not fit: {key} of {name} is "
                    f"{tuple(value.shape)}, the parameter {tuple(networks[name].shape)}"
                )
    return found


def _absent(
    system: System, shadow: TranslationModel, weights: Mapping[str, Tensor]
) -> tuple[list[str], list[str]]:
    """Paths of translating networks that are not there, and what to say of all that are not.

    The shadow then translates as the others can. Raises CheckpointError where they cannot at all.
    """
    named = {path: name for name, path in system.networks.items()}
    absent = [
        path
        for path in named
        if path in shadow.networks()
        and shadow.networks()[path].state_dict()
        and not any(name.startswith(f"{path}.") for name in weights)
    ]
    missing = [path for path in absent if path in translating_networks(shadow)]
    notes = [
        f"{named[path]} ({path}) is not among the files: training starts with a new one"
        for path in absent
    ]
    if missing:
        _translate_without(missing, shadow)
        if not shadow.ways:
            raise CheckpointError(
                f"the files hold no generator; the original has {', '.join(system.networks)}"
            )
        listed = ", ".join(f"{source} to {target}" for source, target in shadow.ways)
        notes.append(f"the run translates {listed} only")
    return missing, notes


def _translate_without(missing: Sequence[str], shadow: TranslationModel) -> None:
    """Leave out the translations that call networks which are missing."""
    side = 16 * shadow.stride
    calls = look(shadow, {domain.name: (side, side) for domain in shadow.domains}).calls
    graph = shadow.graph()
    graph.translations = {
        way: translation
        for way, translation in graph.translations.items()
        if not any(
            path in missing
            for node in graph.order([translation.output], [translation.source])
            for path, _ in calls[node.name]
        )
    }


def _write(
    out: Path,
    resolved: Resolved,
    imported_from: Mapping[str, object],
    plugins: Sequence[Path],
    state: Captured,
) -> Run:
    """The new run: all of it, or nothing."""
    there = out.exists()
    record = {"imported_from": dict(imported_from), "plugins": plugin_records(plugins)}
    try:
        run = Run.create(out, resolved, record)
        run.save(state, provenance(resolved))
        write_page(run.folder)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        if there:
            out.mkdir(exist_ok=True)
        raise
    return run


# MUNIT's reference implementation


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
    kind, hyper = nvlabs_options.infer_hyperparameters(weights, critics)
    if config is not None:
        hyper = _read_yaml(config)
        source = str(config)
    else:
        source = str(gen)
        notes.append(
            "no YAML was given: activations, padding and loss weights are the reference's defaults"
        )
    tree = nvlabs_options.config_from_hyperparameters(hyper, kind, source=source)
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
    state = imported(iteration, list(shadow.networks()), networks, moments)
    run = _write(out, resolved, {"project": "NVlabs/MUNIT", "file": gen.name}, plugins, state)
    return Imported(run, kind, iteration, shadow.ways, tuple(notes))


def _read_yaml(path: Path) -> dict[str, object]:
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
