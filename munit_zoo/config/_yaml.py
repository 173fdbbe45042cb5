"""YAML files as trees that remember where each value was written.

Stricter than PyYAML: duplicate keys, tags and keys that are not words are errors; scalars are read
as in YAML 1.2 (only true and false are booleans, `1e-4` is a float, no dates, no base 60).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from munit_zoo.errors import ConfigError, Problem, quoted
from munit_zoo.registry import SlotDefault

__all__ = [
    "DEEPEST",
    "Node",
    "dump",
    "dump_value",
    "node_from",
    "parse_override",
    "parse_text",
    "read_yaml",
]

_SCALARS: tuple[tuple[str, str, str], ...] = (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN\0"),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    (
        "float",
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"
        r"|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$",
        "-+0123456789.",
    ),
)

_YAML = "tag:yaml.org,2002:"
_WRITTEN = {name: re.compile(pattern) for name, pattern, _ in _SCALARS}

# Far above what a config needs, and below what takes long, much memory or deep recursion
MOST_BYTES = 1 << 20
MOST_VALUES = 100_000
DEEPEST = 64


@dataclass(frozen=True)
class Node:
    """A value of a config and where it was written.

    value: a dict of nodes, or plain data (scalar or list).
    origin: `file:line`, `command line` or a default's owner.
    """

    value: Any
    origin: str

    @property
    def is_map(self) -> bool:
        return isinstance(self.value, dict)

    def plain(self) -> Any:
        """The data without origins."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        return self.value


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's scalars; only its composer is used, it constructs nothing."""


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads back unchanged."""

    def ignore_aliases(self, data: object) -> bool:
        return True


for _class in (_Loader, _Dumper):
    _class.yaml_implicit_resolvers = {}
    for _name, _pattern, _first in _SCALARS:
        # PyYAML looks an empty scalar up under ""
        letters = ["" if letter == "\0" else letter for letter in _first]
        _class.add_implicit_resolver(f"{_YAML}{_name}", re.compile(_pattern), letters)
_Dumper.add_representer(tuple, lambda dumper, data: dumper.represent_list(data))


def read_yaml(path: Path, label: str) -> Node:
    """The tree of a YAML file.

    label: how messages call the file. Raises ConfigError for a file that cannot be read, is not
    YAML or breaks the rules above; all broken rules of a file are reported together.
    """
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(
            [
                Problem(
                    "",
                    f"{label} is not a .yaml or .yml file. A config is data and is never "
                    "executed; local code comes in by `--plugin FILE.py`.",
                )
            ],
            source=label,
        )
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError(f"it is larger than the {MOST_BYTES >> 20} MiB that a config may be")
        text = data.decode("utf-8")
    except FileNotFoundError:
        raise ConfigError([Problem("", f"there is no file {label}")], source=label) from None
    except (OSError, ValueError) as error:
        raise ConfigError([Problem("", f"{label} cannot be read: {error}")], source=label) from None
    return parse_text(text, label)


def parse_text(text: str, label: str, *, lines: bool = True) -> Node:
    """The tree of a YAML text; `lines` adds the line number to each origin."""
    try:
        _check_depth(text)
        composed = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{label}:{mark.line + 1}" if mark and lines else label
        reason = getattr(error, "problem", None) or str(error)
        raise ConfigError([Problem("", f"is not YAML: {reason}", where)], source=label) from None
    except (ValueError, OverflowError) as error:  # PyYAML's own, of escapes that are no character
        raise ConfigError([Problem("", f"is not YAML: {error}", label)], source=label) from None
    if composed is None:
        return Node({}, label)
    reader = _Reader(label, lines)
    tree = reader.read(composed)
    if reader.problems:
        raise ConfigError(reader.problems, source=label)
    return tree


def _check_depth(text: str) -> None:
    """Raises YAMLError where collections stand too deep in each other, before they are composed."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise ValueError(f"line {line} is nested more than {DEEPEST} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Reader:
    """From PyYAML's nodes to ours, without what YAML allows beyond plain data.

    Aliases are copied, as often as they are named: their number is bounded, and one within what it
    stands for is refused.
    """

    def __init__(self, label: str, lines: bool) -> None:
        self.label, self.lines = label, lines
        self.problems: list[Problem] = []
        self.count = 0
        self.inside: set[int] = set()

    def read(self, composed: yaml.Node) -> Node:
        return self.node(composed, "")

    def origin(self, node: yaml.Node) -> str:
        return f"{self.label}:{node.start_mark.line + 1}" if self.lines else self.label

    def problem(self, path: str, message: str, node: yaml.Node) -> Node:
        self.problems.append(Problem(path, message, self.origin(node)))
        return Node(None, self.origin(node))

    def node(self, node: yaml.Node, path: str) -> Node:
        self.count += 1
        if self.count > MOST_VALUES:
            message = f"holds more than {MOST_VALUES:,} values, each copy of an alias counted"
            raise ConfigError([Problem("", message, self.label)], source=self.label)
        kind = node.tag.removeprefix(_YAML)
        scalar = isinstance(node, yaml.ScalarNode)
        if kind not in ((*_WRITTEN, "str") if scalar else ("map", "seq")):
            return self.problem(
                path, f"the tag {node.tag!r} is not allowed; write plain data", node
            )
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, kind, path)
        if id(node) in self.inside:
            return self.problem(path, "is an alias of what it stands in", node)
        if len(self.inside) >= DEEPEST:
            return self.problem(path, f"is nested more than {DEEPEST} deep", node)
        self.inside.add(id(node))
        value: object
        if isinstance(node, yaml.MappingNode):
            value = self.mapping(node, path)
        else:
            value = [self.node(item, path).plain() for item in node.value]
        self.inside.remove(id(node))
        return Node(value, self.origin(node))

    def scalar(self, node: yaml.ScalarNode, kind: str, path: str) -> Node:
        text = str(node.value)
        if kind != "str" and not _WRITTEN[kind].match(text):
            return self.problem(path, f"{quoted(text)} is no {kind}", node)
        if len(text) > 1000 and kind == "int":  # more digits than Python turns into a number
            return self.problem(path, f"is a number of {len(text)} digits", node)
        return Node(_scalar(text, kind), self.origin(node))

    def mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Node]:
        children: dict[str, Node] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str) or not key or key_node.tag.endswith((":null", ":bool")):
                self.problem(path, "a key is a word", key_node)
                continue
            dotted = f"{path}.{key}".lstrip(".")
            if key in children:
                first = children[key].origin
                self.problem(dotted, f"is written twice (first at {first})", key_node)
                continue
            child = self.node(value_node, dotted)
            children[key] = Node(child.value, self.origin(key_node))
        return children


def _scalar(text: str, kind: str) -> object:
    if kind == "str":
        return text
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        base = 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10
        return int(text, base)
    # a float; Python spells `.inf` and `.nan` without the dot
    return float(re.sub(r"\.(?=[in])", "", text.lower()))


def parse_override(text: str, label: str) -> Node:
    """The value of `KEY=VALUE` on a command line: YAML, in which a plain word may hold ` #`.

    A comment has no place there, and a path may (`/data/set #2`).
    """
    if not text.strip():
        return Node(None, label)
    if re.search(r"(?:^|\s)#", text):
        try:
            _check_depth(text)
            composed = yaml.compose(text, Loader=_Loader)
        except (yaml.YAMLError, ValueError, OverflowError):
            composed = None
        plain = isinstance(composed, yaml.ScalarNode) and composed.style is None
        if plain or not text[: text.index("#")].strip():
            return Node(text.strip(), label)
    return parse_text(text, label, lines=False)


def node_from(value: object, origin: str) -> Node:
    """A tree from Python data; a slot's default becomes the component it names."""
    if isinstance(value, SlotDefault):
        settings = {key.upper(): setting for key, setting in value.settings.items()}
        return node_from({"NAME": value.name, **settings}, origin)
    if isinstance(value, Mapping):
        return Node({str(k): node_from(v, origin) for k, v in value.items()}, origin)
    if isinstance(value, (tuple, list)):
        return Node([node_from(item, origin).plain() for item in value], origin)
    return Node(value, origin)


def dump_value(value: object) -> str:
    """A scalar or list as YAML in one line."""
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("...\n").strip()


def dump(plain: Mapping[str, object]) -> str:
    """YAML text that reads back as `plain` (tuples as lists)."""
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=100)
