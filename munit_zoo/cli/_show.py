"""Commands that only look: list, describe, config."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from munit_zoo.domains import Domain
from munit_zoo.errors import GraphError, MunitZooError, an
from munit_zoo.registry import CORE, REGISTRIES, Entry, Registry, damaged_metadata, registry

if TYPE_CHECKING:  # the latter would load torch
    from munit_zoo.config import Config, Resolved
    from munit_zoo.data import Dataset
    from munit_zoo.models import Objective, Rehearsal


def list_components(chosen: argparse.Namespace) -> None:
    """`munit-zoo list [KIND] [PATTERN]`."""
    if chosen.kind in ("config", "configs"):
        _print_configs(chosen.pattern)
        return
    if chosen.kind in ("plan", "plans"):
        _print_plans(chosen.pattern)
        return
    registries = [registry(chosen.kind)] if chosen.kind else list(REGISTRIES.values())
    for one in registries:
        names = one.list(chosen.pattern)
        if chosen.check:
            one.broken(check=True)
        if not names and not chosen.kind:
            continue
        print(f"{one.kind}:")
        for name in names:
            told = [part for part in (one.summary(name), _origin(one, name)) if part]
            print(f"  {name:<28}{' · '.join(told)}".rstrip())
        families = one.families_like(chosen.pattern)
        for name, summary in families.items():
            print(f"  {name:<28}{summary} · munit-zoo list {one.kind} '{name}'")
        if not names and not families:
            print(f"  nothing matches {chosen.pattern!r}")
    if not chosen.kind:
        print(
            "\nConfigs: munit-zoo list configs. Keys of a component: munit-zoo describe KIND NAME."
        )


def _print_plans(pattern: str) -> None:
    import fnmatch

    from munit_zoo.config import list_plans

    for name in list_plans():
        if fnmatch.fnmatchcase(name, pattern):
            print(name)


def _print_configs(pattern: str) -> None:
    import fnmatch

    from munit_zoo.config import shelved, shelves

    for name, shelf in shelved().items():
        if fnmatch.fnmatchcase(name, pattern):
            origin = "" if shelf.distribution == CORE else f"plug-in, {shelf.source}"
            print(f"{name:<26}{origin}".rstrip())
    for shelf in shelves():
        if shelf.problem:
            print(f"BROKEN: the configs of {shelf.source}: {shelf.problem}")


def _origin(one: Registry, name: str) -> str:
    entry = one.entry(name)
    if entry.origin == "builtin":
        return ""
    broken = one.broken().get(entry.qualified)
    return f"{_source(entry)}{'  BROKEN: ' + str(broken) if broken else ''}"


def _source(entry: Entry) -> str:
    if entry.origin == "builtin":
        return f"built in, {entry.source}"
    return f"plug-in, {entry.source}" if entry.origin == "plugin" else f"local, {entry.target}"


def describe(chosen: argparse.Namespace) -> None:
    """`munit-zoo describe KIND NAME`."""
    from munit_zoo.config import expected

    found = registry(chosen.kind).describe(chosen.name)
    print(f"{found.entry.kind} {found.entry.name} ({_source(found.entry)})")
    print(f"{found.entry.target}\n")
    print(found.doc or "(no documentation)")
    print(f"\nwired: ({', '.join(found.signature.wired)})")
    print("keys:" if found.settings else "keys: none")
    for setting in found.settings.values():
        default = "required" if setting.required else f"default {_value(setting.default)}"
        kind = an(setting.slot) if setting.slot else expected(setting.annotation)
        print(f"  {setting.key:<21} {kind}; {default}")
    if found.entry.kind == "model":
        _describe_graph(chosen.name, found.component)


def _value(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if hasattr(value, "settings") and hasattr(value, "name"):
        extra = "".join(f", {k.upper()}: {_value(v)}" for k, v in value.settings.items())
        return f"{{NAME: {value.name}{extra}}}"
    return str(value)


def _describe_graph(name: str, recipe: type) -> None:
    """What an iteration of a recipe does, built with its defaults on the `meta` device."""
    import torch

    from munit_zoo.errors import MunitZooError
    from munit_zoo.models import Graph
    from munit_zoo.models.outline import describe_iteration, example_domains, sketch
    from munit_zoo.registry import MODELS

    try:
        with torch.device("meta"):
            model = MODELS.bind(name)(example_domains(recipe))
        objective = sketch(model)
        graph = objective.graph
        print(f"\n{describe_iteration(objective)}")
    except MunitZooError as error:
        graph = Graph(recipe)
        print(f"\nIts iteration cannot be drawn with its defaults: {error}\n\n{graph.text()}")
    print("\ntranslations:")
    for (source, target), found in graph.translations.items():
        style = f", in the style {found.style}" if found.style else ""
        ways = "any to any" if source == "*" else f"{source} to {target}"
        print(f"  {ways}: {found.output} of {found.source}{style}")
    print("\nMermaid:")
    print(graph.mermaid())


def doctor(_: argparse.Namespace) -> int:
    """`munit-zoo doctor`: status 1 where torch or a plug-in is broken."""
    import importlib.metadata
    import importlib.util
    import os
    import platform

    from munit_zoo._version import __version__

    print(f"munit-zoo {__version__}, Python {platform.python_version()}, {platform.platform()}")
    for name in ("torch", "torchvision", "timm", "lightning-fabric", "pydantic", "yacs"):
        try:
            print(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            print(f"{name}: not installed. pip install {name}")
        except Exception as error:  # whatever damaged metadata raise
            print(f"{name}: its metadata cannot be read ({error}). Install it again.")
    sound = _devices_report()
    for extra, module, use in (("test", "pytest", "plug-ins' conformance tests"),):
        if importlib.util.find_spec(module) is None:
            print(
                f"extra [{extra}] is missing ({module}), for {use}: pip install munit-zoo[{extra}]"
            )
    for variable in ("MUNIT_ZOO_PLUGINS", "MUNIT_ZOO_STRICT_PLUGINS", "MUNIT_ZOO_CACHE"):
        if variable in os.environ:
            print(f"{variable}={os.environ[variable]}")
    for folder, reason in damaged_metadata():
        print(f"damaged metadata, over which other packages may stumble: {folder}: {reason}")
    problems = _plugins_report()
    for problem in problems:
        print(problem)
    return 0 if sound and not problems else 1


def _devices_report() -> bool:
    """Where torch can compute; whether it can be imported at all."""
    try:
        import torch
    except Exception as error:  # whatever a damaged installation raises
        print(f"torch cannot be imported: {type(error).__name__}: {error}. Install it again.")
        return False
    devices = {"cpu": True, "cuda": torch.cuda.is_available()}
    devices["mps"] = torch.backends.mps.is_available()
    print("devices: " + ", ".join(name for name, present in devices.items() if present))
    if not devices["cuda"]:
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU build"
        print(f"  no CUDA device: torch is {built}, and sees none")
    return True


def _plugins_report() -> list[str]:
    """Prints what is installed; what is wrong with it, a line or two each."""
    from munit_zoo.config import shelves

    found = list(shelves())
    plugins: dict[str, list[str]] = {}
    for one in REGISTRIES.values():
        for entry in one.entries():
            if entry.origin == "plugin":
                plugins.setdefault(entry.source, []).append(f"{one.kind} {entry.name}")
    for shelf in found:
        if shelf.distribution != CORE:
            names = [f"config {name}" for name in shelf.names()] or ["configs"]
            plugins.setdefault(shelf.source, []).extend(names)
    print("plug-ins: none" if not plugins else "plug-ins:")
    for source, components in plugins.items():
        print(f"  {source}: {', '.join(components)}")
    _claims_report()
    problems = [
        f"broken: the configs of {shelf.source}: {shelf.problem}"
        for shelf in found
        if shelf.problem
    ]
    return [*_broken_components(), *problems, *_misspelt()]


def _claims_report() -> None:
    for one in REGISTRIES.values():
        names = [entry.name for entry in one.entries()]
        for name in sorted({n for n in names if names.count(n) > 1}):
            owners = " and ".join(e.source for e in one.entries() if e.name == name)
            print(f"claimed twice: {one.kind} {name}, by {owners}; write dist:{name}")


def _broken_components() -> list[str]:
    lines = []
    for one in REGISTRIES.values():
        for name, error in one.broken(check=True).items():
            cause = error.__cause__
            why = f"\n  cause: {type(cause).__name__}: {cause}" if cause is not None else ""
            lines.append(f"broken: {one.kind} {name}: {error}{why}")
    return lines


def _misspelt() -> list[str]:
    """Entry-point groups and names of distributions that mean nothing."""
    import importlib_metadata

    from munit_zoo.errors import suggest
    from munit_zoo.registry import CONFIGS, CONTRACTS, allowed_distributions, strange_groups

    groups = [CONFIGS, *(c.group for c in CONTRACTS.values() if c.group)]
    lines = [
        f"broken: {source} has entry points in the group {group!r}, which is none. "
        f"{suggest(group, groups) or 'Groups: ' + ', '.join(groups) + '.'}"
        for group, source in strange_groups()
    ]
    for name in sorted(allowed_distributions() or ()):
        try:
            importlib_metadata.distribution(name)
        except importlib_metadata.PackageNotFoundError:
            lines.append(f"MUNIT_ZOO_PLUGINS names {name}, which is not installed")
    return lines


def new_plugin(chosen: argparse.Namespace) -> None:
    """`munit-zoo new-plugin`."""
    from munit_zoo.scaffold import write_plugin

    files = write_plugin(chosen.name, chosen.out, chosen.kind or ("norm", "loss"))
    for file in files:
        print(file)
    folder = chosen.out / chosen.name
    print(f"\nNext: pip install -e {folder}[test] && pytest {folder}")


def config_help(chosen: argparse.Namespace) -> int:
    """A command without its action."""
    chosen.parser.print_help(sys.stderr)
    return 2


def config_show(chosen: argparse.Namespace) -> None:
    """`munit-zoo config show`."""
    from munit_zoo.config import resolve

    resolved = resolve(chosen.config, chosen.overrides)
    if chosen.plain:
        print(resolved.config.dump(), end="")
        return
    lines = list(_lines(resolved.config, ""))
    width = min(64, max(len(text) for text, _ in lines)) + 2
    for text, path in lines:
        origin = resolved.origins.get(path, "")
        print(f"{text:<{width}}# {origin}" if origin else text)


def _lines(tree: Mapping[str, object], prefix: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """(text, dotted path) of each key."""
    from munit_zoo.config import dump_value

    for key, value in tree.items():
        path = f"{prefix}{key}"
        indent = "  " * depth
        if isinstance(value, Mapping):
            yield f"{indent}{key}:{'' if value else ' {}'}", ""
            yield from _lines(value, f"{path}.", depth + 1)
        else:
            yield f"{indent}{key}: {dump_value(value)}", path


def config_check(chosen: argparse.Namespace) -> None:
    """`munit-zoo config check`: names, types, and one step's shapes on the meta device."""
    from munit_zoo.config import bind, domains_of
    from munit_zoo.engine.contradictions import check_engine
    from munit_zoo.engine.runs import resolve_config
    from munit_zoo.models import rehearse, smallest_size

    resolved = resolve_config(chosen.config, chosen.overrides)
    config = resolved.config
    _print_dropped(resolved)  # first, as it may be why the rest fails
    check_engine(config)
    data = bind("dataset", config.DATA, "DATA")
    datasets = {d.name: data(d, "train") for d in domains_of(config)}
    sizes = {name: dataset.size for name, dataset in datasets.items()}
    for name, metric in config.METRICS.items():
        bind("metric", metric, f"METRICS.{name}")()
    try:
        rehearsal = rehearse(config, sizes)
    except GraphError as error:
        smallest = smallest_size(config)
        if smallest is None or min(map(min, sizes.values())) >= smallest:
            raise
        hint = f"With its stride, the smallest square that works is {smallest}×{smallest}"
        raise GraphError(f"{str(error).rstrip('.')}. {hint}") from error
    shown = ", ".join(f"{name.upper()} {h}×{w}" for name, (h, w) in sizes.items())
    print(f"{chosen.config}: in order, for images of {shown}")
    _print_parameters(rehearsal.parameters)
    _print_updates(rehearsal.objective)
    for name in rehearsal.unreached_networks():
        print(f"frozen, no active term reaches it: {name}")
    if chosen.memory:
        _print_memory(config, rehearsal)
    if chosen.data:
        found = _check_images(data, domains_of(config), every=chosen.data == "all")
        from munit_zoo.engine.setup import stream_of

        stream_of(config, rehearsal.objective, found)  # labels and partners that the recipe reads


def _print_memory(config: Config, rehearsal: Rehearsal) -> None:
    """What training will take, of a whole batch in one process."""
    from munit_zoo.engine.memory import estimate
    from munit_zoo.errors import sized

    found = estimate(config, rehearsal)
    print(
        f"memory of training, in fp32: {sized(found.peak)} of tensors at the most (weights "
        f"{sized(found.weights)}, gradients {sized(found.gradients)}, moments "
        f"{sized(found.moments)}); on the CPU the process takes about {sized(found.total('cpu'))}"
    )


def _print_dropped(resolved: Resolved) -> None:
    """Keys that went with exchanged components, and what became of the model's size."""
    import torch

    from munit_zoo.models import create_model

    for dropped in resolved.dropped:
        print(dropped)
    if not any(dropped.path.split(".")[0] == "MODEL" for dropped in resolved.dropped):
        return
    before = resolved.without_exchange("MODEL")
    if before is not None:
        with contextlib.suppress(MunitZooError), torch.device("meta"):
            sizes = [
                sum(p.numel() for p in create_model(config).parameters()) / 1e6
                for config in (before, resolved.config)
            ]
            print("  parameters before the exchange {:,.2f} M, now {:,.2f} M".format(*sizes))


def _check_images(data: Any, domains: Sequence[Domain], *, every: bool) -> dict[str, Dataset]:
    """Prints what is found in each split of each domain; returns the training split's datasets.

    Raises DataError for unusable images.
    """
    from munit_zoo.errors import DataError, counted

    training: dict[str, Dataset] = {}
    unusable = tried = 0
    for split in ("train", "test"):
        for domain in domains:
            dataset = data(domain, split)
            if every and hasattr(dataset, "check"):
                tally = _Tally()
                wrong = dataset.check(tally)
                tried += tally.count
                for reason in wrong.values():
                    print(f"data {split} {domain.key}: {reason}")
                if wrong and getattr(dataset, "on_bad_image", "error") == "error":
                    unusable += len(wrong)
                    continue
            dataset.prepare()
            training.setdefault(domain.name, dataset)
            known = {k: v for k, v in dataset.describe().items() if v and k != "notes"}
            details = ", ".join(f"{k} {v}" for k, v in known.items())
            print(f"data {split} {domain.key}: {details}")
            for note in getattr(dataset, "notes", ()):
                print(f"  {note}")
    if unusable:
        raise DataError(f"{counted(unusable, 'image')} of {tried} cannot be used, listed above")
    if tried:
        print(f"every image was tried: {tried}")
    return training


class _Tally:
    """Counts images that were tried, on one line of a terminal."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, done: int, count: int) -> None:
        self.count = done
        if sys.stderr.isatty():
            end = "\n" if done == count else ""
            print(f"\r  {done:,} of {count:,} images tried", end=end, file=sys.stderr, flush=True)


def _print_parameters(counts: Mapping[str, int]) -> None:
    """Number of parameters by network; of networks of several domains that are alike, once."""
    print(f"parameters: {sum(counts.values()):,}")
    alike: dict[tuple[str, int], list[str]] = {}
    for path, count in counts.items():
        domain, _, name = path.rpartition(".")
        alike.setdefault((name, count), []).append(domain.upper())
    for (name, count), domains in alike.items():
        if count:
            of = f" ({', '.join(domains)}, each)" if len(domains) > 1 else ""
            only = f" ({domains[0]})" if domains[0] and not of else ""
            print(f"  {name} {count:,}{of}{only}")


def _print_updates(objective: Objective) -> None:
    """What each update computes, and what it takes over."""
    for code in objective.codes(objective.pattern()):
        update = objective.graph.updates[code.index]
        made = ", ".join(operation.slot for operation in code.operations) or "nothing"
        over = f"; takes over {', '.join(code.given)}" if code.given else ""
        print(f"update {update.name}: computes {made}{over}")
        print(f"  terms {', '.join(t.upper() for t in objective.terms_of(code.index))}")


def config_diff(chosen: argparse.Namespace) -> None:
    """`munit-zoo config diff CONFIG [OTHER] [KEY=VALUE …]`."""
    from munit_zoo.config import load_config

    overrides = list(chosen.overrides)
    other = chosen.config
    if overrides and "=" not in overrides[0]:
        other = overrides.pop(0)
    before, after = _flat(load_config(chosen.config)), _flat(load_config(other, *overrides))
    changed = [
        (key, before.get(key), after.get(key))
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    ]
    for key, old, new in changed:
        if old is not None:
            print(f"- {key}: {old}")
        if new is not None:
            print(f"+ {key}: {new}")
    if not changed:
        print("no difference")


def _flat(tree: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = _value(value)
    return found
