"""From older schemas to today's, and what to write where an old key is met in a new place.

A migration works on one file's keys alone: its bases state versions of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from munit_zoo.config._yaml import Node, dump_value
from munit_zoo.errors import Problem

__all__ = ["MIGRATIONS", "SCHEMA_VERSION", "Migration", "retired_key", "retired_value"]

SCHEMA_VERSION = 2

Keys = dict[str, Node]
Migration = Callable[[Keys, bool], tuple[Keys, list[Problem]]]
"""(a file's keys, whether it has a base) to the next version's keys and what cannot be migrated."""


def _to_2(keys: Keys, based: bool) -> tuple[Keys, list[Problem]]:
    """One optimizer for all networks, and others by network; sharing is derived."""
    keys = dict(keys)
    problems: list[Problem] = []
    optim = keys.get("OPTIM")
    if optim is not None and optim.is_map:
        fields, problems = _optim_2(optim.value, based)
        keys["OPTIM"] = Node(fields, optim.origin)
    engine = keys.get("ENGINE")
    if engine is None or engine.is_map:
        fields = dict(engine.value) if engine else {}
        share = fields.get("SHARE")
        if share is not None and share.value == "content":
            fields["SHARE"] = Node("derived", share.origin)
        # averages were taken without it: the numbers stay what they were
        fields.setdefault("EMA_WARMUP", Node(False, "as in schema 1"))
        keys["ENGINE"] = Node(fields, engine.origin if engine else "as in schema 1")
    return keys, problems


def _optim_2(fields: Keys, based: bool) -> tuple[Keys, list[Problem]]:
    fields = dict(fields)
    generator, discriminator = fields.pop("GENERATOR", None), fields.pop("DISCRIMINATOR", None)
    if generator is not None:
        fields["DEFAULT"] = generator
    same = (
        generator is not None
        and discriminator is not None
        and generator.plain() == discriminator.plain()
    )
    if discriminator is not None and (based or not same):
        fields["NETWORKS"] = Node({"DISCRIMINATOR": discriminator}, discriminator.origin)
    alone = _only_the_generators(generator, discriminator)
    if generator is None or not alone:
        return fields, []
    theirs = [f"{key}: …" for key in alone]
    if discriminator is not None and discriminator.is_map:
        theirs += [f"{k}: {dump_value(v)}" for k, v in discriminator.plain().items()]
    own = f"NETWORKS: {{DISCRIMINATOR: {{{', '.join(theirs)}}}}}"
    message = (
        f"in schema 1 the discriminators kept their own {', '.join(alone)}; now each network takes "
        f"what OPTIM.DEFAULT says. Write SCHEMA_VERSION: {SCHEMA_VERSION} and "
        f"OPTIM: {{DEFAULT: {dump_value(generator.plain())}, {own}}} with the discriminators' "
        "values, or without NETWORKS where they are to be the same"
    )
    return fields, [Problem("OPTIM.GENERATOR", message, generator.origin)]


def _only_the_generators(generator: Node | None, discriminator: Node | None) -> list[str]:
    """Keys that a layer sets for the generators, and that inheritance would give to the others."""
    if generator is None or not generator.is_map:
        return []
    theirs = discriminator.value if discriminator is not None and discriminator.is_map else {}
    names = [part["NAME"].value for part in (generator.value, theirs) if "NAME" in part]
    if len(names) == 2 and names[0] != names[1]:
        return []  # another optimizer takes nothing of the default's
    return [key for key in generator.value if key not in theirs]


MIGRATIONS: Mapping[int, Migration] = {1: _to_2}


# Old keys in new places: overrides, and files that say they are of today's schema


def retired_key(path: str, node: Node) -> str | None:
    """What to write instead of a key that former schemas had; None for any other."""
    if path == "OPTIM.GENERATOR":
        return (
            "is no more: OPTIM.DEFAULT is every network's optimizer, OPTIM.NETWORKS has those that "
            f"differ. Write {_written('OPTIM.DEFAULT', node)}; where the discriminators are to "
            "keep what they have, say that, too, in OPTIM.NETWORKS.DISCRIMINATOR"
        )
    if path == "OPTIM.DISCRIMINATOR":
        return f"is no more: write {_written('OPTIM.NETWORKS.DISCRIMINATOR', node)}"
    return None


def retired_value(path: str, value: object) -> str | None:
    """What to write instead of a value that former schemas had; None for any other."""
    if path == "ENGINE.SHARE" and value == "content":
        return "`content` is now `derived`, which shares whatever is equal, content codes first"
    return None


def _written(path: str, node: Node) -> str:
    """A node below another path: as overrides where it was one, else as YAML."""
    if node.origin.startswith("override"):
        return " ".join(f"{key}={dump_value(value)}" for key, value in _leaves(node.plain(), path))
    *outer, last = path.split(".")
    text = f"{last}: {dump_value(node.plain())}"
    for word in reversed(outer):
        text = f"{word}: {{{text}}}"
    return text


def _leaves(tree: object, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(tree, dict) and tree:
        for key, child in tree.items():
            yield from _leaves(child, f"{path}.{key}")
    else:
        yield path, tree
