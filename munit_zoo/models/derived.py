"""Names that every recipe has without writing them: another name under other circumstances.

    again_x_ab      x_ab with all random inputs behind it drawn once more (again_z_b, …)
    features_d_ab   what the layers of the discriminators that compute d_ab give
    between_d_ab    what is said of images between the fakes of d_ab and their reals (between_x_ab)

They are read like any other, by a term's PAIRS; what a recipe writes out itself wins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from munit_zoo.errors import ContractError
from munit_zoo.inputs import Draw, Image
from munit_zoo.models.recipe import Critic
from munit_zoo.models.views import View

if TYPE_CHECKING:  # a graph asks this module for names that it does not have
    from munit_zoo.models.graph import Graph

__all__ = ["derive"]

Method = Callable[..., object]


def derive(graph: Graph, name: str) -> str | None:
    """Add a derived name, with what it is computed from, to a graph that does not have it.

    Returns why it cannot be had, "" for a name that is not derived; None where it was added.
    """
    word, _, stem = name.partition("_")
    make = {"again": _again, "features": _features, "between": _between}.get(word)
    if make is None or (stem not in graph.nodes and stem not in graph.inputs):
        return ""
    return make(graph, stem)


# Drawn again


def _again(graph: Graph, stem: str) -> str | None:
    random = {name for name in graph.needs([stem]) if isinstance(graph.inputs.get(name), Draw)}
    if not random:
        return f"nothing random is behind {stem!r}: drawn again it is the same"
    for name in random:
        graph.inputs.setdefault(f"again_{name}", graph.inputs[name])
    behind = [n for n in graph.nodes if n in graph.needs([stem]) and graph.needs([n]) & random]
    again = {name: f"again_{name}" for name in (*random, *behind)}
    for name in behind:
        node = graph.nodes[name]
        arguments = tuple(again.get(argument, argument) for argument in node.arguments)
        graph.nodes.setdefault(again[name], replace(node, name=again[name], arguments=arguments))
    return None


# Features


@dataclass(frozen=True)
class _Features:
    """What the discriminators' layers give, of all scales, in one list."""

    method: Method
    name: str

    def __call__(self, view: View, *arguments: object) -> list[Tensor]:
        found: list[Tensor] = []
        self.method(view.through(lambda _, network: _Recorder(network, found)), *arguments)
        if not found:
            raise ContractError(
                f"features_{self.name}: what computes {self.name} shows no features; a "
                "discriminator does by a method activations(x), which returns per scale a list of "
                "what each layer gives, the logits last"
            )
        return found


class _Recorder:
    """A network whose layers' outputs, where it shows them, are added to a list."""

    def __init__(self, network: Any, found: list[Tensor]) -> None:
        self._network, self._found = network, found

    def __call__(self, *arguments: object) -> Any:
        if not hasattr(self._network, "activations"):
            return self._network(*arguments)
        scales = self._network.activations(*arguments)
        self._found += [layer for scale in scales for layer in scale[:-1]]
        return [scale[-1] for scale in scales]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)


def _features(graph: Graph, stem: str) -> str | None:
    node = graph.nodes.get(stem)
    if node is None:
        return f"{stem!r} is an input: no network computes it"
    graph.nodes[f"features_{stem}"] = replace(
        node, name=f"features_{stem}", method=_Features(node.method, stem)
    )
    return None


# Between fakes and reals


def _mixed(_: View, x: Tensor, y: Tensor, share: Tensor) -> Tensor:
    """Somewhere on the line between a fake and a real image."""
    share = share.to(x.dtype)[:, None, None, None]
    return share * y + (1 - share) * x


def _between(graph: Graph, stem: str) -> str | None:
    for update in graph.updates:
        for entry in (entry for some in update.terms.values() for entry in some):
            if not isinstance(entry, Critic) or not {entry.fake, entry.real} <= set(graph.nodes):
                continue
            fake, real = graph.nodes[entry.fake], graph.nodes[entry.real]
            pairs = [(x, y) for x, y in zip(fake.arguments, real.arguments, strict=False) if x != y]
            like = len(fake.arguments) == len(real.arguments) and all(
                isinstance(graph.inputs.get(y), Image) for _, y in pairs
            )
            if not like or stem not in (entry.fake, *(x for x, _ in pairs)):
                continue
            for x, y in pairs:
                share, mixed = f"between_{x}_{y}", f"between_{x}"
                graph.inputs.setdefault(share, Draw("uniform"))
                node = replace(
                    fake, name=mixed, method=_mixed, arguments=(x, y, share), exchanged=False
                )
                graph.nodes.setdefault(mixed, node)
            mixes = {x: f"between_{x}" for x, _ in pairs}
            judged = f"between_{entry.fake}"
            arguments = tuple(mixes.get(argument, argument) for argument in fake.arguments)
            graph.nodes.setdefault(judged, replace(fake, name=judged, arguments=arguments))
            return None
    return f"{graph.title} judges {stem!r} against no images that lie opposite: nothing is between"
