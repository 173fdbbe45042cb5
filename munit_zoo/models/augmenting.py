"""What discriminators see through: augmentations, as part of a recipe's graph.

A config's AUGMENT gives each discriminator an augmentation, a network of the model without weights
(`seen_through.…`), whose state is saved with the others. Each tensor that a discriminator computes
from images then has a further argument, the random input that decides how they are augmented: drawn
for each sample as a function of seed and iteration, and anew for each update.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from munit_zoo.errors import GraphError
from munit_zoo.inputs import Draw, Image
from munit_zoo.models.plan import trained_by
from munit_zoo.models.recipe import Critic
from munit_zoo.models.views import View

if TYPE_CHECKING:  # which build on this module
    from munit_zoo.models.base import TranslationModel
    from munit_zoo.models.rehearsal import Look

__all__ = ["PLACE", "augment", "augmented_nodes", "judges", "see_through", "watchers"]

PLACE = "seen_through"
"""Where a model has its augmentations; no recipe's own attribute is called so."""


def judges(model: TranslationModel) -> list[str]:
    """Paths of the discriminators: what an update with a `Critic` trains."""
    networks = model.networks()
    found = [
        path
        for update in model.graph().updates
        if any(isinstance(entry, Critic) for some in update.terms.values() for entry in some)
        for path in trained_by(update, networks)
    ]
    return list(dict.fromkeys(found))


def augment(model: TranslationModel, make: Callable[[], nn.Module], paths: Iterable[str]) -> None:
    """Give discriminators augmentations of their own, as networks of the model."""
    made = {_key(path): make() for path in paths}
    setattr(model, PLACE, nn.ModuleDict(made))


def augmented_nodes(model: TranslationModel, found: Look) -> list[str]:
    """The names that an augmented discriminator computes from images.

    found: what a look at the model showed. Raises GraphError where there is none of them.
    """
    keys = dict(_augmentations(model))
    graph = model.graph()
    shapes = {
        tuple(found.values[name].shape[2:])
        for name, spec in graph.inputs.items()
        if isinstance(spec, Image) and name in found.values
    }
    nodes = [
        name
        for name, node in graph.nodes.items()
        if any(path in keys for path, _ in found.calls.get(name, ()))
        and any(_is_image(found.values.get(argument), shapes) for argument in node.arguments)
    ]
    if keys and not nodes and not found.failures:  # of which the rehearsal says what failed
        raise GraphError(
            f"AUGMENT: no discriminator of {type(model).__name__} sees images; set it to "
            "{NAME: none}"
        )
    return nodes


def see_through(model: TranslationModel, nodes: Collection[str]) -> None:
    """Let the discriminators that compute `nodes` see through their augmentations."""
    graph, keys = model.graph(), dict(_augmentations(model))
    if not nodes:
        return
    numbers = max(int(getattr(model.get_submodule(path), "numbers", 0)) for path in keys.values())
    draws = {name: f"augment_{name}" for name in nodes}
    for name, drawn in draws.items():
        node = graph.nodes[name]
        graph.inputs[drawn] = Draw("uniform", (numbers,))
        graph.nodes[name] = replace(
            node, method=_Augmented(node.method, keys), arguments=(*node.arguments, drawn)
        )
    first, *later = graph.updates
    graph.updates = (
        first,
        *(replace(u, redraw=(*u.redraw, *draws.values())) for u in later),
    )


def watchers(
    model: TranslationModel, name: str, calls: Mapping[str, Collection[tuple[str, bool]]]
) -> tuple[Any, ...]:
    """The augmentations that adapt to what a discriminator says of `name`, reals."""
    needed = model.graph().needs([name])
    paths = {path for node in needed for path, _ in calls.get(node, ())}
    found = [model.get_submodule(path) for path in sorted(paths) if path.startswith(f"{PLACE}.")]
    return tuple(one for one in found if hasattr(one, "observe"))


@dataclass(frozen=True)
class _Augmented:
    """A tensor method whose discriminators see through augmentations.

    keys: of discriminators, the paths of their augmentations. Its last argument are the random
    numbers.
    """

    method: Callable[..., object]
    keys: Mapping[str, str]

    def __call__(self, view: View, *arguments: object) -> object:
        *own, numbers = arguments

        def wrap(path: str, network: Any) -> Any:
            key = self.keys.get(path)
            return network if key is None else _Seeing(network, view.network(key), numbers)

        return self.method(view.through(wrap), *own)


class _Seeing:
    """A discriminator behind an augmentation: of whatever it is called with, images come first."""

    def __init__(self, network: Any, augmentation: Any, numbers: object) -> None:
        self._network, self._augmentation, self._numbers = network, augmentation, numbers

    def __call__(self, x: Tensor, *rest: object) -> Any:
        return self._network(self._augmentation(x, self._numbers), *rest)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._network, name)
        if not callable(value):
            return value
        return lambda x, *rest: value(self._augmentation(x, self._numbers), *rest)


def _augmentations(model: TranslationModel) -> Iterator[tuple[str, str]]:
    """Paths of discriminators, and of their augmentations."""
    made = getattr(model, PLACE, None) if PLACE in model._modules else None
    for path in model.networks():
        if made is not None and _key(path) in made:
            yield path, f"{PLACE}.{_key(path)}"


def _key(path: str) -> str:
    """What an augmentation is called: not as the discriminator, which updates train by that."""
    return f"before_{path.replace('.', '_')}"


def _is_image(value: Any, sizes: Collection[tuple[int, ...]]) -> bool:
    """Whether a value is of an image's size."""
    return isinstance(value, Tensor) and value.dim() == 4 and tuple(value.shape[2:]) in sizes
