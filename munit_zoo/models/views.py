"""A recipe as its tensor methods see it, and networks that let gradients through unchanged.

`self.a.content_encoder` is a domain's network, `self.generator` one that domains share,
`self.frozen.generator(x)` the same with a gradient to x and none into it; with the domains
exchanged, `self.a` is b's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from types import MethodType, SimpleNamespace
from typing import Any

from torch import nn

__all__ = ["Choose", "View", "frozen_twin", "views"]

Choose = Callable[[str, bool], Any]
"""From a network's path, and whether it is called frozen, to what is called."""


class View:
    """A recipe with networks as `choose(path, frozen)` has them; all else is the recipe's own."""

    frozen: View

    def __init__(
        self,
        recipe: object,
        paths: Mapping[str, nn.Module],
        exchanged: bool,
        choose: Choose,
        frozen: bool = False,
    ) -> None:
        own = self.__dict__
        for path in paths:
            top, _, part = path.partition(".")
            seen = _exchanged(recipe, top) if exchanged else top
            if part:
                setattr(own.setdefault(seen, SimpleNamespace()), part, choose(path, frozen))
            else:
                own[seen] = choose(path, frozen)
        own["_recipe"], own["_is_exchanged"] = recipe, exchanged
        own["_paths"], own["_choose"], own["_is_frozen"] = paths, choose, frozen
        if not frozen:
            own["frozen"] = View(recipe, paths, exchanged, choose, frozen=True)

    def network(self, path: str) -> Any:
        """A network by its path, as methods call it."""
        return self.__dict__["_choose"](path, False)

    def through(self, wrap: Callable[[str, Any], Any]) -> View:
        """The same, with each network as `wrap(path, network)` makes it."""
        own = self.__dict__
        choose = own["_choose"]
        return View(
            own["_recipe"],
            own["_paths"],
            own["_is_exchanged"],
            lambda path, frozen: wrap(path, choose(path, frozen)),
            own["_is_frozen"],
        )

    def __getattr__(self, name: str) -> Any:
        recipe = self.__dict__["_recipe"]
        if self.__dict__["_is_exchanged"]:
            other = recipe.graph().exchange(name)
            name = other if hasattr(recipe, other) else name
        value = getattr(recipe, name)
        return MethodType(value.__func__, self) if isinstance(value, MethodType) else value


def _exchanged(recipe: Any, top: str) -> str:
    """A domain's letter, or a network's name, with the two domains exchanged."""
    graph = recipe.graph()
    if graph.mirror is not None and top in graph.mirror:
        first, second = graph.mirror
        return str(second if top == first else first)
    return str(graph.exchange(top))


def views(recipe: Any, choose: Choose | None = None) -> tuple[View, View]:
    """A recipe as its methods see it: as it is, and with its domains exchanged.

    choose: as `View` takes it; by default the networks themselves, frozen or not (for use without
    gradients).
    """
    paths = recipe.networks()
    chosen: Choose = choose or (lambda path, frozen: paths[path])
    plain = View(recipe, paths, False, chosen)
    if recipe.graph().mirror is None:
        return plain, plain
    return plain, View(recipe, paths, True, chosen)


def frozen_twin(network: nn.Module) -> nn.Module:
    """The same network on the same storage, with parameters that take no gradient.

    Nothing is toggled: both can be in one graph, and be compiled. Buffers are the same tensors, so
    that state which a forward changes is shared, too; the network must not reassign them.
    """
    memo: dict[int, object] = {id(p): p.detach() for p in network.parameters()}
    memo |= {id(buffer): buffer for buffer in network.buffers()}
    return copy.deepcopy(network, memo)
