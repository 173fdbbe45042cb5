"""A training step tried on the `meta` device: all shapes are run, nothing is computed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from munit_zoo.domains import Domain
from munit_zoo.errors import ConfigError, ContractError, Problem
from munit_zoo.inputs import Draw, Image, Input, Label
from munit_zoo.models.base import TranslationModel
from munit_zoo.models.objective import Objective, Values
from munit_zoo.models.plan import Calls, run, straight
from munit_zoo.models.recipe import Critic, Entry, Fool, names_of
from munit_zoo.models.sharing import impurities
from munit_zoo.models.views import views

__all__ = [
    "Look",
    "Sizes",
    "check_effect",
    "check_logits",
    "check_recomputing",
    "check_sharing",
    "look",
    "meta_inputs",
    "simulate",
    "translating_networks",
]

Sizes = Mapping[str, tuple[int, int]]
"""Per domain (h, w) of its training images."""


@dataclass
class Look:
    """What running each node of a recipe once showed.

    values: on `meta`, of every name that could be computed. failures: of the others, why not.
    calls: which networks each node calls. impure: networks that are no functions of their inputs,
    with what is not. translating: paths of the networks that translations call.
    """

    values: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)
    calls: dict[str, set[tuple[str, bool]]] = field(default_factory=dict)
    impure: dict[str, str] = field(default_factory=dict)
    translating: tuple[str, ...] = ()


class _Spy:
    """Stands for a network while a recipe is looked at, and notes its calls."""

    def __init__(self, network: nn.Module, note: Callable[[], None]) -> None:
        self._network, self._note = network, note

    def __call__(self, *arguments: object) -> Any:
        self._note()
        return self._network(*arguments)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._network, name)
        if callable(value):
            self._note()
        return value


@torch.no_grad()
def look(model: TranslationModel, sizes: Sizes, batch: int = 1) -> Look:
    """Run each node of a model on `meta` once.

    model: on `meta`. sizes: per domain (h, w) of its training images.
    """
    graph, networks = model.graph(), model.networks()
    found = Look(calls={name: set() for name in graph.nodes})
    current: list[str] = []

    def choose(path: str, frozen: bool) -> object:
        return _Spy(networks[path], lambda: found.calls[current[-1]].add((path, frozen)))

    operations = {op.slot: op for op in straight(graph, graph.nodes, (), views(model, choose))}

    def compute(name: str) -> object:
        if name in found.failures:
            raise found.failures[name]
        if name not in found.values:
            try:
                found.values[name] = evaluate(name)
            except Exception as error:
                found.failures[name] = error
                raise
        return found.values[name]

    def evaluate(name: str) -> Any:
        if name in graph.inputs:
            return _meta_input(model, graph.inputs[name], sizes, batch, compute)
        for argument in graph.nodes[name].arguments:
            compute(argument)
        current.append(name)
        try:
            run([operations[name]], found.values)
        finally:
            current.pop()
        return found.values[name]

    with impurities(model) as impure:
        for name in graph.names:
            try:  # a name that no term reads may well be impossible (a cycle where sizes differ)
                compute(name)
            except Exception:
                continue
    # of a network with both, state: it also matters where its chance can be repeated
    for name, what in sorted(impure.items(), key=lambda item: "changes its" not in item[1]):
        path = next((path for path in networks if f"{name}.".startswith(f"{path}.")), name)
        found.impure.setdefault(path, f"{name} {what}")
    wanted = [n for t in graph.translations.values() for n in t.names()]
    called = {p for name in graph.needs(wanted) for p, _ in found.calls.get(name, ())}
    found.translating = tuple(path for path in networks if path in called)
    return found


def _meta_input(
    model: TranslationModel,
    spec: Input,
    sizes: Sizes,
    batch: int,
    value_of: Callable[[str], Any],
) -> Tensor:
    if isinstance(spec, Image):
        domain: Domain = model.letters[spec.domain] if spec.domain else model.domains[0]
        return torch.empty(batch, domain.channels, *sizes[domain.name], device="meta")
    if isinstance(spec, Label):
        if spec.attributes is None:
            return torch.empty(batch, dtype=torch.int64, device="meta")
        count = spec.attributes
        count = int(getattr(model, count)) if isinstance(count, str) else count
        return torch.empty(batch, count, device="meta")
    like = spec.like
    shape = model.shape_of_draw(spec) if like is None else tuple(value_of(like).shape[1:])
    if spec.kind == "permutation":
        return torch.empty(batch, dtype=torch.int64, device="meta")
    kind = torch.int64 if spec.kind == "integer" else torch.get_default_dtype()
    return torch.empty(1 if spec.shared else batch, *shape, dtype=kind, device="meta")


def translating_networks(model: TranslationModel) -> dict[str, nn.Module]:
    """The networks that translations call, by their paths: all but those that only judge.

    Found by running the graph's shapes on images of a size that suits most; where that fails, all.
    """
    memo: dict[int, object] = {
        id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in model.parameters()
    }
    memo |= {id(buffer): buffer.to("meta") for buffer in model.buffers()}
    shadow = copy.deepcopy(model, memo)
    networks = model.networks()
    sides: list[Any] = [getattr(network, "input_size", None) for network in networks.values()]
    sides = [side for side in sides if side is not None]
    side = int(sides[0]) if sides else max(64, 16 * model.stride)
    found = look(shadow, {domain.name: (side, side) for domain in model.domains})
    wanted = model.graph().needs(n for t in model.graph().translations.values() for n in t.names())
    if wanted & set(found.failures):
        return networks
    return {path: networks[path] for path in found.translating}


def meta_inputs(objective: Objective, values: Mapping[str, Any]) -> dict[str, Tensor]:
    """The inputs of an iteration, on `meta`. values: as a `Look` has them."""
    return {name: torch.empty_like(values[name.rstrip("'")]) for name in objective.inputs}


def simulate(objective: Objective, inputs: Mapping[str, Tensor]) -> Iterator[tuple[int, Tensor]]:
    """All updates of an iteration on `meta`, without steps: (index, loss) of each in turn."""
    weights = {key: torch.ones((), device="meta") for key in objective.weights(0, 1)}
    values = Values(inputs)
    for code in objective.codes(objective.pattern()):
        loss, _ = objective.steps[code.index](code, values, weights)
        yield code.index, loss
        values.forget(code)


def check_logits(objective: Objective, found: Look) -> None:
    """Raises ContractError where a discriminator returns no list."""
    for use in (use for uses in objective.uses for use in uses):
        if not isinstance(use.entry, (Critic, Fool)):
            continue
        for name in use.entry:
            logits = found.values.get(name)
            if logits is None or isinstance(logits, (list, tuple)):
                continue
            paths = [path for path, _ in found.calls[name]]
            network = objective.model.networks()[paths[0]] if paths else objective.model
            raise ContractError(
                f"the discriminator {type(network).__name__} returns {type(logits).__name__}; "
                "a list of logits is due, one tensor a scale"
            )


def check_effect(objective: Objective, calls: Calls) -> None:
    """Raises ConfigError for a term that trains nothing in an update in which it acts."""
    planner, graph = objective.planner, objective.graph

    def trains(index: int, entry: Entry) -> bool:
        taken = graph.updates[index].takes
        behind = graph.needs(names_of(entry), taken) - {*taken}
        own = [call for name in behind for call in calls.get(name, ())]
        return any(path in planner.trains[index] and not frozen for path, frozen in own)

    for index, update in enumerate(graph.updates):
        for term in objective.terms_of(index):
            entries = [use.entry for use in objective.uses[index] if use.term == term]
            criterion = objective.terms[term].criterion
            trained = isinstance(criterion, nn.Module) and any(
                p.requires_grad for p in criterion.parameters()
            )
            if trained or any(trains(index, entry) for entry in entries):
                continue
            read = ", ".join(dict.fromkeys(name for entry in entries for name in names_of(entry)))
            others = [
                other.name
                for i, other in enumerate(graph.updates)
                if any(trains(i, entry) for entry in entries)
            ]
            message = (
                f"{term.upper()} trains nothing in the update {update.name!r}: none of the "
                f"networks that this trains makes {read}. "
            )
            message += f"Write UPDATES: [{', '.join(others)}]" if others else "Leave it out"
            raise ConfigError([Problem(f"LOSSES.{term.upper()}", message)])


def check_sharing(objective: Objective, calls: Calls, impure: Mapping[str, str]) -> None:
    """Raises ConfigError where updates share what networks with state or chance made, and the
    recipe does not say that this is meant."""
    planner = objective.planner
    planner.plan(*objective.pattern())
    for value in planner.crossing:
        if value.name in planner.kept_once:
            continue
        for path, _ in calls.get(value.name, ()):
            if path in impure:
                names = [objective.graph.updates[index].name for index in sorted(value.readers)]
                message = (
                    f"is {planner.share}: {value.name} would be computed once for the updates "
                    f"{' and '.join(names)}, but {impure[path]}. Set ENGINE.SHARE=none, which "
                    "computes it for each of them"
                )
                raise ConfigError([Problem("ENGINE.SHARE", message)])


def check_recomputing(objective: Objective, calls: Calls, impure: Mapping[str, str]) -> None:
    """Raises ConfigError where computing a value again would change a network's state again."""
    for code in objective.codes(objective.pattern()):
        for operation in code.operations:
            for path, _ in calls.get(operation.node.name, ()):
                if operation.trains and "changes its" in impure.get(path, ""):
                    message = (
                        f"computes {operation.node.name} twice, but {impure[path]} each time: set "
                        "ENGINE.RECOMPUTE=false, or choose networks without such state"
                    )
                    raise ConfigError([Problem("ENGINE.RECOMPUTE", message)])


def draw_shapes(model: TranslationModel, found: Look) -> dict[str, tuple[int, ...]]:
    """Shape of one sample of each random input that could be computed."""
    draws: Mapping[str, Draw] = model.graph().draws
    return {name: tuple(found.values[name].shape[1:]) for name in draws if name in found.values}
