"""Networks as a config calls them: OPTIM.NETWORKS and ENGINE.EMA_NETWORKS name a recipe's.

A network's path is `a.discriminator`; a config writes it A_DISCRIMINATOR, or DISCRIMINATOR for that
of every domain. The longer name wins. A criterion with parameters of its own goes by its term's
name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from munit_zoo.config._node import Config
from munit_zoo.errors import Problem, suggest

__all__ = ["entry_of", "names_of", "network_problems"]

T = TypeVar("T")


def names_of(network: str) -> tuple[str, ...]:
    """What a config may call a network, what wins first: `a.discriminator` is A_DISCRIMINATOR and
    DISCRIMINATOR."""
    return tuple(dict.fromkeys((network.replace(".", "_").upper(), network.split(".")[-1].upper())))


def entry_of(entries: Mapping[str, T], network: str, default: T) -> T:
    """The entry of a map by network's names that is meant for a network.

    entries: OPTIM.NETWORKS or ENGINE.EMA_NETWORKS. network: its path, or a term's name.
    """
    return next((entries[name] for name in names_of(network) if name in entries), default)


def network_problems(
    config: Config, networks: Iterable[str], criteria: Iterable[str] = ()
) -> Iterator[Problem]:
    """Names in a config that mean no network, with the nearest that do.

    networks: paths of the recipe's networks. criteria: names of the terms whose criteria have
    parameters of their own.
    """
    paths = list(networks)
    known = list(dict.fromkeys(name for path in paths for name in reversed(names_of(path))))
    trained = [*known, *(name.upper() for name in criteria)]
    for place, entries, allowed in (
        ("OPTIM.NETWORKS", config.OPTIM.NETWORKS, trained),
        ("ENGINE.EMA_NETWORKS", config.ENGINE.EMA_NETWORKS, known),
    ):
        for name in entries:
            if name not in allowed:
                hint = suggest(name, allowed) or f"Networks: {', '.join(allowed)}."
                message = f"{config.MODEL.NAME} has no network of this name. {hint}"
                yield Problem(f"{place}.{name}", message)
