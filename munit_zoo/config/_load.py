"""Loading: a file with its bases and overrides, resolved, checked and frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from munit_zoo.config._library import find_config, require_sound_plugins
from munit_zoo.config._migrations import MIGRATIONS, SCHEMA_VERSION
from munit_zoo.config._node import Config
from munit_zoo.config._resolve import Dropped, Resolution, lay_over, resolve_layers, resolve_one
from munit_zoo.config._schema import ROOT, MapOf, Schema, Section, Value, coerce, of_settings
from munit_zoo.config._yaml import DEEPEST, Node, node_from, parse_override, read_yaml
from munit_zoo.config.settings import EngineSettings, UpdateSettings
from munit_zoo.domains import Domain
from munit_zoo.errors import (
    ComponentError,
    ConfigError,
    ContractError,
    Problem,
    an,
    quoted,
    shortened,
)
from munit_zoo.registry import LOSSES, MODELS, REGISTRIES, Entry, Factory, TermUse

__all__ = [
    "Resolved",
    "bind",
    "domains_of",
    "engine_settings",
    "free_on_resume",
    "load_config",
    "resolve",
    "resolve_component",
    "resolve_data",
    "update_settings",
]

MOST_FILES = 200
"""Files of a config, its bases among them: far above what is needed, far below what takes long."""


@dataclass(frozen=True)
class Resolved:
    """A config and how it came about.

    config: the frozen tree.
    origins: per dotted path the file and line, override or `default` that gave the value.
    components: per dotted path of a component its entry: whose it is, and which version.
    dropped: keys that were set below, for components that were exchanged.
    """

    config: Config
    origins: Mapping[str, str]
    components: Mapping[str, Entry]
    dropped: Sequence[Dropped] = ()
    layers: Sequence[Node] = field(default=(), repr=False)

    def without_exchange(self, section: str) -> Config | None:
        """The config as it was below the layer that first exchanged a component of a section.

        None where nothing was exchanged, or what lies below is no config of its own.
        """
        for count in range(1, len(self.layers)):
            dropped = resolve_layers(self.layers[: count + 1]).dropped
            if any(path.split(".")[0] == section for path in dropped):
                below = resolve_layers(self.layers[:count])
                return None if below.problems else Config(below.values)
        return None


def load_config(source: str, *overrides: str) -> Config:
    """The config of a shipped name (`munit/shapes`) or a path (`mine.yaml`).

    overrides: `KEY=VALUE`, the key dotted and the value as YAML (`LOSSES.CYCLE.WEIGHT=10`,
    `MODEL.DECODER={NAME: resnet}`, `LOSSES.PERCEPTUAL=null`).
    Raises ConfigError that lists every problem of the config.
    """
    return resolve(source, overrides).config


def resolve(source: str, overrides: Sequence[str] = ()) -> Resolved:
    """As `load_config`, with the origin of each value."""
    require_sound_plugins()
    problems: list[Problem] = []
    path, label = find_config(source)
    layers = _file_layers(path, label, [], [], problems)
    layers += _override_layers(overrides, problems)
    return _finish(layers, problems, label)


def resolve_data(
    data: Mapping[str, object], overrides: Sequence[str] = (), *, origin: str
) -> Resolved:
    """The config of a tree of Python data, such as an imported or a saved one.

    origin: where the data comes from, for messages.
    """
    require_sound_plugins()
    problems: list[Problem] = []
    keys = node_from({"SCHEMA_VERSION": SCHEMA_VERSION, **data}, origin).value
    layers = [Node(_migrated(keys, origin, problems, based=False), origin)]
    layers += _override_layers(overrides, problems)
    return _finish(layers, problems, origin)


def _finish(layers: Sequence[Node], problems: list[Problem], label: str) -> Resolved:
    result = resolve_layers(layers)
    problems += result.problems
    problems += _built_problems(result)
    problems += _recipe_problems(result.values, result.origins)
    if problems:
        raise ConfigError(problems, source=label, notes=[str(lost) for lost in result.lost()])
    config = Config(result.values)
    return Resolved(config, result.origins, result.components, result.lost(), tuple(layers))


def _built_problems(result: Resolution) -> list[Problem]:
    """What optimizers and schedules, which are built from their settings alone, say of these."""
    found = []
    for path, entry in result.components.items():
        told = any(f"{p.path}.".startswith(f"{path}.") for p in result.problems)
        if entry.kind not in ("optimizer", "schedule") or told:
            continue
        node: Any = result.values
        for key in path.split("."):
            node = node[key]
        try:
            bind(entry.kind, node)()
        except ContractError as error:
            found.append(Problem(path, str(error), result.origins.get(f"{path}.NAME", "")))
    return found


def _recipe_problems(values: Mapping[str, Any], origins: Mapping[str, str]) -> list[Problem]:
    """What the recipe says of its domains and loss terms, where these could be read."""
    try:
        recipe: Any = MODELS.get(values["MODEL"]["NAME"] or "")
        terms = {
            name.lower(): TermUse(LOSSES.get(term["NAME"]), term["PAIRS"], term["UPDATES"])
            for name, term in values["LOSSES"].items()
            if term["NAME"] in LOSSES
        }
    except (ComponentError, KeyError, TypeError):
        return []  # named already
    names = tuple(name.lower() for name in values["DOMAINS"])
    problems = []
    for path, message in recipe.check_config(names, terms):
        origin = origins.get(path, "default")
        if origin == "default":  # where the term itself was written
            origin = origins.get(f"{path.rpartition('.')[0]}.NAME", "")
        problems.append(Problem(path, message, origin))
    return problems


def _file_layers(
    path: Path,
    label: str,
    chain: list[tuple[Path, str]],
    files: list[Path],
    problems: list[Problem],
) -> list[Node]:
    """A file's layers, its bases' first. chain: the files that it is a base of. files: all that
    were read so far."""
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, a name with a zero
        raise ConfigError([Problem("", f"{label} cannot be read: {error}")], source=label) from None
    if real in [seen for seen, _ in chain]:
        cycle = " -> ".join([*(seen for _, seen in chain), label])
        raise ConfigError([Problem("_BASE_", f"the files form a cycle: {cycle}")], source=label)
    chain = [*chain, (real, label)]
    files.append(real)
    if len(files) > MOST_FILES:
        message = f"more than {MOST_FILES} files lie below, each counted as often as it is named"
        raise ConfigError([Problem("_BASE_", message)], source=chain[0][1])
    tree = read_yaml(path, label)
    if not tree.is_map:
        raise ConfigError([Problem("", "is not a map of keys", label)], source=label)
    keys = dict(tree.value)
    base = keys.pop("_BASE_", None)
    keys = _migrated(keys, label, problems, based=base is not None)
    layers: list[Node] = []
    for name in _base_names(base, problems):
        below, below_label = _base_file(name, path, label, base.origin if base else "")
        layers += _file_layers(below, below_label, chain, files, problems)
    return [*layers, Node(keys, tree.origin)]


def _base_names(base: Node | None, problems: list[Problem]) -> list[str]:
    if base is None:
        return []
    try:
        names = coerce(str | tuple[str, ...], base.plain())
    except ValueError as error:
        problems.append(Problem("_BASE_", str(error), base.origin))
        return []
    names = (names,) if isinstance(names, str) else names
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(Problem("_BASE_", f"lists {quoted(name)} twice", base.origin))
    return list(dict.fromkeys(names))


def _base_file(name: str, path: Path, label: str, origin: str) -> tuple[Path, str]:
    if not name.endswith((".yaml", ".yml", ".py")):
        return find_config(name)
    target = path.parent / name
    # Shown relative to what the user named: shipped files have no path of their own to show.
    shown = (Path(label).parent / name).as_posix()
    parts: list[str] = []
    for part in shown.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    try:
        missing = target.suffix in (".yaml", ".yml") and not target.is_file()
    except (OSError, ValueError):  # too long a name, or one with a zero
        missing = True
    if missing:
        looked = "/".join(parts)
        looked = f" (looked for {looked})" if len(looked) < 200 else ""
        message = f"the base file {quoted(name)} does not exist{looked}"
        raise ConfigError([Problem("_BASE_", message, origin)], source=label)
    return target, "/".join(parts)


def _migrated(
    keys: dict[str, Node], label: str, problems: list[Problem], *, based: bool
) -> dict[str, Node]:
    """A file's keys in today's form. based: whether it has a base."""
    version = keys.get("SCHEMA_VERSION")
    if version is None:
        message = f"is missing. Each config file states it: SCHEMA_VERSION: {SCHEMA_VERSION}"
        problems.append(Problem("SCHEMA_VERSION", message, label))
        return {**keys, "SCHEMA_VERSION": Node(SCHEMA_VERSION, label)}
    number = version.value
    if isinstance(number, bool) or not isinstance(number, int):
        return keys  # the schema names the wrong type
    if not 1 <= number <= SCHEMA_VERSION:
        message = f"is {number}; this munit_zoo reads 1 to {SCHEMA_VERSION}"
        if number > SCHEMA_VERSION:
            message += ". Install a newer munit-zoo"
        problems.append(Problem("SCHEMA_VERSION", message, version.origin))
        return keys
    for old in range(number, SCHEMA_VERSION):
        keys, found = MIGRATIONS[old](keys, based)
        problems += found
    return {**keys, "SCHEMA_VERSION": Node(SCHEMA_VERSION, version.origin)}


def _override_layers(overrides: Sequence[str], problems: list[Problem]) -> list[Node]:
    """One layer an override, so that a later one can change the NAME an earlier one's keys need."""
    layers: list[Node] = []
    domains: list[Node] = []
    for text in overrides:
        key, equals, value = text.partition("=")
        words = key.strip().split(".")
        if not equals or not all(words) or len(words) > DEEPEST:
            message = f"an override is KEY=VALUE with a dotted key, got {quoted(text)}"
            problems.append(Problem("", message))
            continue
        try:
            node = parse_override(value, f"override {shortened(text, 200)}")
        except ConfigError as error:
            problems += [
                Problem(f"{key}.{p.path}".strip("."), p.message, p.origin) for p in error.problems
            ]
            continue
        if words == ["SCHEMA_VERSION"] and node.value != SCHEMA_VERSION:
            message = f"is a file's own; an override is of schema {SCHEMA_VERSION}. Leave it out"
            problems.append(Problem("SCHEMA_VERSION", message, node.origin))
            continue
        for word in reversed(words):
            node = Node({word: node}, node.origin)
        below = node.value.get("DOMAINS")
        (domains if below is not None and below.is_map else layers).append(node)
    # those of DOMAINS are one layer, which may list all of them anew
    return [*layers, lay_over(domains, keep_null=True)] if domains else layers


def resolve_component(kind: str, data: Mapping[str, object]) -> Config:
    """One component's node: its NAME and every key, checked and with defaults.

    Raises ConfigError that lists every problem.
    """
    result = resolve_one(kind, node_from(data, "given"))
    if result.problems:
        raise ConfigError(result.problems, source=f"of {an(kind)}")
    return Config(result.values)


def bind(kind: str, node: Mapping[str, Any], path: str = "") -> Factory:
    """The component that a resolved node describes, as a factory with its settings bound.

    path: dotted path of the node, with which errors of building the component begin.
    Keys that belong to the node's place and not to the component (a term's WEIGHT) are left out.
    """
    registry = REGISTRIES[kind]
    name = node["NAME"]
    settings: dict[str, Any] = {}
    for key, setting in registry.signature(name).settings.items():
        value = node[key]
        if setting.slot:
            value = bind(setting.slot, value, f"{path}.{key}" if path else "")
        elif isinstance(value, Mapping):
            value = Config(value).plain()
        settings[setting.name] = value
    return replace(registry.bind(name, **settings), place=path)


def engine_settings(config: Config) -> EngineSettings:
    """ENGINE of a resolved config, typed."""
    return EngineSettings(**_lower(config.ENGINE.plain()))


def update_settings(config: Config) -> dict[str, UpdateSettings]:
    """UPDATES of a resolved config, typed, by the update's name in lower case."""
    return {
        name.lower(): UpdateSettings(**_lower(node.plain()))
        for name, node in config.UPDATES.items()
    }


def _lower(tree: Mapping[str, object]) -> dict[str, Any]:
    return {key.lower(): value for key, value in tree.items()}


def free_on_resume(config: Config) -> frozenset[str]:
    """Dotted paths of the keys that may be others when a run of this config is resumed: those
    marked MAY_CHANGE where they are declared, in ENGINE's settings or a component's signature."""
    return frozenset(_free(ROOT, config, ""))


def _free(schema: Schema, value: object, path: str) -> Iterator[str]:
    if isinstance(schema, Value):
        if schema.may_change:
            yield path
        return
    if not isinstance(value, Mapping):
        return
    if isinstance(schema, MapOf):
        fields: Mapping[str, Schema] = dict.fromkeys(value, schema.item)
    elif isinstance(schema, Section):
        fields = schema.fields
    else:
        signature = REGISTRIES[schema.kind].signature(value["NAME"])
        fields = {**schema.own, **of_settings(signature.settings)}
    for key, child in fields.items():
        if key in value:
            yield from _free(child, value[key], f"{path}.{key}".lstrip("."))


def domains_of(config: Config) -> tuple[Domain, ...]:
    """The domains of a resolved config, in its order."""
    names = tuple(name.lower() for name in config.DOMAINS)
    return tuple(
        Domain(name.lower(), settings.CHANNELS, settings.VALUE_RANGE, index, names)
        for index, (name, settings) in enumerate(config.DOMAINS.items())
    )
