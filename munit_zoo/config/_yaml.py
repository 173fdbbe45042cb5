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

from munit_zoo.errors import ConfigError, Problem
from munit_zoo.registry import SlotDefault

__all__ = ["Node", "dump", "dump_value", "node_from", "parse_text", "read_yaml"]

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
_TAGS = ("map", "seq", "str", *(name for name, _, _ in _SCALARS))


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

    def ignore_aliases(self, data: Any) -> bool:
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
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError([Problem("", f"there is no file {label}")], source=label) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem("", f"{label} cannot be read: {error}")], source=label) from None
    return parse_text(text, label)


def parse_text(text: str, label: str, *, lines: bool = True) -> Node:
    """The tree of a YAML text; `lines` adds the line number to each origin."""
    problems: list[Problem] = []

    def origin(node: yaml.Node) -> str:
        return f"{label}:{node.start_mark.line + 1}" if lines else label

    def convert(node: yaml.Node, path: str) -> Node:
        if node.tag.rpartition(":")[2] not in _TAGS or not node.tag.startswith(_YAML):
            message = f"the tag {node.tag!r} is not allowed; write plain data"
            problems.append(Problem(path, message, origin(node)))
            return Node(None, origin(node))
        if isinstance(node, yaml.MappingNode):
            return Node(mapping(node, path), origin(node))
        if isinstance(node, yaml.SequenceNode):
            return Node([convert(item, path).plain() for item in node.value], origin(node))
        return Node(_scalar(node), origin(node))

    def mapping(node: yaml.MappingNode, path: str) -> dict[str, Node]:
        children: dict[str, Node] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str) or not key or key_node.tag.endswith((":null", ":bool")):
                problems.append(Problem(path, "a key is a word", origin(key_node)))
                continue
            dotted = f"{path}.{key}".lstrip(".")
            if key in children:
                first = children[key].origin
                problems.append(
                    Problem(dotted, f"is written twice (first at {first})", origin(key_node))
                )
                continue
            child = convert(value_node, dotted)
            children[key] = Node(child.value, origin(key_node))
        return children

    try:
        composed = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{label}:{mark.line + 1}" if mark and lines else label
        reason = getattr(error, "problem", None) or str(error)
        raise ConfigError([Problem("", f"is not YAML: {reason}", where)], source=label) from None
    tree = convert(composed, "") if composed is not None else Node({}, label)
    if problems:
        raise ConfigError(problems, source=label)
    return tree


def _scalar(node: yaml.Node) -> Any:
    kind = node.tag.rpartition(":")[2]
    text = str(node.value)
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


def node_from(value: Any, origin: str) -> Node:
    """A tree from Python data; a slot's default becomes the component it names."""
    if isinstance(value, SlotDefault):
        settings = {key.upper(): setting for key, setting in value.settings.items()}
        return node_from({"NAME": value.name, **settings}, origin)
    if isinstance(value, Mapping):
        return Node({str(k): node_from(v, origin) for k, v in value.items()}, origin)
    if isinstance(value, (tuple, list)):
        return Node([node_from(item, origin).plain() for item in value], origin)
    return Node(value, origin)


def dump_value(value: Any) -> str:
    """A scalar or list as YAML in one line."""
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("...\n").strip()


def dump(plain: Mapping[str, Any]) -> str:
    """YAML text that reads back as `plain` (tuples as lists)."""
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=100)
