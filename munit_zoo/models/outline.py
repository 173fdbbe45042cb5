"""A recipe's iteration for people: what each update computes, takes over and trains.

Of a recipe alone, without a config, its own terms are drawn, on stand-ins for their losses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from munit_zoo.domains import Domain
from munit_zoo.errors import GraphError, MunitZooError
from munit_zoo.inputs import Draw, Image, Input, Label
from munit_zoo.losses import AdversarialLoss, NamesLoss
from munit_zoo.models.graph import Graph
from munit_zoo.models.objective import Objective, Share, Term
from munit_zoo.models.plan import Code, Operation, Planner
from munit_zoo.models.recipe import Critic, Entry, Fool, names_of
from munit_zoo.models.rehearsal import Look, look

if TYPE_CHECKING:  # base builds on this module
    from munit_zoo.models.base import TranslationModel

__all__ = [
    "calls_of",
    "describe_iteration",
    "example_domains",
    "own_terms",
    "seen",
    "side_of",
    "sketch",
]

SIDE = 64
"""Side of images where nothing asks for another."""


def example_domains(recipe: type) -> tuple[Domain, ...]:
    """Domains to build a recipe for: its own letters, or three where it is for any number."""
    return tuple(Domain(name) for name in Graph(recipe).letters or ("a", "b", "c"))


def side_of(model: TranslationModel) -> int:
    """Side of the images to call a recipe with: the one that a network (`input_size`) or the recipe
    (`trains_from`) asks for, or a multiple of the recipe's stride."""
    asked = [getattr(network, "input_size", None) for network in model.networks().values()]
    asked += [model.trains_from if model.trains_from > SIDE else None]
    return max(
        (int(side) for side in asked if side), default=model.stride * -(-SIDE // model.stride)
    )


def seen(model: TranslationModel, batch: int = 1) -> Look:
    """What a look at a recipe on the `meta` device shows, of all that its own terms read.

    Raises GraphError where some of that cannot be computed.
    """
    side, graph = side_of(model), model.graph()
    found = look(model, {domain.name: (side, side) for domain in model.domains}, batch)
    entries = [entry for updates in graph.terms.values() for e in updates.values() for entry in e]
    needed = graph.needs(name for entry in entries for name in names_of(entry))
    for name, error in found.failures.items():
        if name in needed:
            ours = isinstance(error, MunitZooError)
            told = str(error) if ours else f"{type(error).__name__}: {error}"
            raise GraphError(
                f"{name} cannot be computed for images of {side}×{side}: {told}"
            ) from error
    return found


def sketch(model: TranslationModel) -> Objective:
    """The updates of a recipe on the `meta` device, with all its own terms.

    Raises GraphError where the recipe contradicts itself, or cannot be computed.
    """
    found = seen(model)
    return Objective(
        model, own_terms(model.graph(), found), calls=found.calls, stateful=found.impure
    )


def own_terms(graph: Graph, found: Look) -> list[Term]:
    """The terms that a recipe knows, on losses of the contracts that their entries ask for."""
    return [
        Term(name, _stand_in(graph, [entry for some in updates.values() for entry in some], found))
        for name, updates in graph.terms.items()
    ]


def _stand_in(graph: Graph, entries: list[Entry], found: Look) -> nn.Module:
    first = entries[0]
    if isinstance(first, (Critic, Fool)):
        return _Adversarial()
    names = names_of(first)
    # logits beside an image that they are of: a penalty differentiates the former by the latter
    of_a_list = not isinstance(found.values.get(names[0]), Tensor)
    if len(names) == 2 and of_a_list and names[1] in graph.needs([names[0]]):
        return _Penalty()
    return _Sum()


class _Sum(NamesLoss):
    """Every element of what is read, each with a weight of its own."""

    arity: ClassVar[int | None] = None
    same_shape: ClassVar[bool] = False

    def forward(self, *names: object) -> Tensor:
        return torch.stack([_projected(name) for name in names]).sum()


class _Penalty(NamesLoss):
    """R1 (Mescheder et al. 2018)."""

    differentiates: ClassVar[bool] = True

    def forward(self, logits: object, x: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(_projected(logits), x, create_graph=True)
        return gradient.square().mean()


class _Adversarial(AdversarialLoss):
    """Linear in logits of any shape."""

    def generator(self, fakes: object) -> Tensor:
        return _projected(fakes)

    def discriminator(self, fakes: Any, reals: Any) -> Tensor:
        return _projected(fakes) - _projected(reals)


def _projected(value: Any) -> Tensor:
    # weighted, since what is normalised sums to a constant
    if isinstance(value, Tensor):
        flat = value.reshape(-1)
        if not flat.is_floating_point():  # numbers of classes
            flat = flat.to(torch.get_default_dtype())
        weights = torch.linspace(0.5, 1.5, max(1, len(flat)), device=flat.device, dtype=flat.dtype)
        return (flat * weights).mean()
    return torch.stack([_projected(part) for part in value]).sum()


# In words


def calls_of(objective: Objective, share: Share) -> Counter[str]:
    """How often an iteration calls each network, with another way of sharing."""
    old = objective.planner
    planner = Planner(old.recipe, old.uses, old.calls, share=share, stateful=old.stateful)
    return sum((code.calls for code in planner.plan(*objective.pattern())), Counter())


def describe_iteration(objective: Objective) -> str:
    """An iteration, update by update, and how many calls of networks it makes."""
    lines = ["inputs:", *(f"  {line}" for line in _inputs(objective))]
    codes = objective.codes(objective.pattern())
    made: dict[str, tuple[str, Operation]] = {}
    for code in codes:
        lines += ["", *_update(objective, code, made)]
    again = [slot for slot in made if slot.endswith("'")]
    if again:
        plain = again[0].rstrip("'")
        lines += ["", f"{again[0]}: {plain} computed anew, since what it is computed from changed"]
    lines += ["", *_calls(objective)]
    return "\n".join(lines)


def _inputs(objective: Objective) -> Iterator[str]:
    read = {slot.rstrip("'") for slot in objective.inputs}
    shown = {name: spec for name, spec in objective.graph.inputs.items() if name in read}
    width = max(map(len, shown), default=0)
    for name, spec in shown.items():
        yield f"{name:<{width}}  {_input(spec)}{_redrawn(objective, name)}"


def _redrawn(objective: Objective, name: str) -> str:
    """What the strokes behind a random input's name mean."""
    draws = [slot for slot in objective.inputs if slot.rstrip("'") == name]
    if len(draws) < 2:
        return ""
    return f"; drawn {len(draws)} times: {', '.join(reversed(draws))}"


def _input(spec: Input) -> str:
    if isinstance(spec, Draw):
        shape = f" ({', '.join(map(str, spec.shape))})" if spec.shape else ""
        shape = f" like {spec.like}" if spec.like else shape
        kind = {
            "normal": f"drawn from N(0, 1){shape}",
            "uniform": f"drawn from [0, 1){shape}",
            "integer": f"a whole number below {spec.below}{shape}",
            "permutation": "an order of the batch's samples",
        }[spec.kind]
        return f"{kind}{', one for the whole batch' if spec.shared else ''}"
    if isinstance(spec, Label):
        return f"label of {spec.of}"
    if not isinstance(spec, Image):
        raise GraphError(f"{type(spec).__name__} is no kind of input that can be described")
    words = "image" if spec.domain is None else f"image of {spec.domain}"
    if spec.like is not None:
        return f"another image of the domain that {spec.like} is of"
    if spec.paired_with is not None:
        return f"{words}, of the scene of {spec.paired_with}"
    return words if spec.domain else f"{words} of any domain"


def _update(
    objective: Objective, code: Code, made: dict[str, tuple[str, Operation]]
) -> Iterator[str]:
    graph, update = objective.graph, objective.graph.updates[code.index]
    trains = ", ".join(objective.planner.trains[code.index])
    yield f"update {update.name}, trains {trains}"
    if update.redraw:
        yield f"  redraws {', '.join(update.redraw)}"
    if update.takes:
        yield f"  takes as an earlier update left it: {', '.join(update.takes)}"
    also = [name for name in update.also if any(o.node.name == name for o in code.operations)]
    if also:
        yield f"  computes for the state of networks, too: {', '.join(also)}"
    if isinstance(update.every, str) and callable(getattr(objective.model, update.every)):
        yield f"  takes place in the iterations that `{update.every}` names"
    elif update.every != 1:
        yield f"  takes place in every {update.every}-th iteration"
    given = [slot for slot in code.given if slot in made]
    if given:
        yield "  takes over:"
    for slot in given:
        where, operation = made[slot]
        how = "with its gradient" if operation.of == code.index else "without gradient"
        yield f"    {slot}, computed in {where}, {how}"
    calls = {
        op.slot: f"{op.slot} <- {', '.join(read.slot for read in op.reads)}"
        for op in code.operations
    }
    width = max(map(len, calls.values()), default=0)
    if calls:
        yield "  computes:"
    for operation in code.operations:
        made[operation.slot] = (update.name, operation)
        note = graph.note(operation.node)
        if operation.of not in (None, code.index):
            later = graph.updates[operation.of].name if operation.of is not None else ""
            note += f" [gradient kept for {later}]"
        elif operation.of is None:
            note += " [without gradient]"
        yield f"    {calls[operation.slot]:<{width}}  {note}".rstrip()
    yield "  terms:"
    terms: dict[str, list[str]] = {}
    for loss in code.losses:
        terms.setdefault(loss.use.term.upper(), []).append(_entry(loss.use.entry))
    width = max(map(len, terms), default=0)
    for term, entries in terms.items():
        yield f"    {term:<{width}}  {', '.join(entries)}"


def _entry(entry: Entry) -> str:
    if isinstance(entry, (Critic, Fool)):
        return f"{type(entry).__name__}({', '.join(entry)})"
    return f"[{', '.join(entry)}]"


def _calls(objective: Objective) -> Iterator[str]:
    shared, alone = calls_of(objective, "derived"), calls_of(objective, "none")
    yield (
        f"calls of networks an iteration: {shared.total()}; {alone.total()} in the original order, "
        "where nothing is shared"
    )
    width = max(map(len, alone), default=0)
    for path in objective.planner.networks:
        if alone[path]:
            original = f" ({alone[path]})" if alone[path] != shared[path] else ""
            yield f"  {path:<{width}}  {shared[path]}{original}"
