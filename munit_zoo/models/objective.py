"""What training minimises: a recipe's updates with a config's loss terms, one module an update."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from munit_zoo.errors import ContractError, GraphError
from munit_zoo.models.augmenting import watchers
from munit_zoo.models.graph import Graph
from munit_zoo.models.placing import place_term
from munit_zoo.models.plan import Calls, Code, Planner, Use, detached, read_value, run
from munit_zoo.models.recipe import Critic, Entry, Fool, names_of

if TYPE_CHECKING:  # base builds on this module
    from munit_zoo.models.base import TranslationModel

__all__ = [
    "Objective",
    "Share",
    "Term",
    "UpdateOptions",
    "UpdateStep",
    "Values",
    "Weights",
    "check_shapes",
    "reached_parameters",
    "shape_of",
]

Share = Literal["none", "derived", "fakes"]

Weights = Mapping[tuple[str, bool], Tensor]
"""Weight of each term, on a discriminator's side (True) and elsewhere."""

Factor = Callable[[int, int, int], float]
"""Factor on a weight at an iteration, of so many, of which so many make an epoch."""


@dataclass(frozen=True)
class Term:
    """One loss term.

    criterion: a module that keeps one of the loss contracts (`criterion.contract`).
    weight: in the sum; critic_weight: on a discriminator's side, where that differs.
    pairs: names it compares, where these are not the recipe's; updates: where it then acts.
    factor: what its weight is multiplied by as training goes on.
    every: it acts in each so-many-th iteration of those in which its update takes place, with so
        many times its weight (lazy regularisation, Karras et al. 2020).
    """

    name: str
    criterion: Any
    weight: float = 1.0
    critic_weight: float | None = None
    pairs: tuple[tuple[str, ...], ...] | None = None
    updates: tuple[str, ...] | None = None
    factor: Factor | None = None
    every: int = 1

    @property
    def differentiates(self) -> bool:
        """Whether it takes the gradient of its first tensor by its second."""
        return bool(getattr(self.criterion, "differentiates", False))

    def weigh(self, critic: bool, iteration: int, iterations: int, epoch: int = 1) -> float:
        """Its weight at an iteration. epoch: how many iterations make one."""
        weight = self.critic_weight if critic and self.critic_weight is not None else self.weight
        factor = 1.0 if self.factor is None else self.factor(iteration, iterations, epoch)
        return weight * factor * self.every

    def acts(self, critic: bool) -> bool:
        """Whether it has a weight at all on a side."""
        return bool(
            self.critic_weight if critic and self.critic_weight is not None else self.weight
        )


@dataclass(frozen=True)
class UpdateOptions:
    """What a config says of an update; None leaves the recipe's own."""

    every: int | None = None
    clip: float | None = None
    clip_total: float | None = None


Pattern = tuple[tuple[int, ...], tuple[tuple[int, str], ...]]
"""Which updates take place in an iteration, and which terms rest in which of these."""


class Objective:
    """A model's updates with the loss terms that act in them.

    terms: those of weight 0 are left out, with all that only they read.
    calls: which networks each tensor calls. share: as `Planner` takes it.
    options: per update what the config says of it. recompute: as `plan.run` takes it.
    stateful: networks that keep state, as a rehearsal found.

    `steps` holds one module an update; `codes` says what each has to do in an iteration.
    """

    def __init__(
        self,
        model: TranslationModel,
        terms: Iterable[Term],
        *,
        calls: Calls,
        share: Share = "derived",
        options: Mapping[str, UpdateOptions] | None = None,
        recompute: bool = False,
        stateful: Collection[str] = (),
    ) -> None:
        self.graph: Graph = model.graph()
        self.model = model
        self.terms: dict[str, Term] = {}
        self.options = dict(options or {})
        per_update: list[list[tuple[Term, Entry]]] = [[] for _ in self.graph.updates]
        for term in terms:
            placed, problems = place_term(
                self.graph, term.name, term.criterion, term.pairs, term.updates
            )
            if problems:
                key, message = problems[0]
                raise GraphError(f"the term {term.name.upper()}: {key} {message}")
            used = False
            for index, update in enumerate(self.graph.updates):
                for entry in placed.get(update.name, ()):
                    if term.acts(isinstance(entry, Critic)):
                        per_update[index].append((term, entry))
                        used = True
            if used:
                self.terms[term.name] = term
        self.uses = [_labelled(entries) for entries in per_update]
        self._every = [self._how_often(index) for index in range(len(self.uses))]
        self._counted: dict[int, tuple[int, int]] = {}
        self.planner = Planner(model, self.uses, calls, share=share, stateful=stateful)
        self.steps = [
            UpdateStep(
                (self.planner.networks[path] for path in self.planner.trains[index]),
                {use.term: self.terms[use.term].criterion for use in uses},
                recompute=recompute,
                watchers={
                    use.entry: watchers(model, use.entry.real, calls)
                    for use in uses
                    if isinstance(use.entry, Critic)
                },
            )
            for index, uses in enumerate(self.uses)
        ]
        self._codes: dict[object, list[Code]] = {}

    @property
    def criteria(self) -> dict[str, nn.Module]:
        """The criteria by their terms."""
        return {
            name: term.criterion
            for name, term in self.terms.items()
            if isinstance(term.criterion, nn.Module)
        }

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Inputs that an iteration reads; of one that is redrawn the last draw has its plain name,
        those before it a stroke more each."""
        patterns = [self.pattern()]
        if any(every != 1 for every in (*self._every, *(t.every for t in self.terms.values()))):
            # an update without those before it makes itself what it takes from them elsewhere
            patterns += [((index,), ()) for index in patterns[0][0]]
        order = list(self.graph.inputs)
        names = {
            read.slot
            for pattern in patterns
            for code in self.codes(pattern)
            for reads in (*(o.reads for o in code.operations), *(x.reads for x in code.losses))
            for read in reads
            if read.slot.rstrip("'") in self.graph.inputs
        }
        return tuple(sorted(names, key=lambda n: (order.index(n.rstrip("'")), n)))

    def pattern(self, iteration: int | None = None) -> Pattern:
        """Which updates take place in an iteration, and which terms rest in which of these; None:
        all, and none. An update whose terms all rest does not take place."""
        used = tuple(index for index, uses in enumerate(self.uses) if uses)
        if iteration is None:
            return used, ()
        due = [index for index in used if self._due(index, iteration)]
        idle = tuple(
            (index, name)
            for index in due
            for name in self.terms_of(index)
            # counted by turns of the update: a term's own count might never meet them
            if self.terms[name].every > 1 and self._turns(index, iteration) % self.terms[name].every
        )
        resting = {i for i in due if all((i, name) in idle for name in self.terms_of(i))}
        active = tuple(index for index in due if index not in resting)
        return active, tuple((index, name) for index, name in idle if index not in resting)

    def _due(self, index: int, iteration: int) -> bool:
        """Whether an update takes place in an iteration."""
        every = self._every[index]
        return bool(every(iteration)) if callable(every) else (iteration + 1) % every == 0

    def _turns(self, index: int, iteration: int) -> int:
        """How often it did before."""
        every = self._every[index]
        if not callable(every):
            return iteration // every
        at, turns = self._counted.get(index, (0, 0))
        at, turns = (at, turns) if at <= iteration else (0, 0)
        turns += sum(map(every, range(at, iteration)))  # all of them only on resuming
        self._counted[index] = iteration, turns
        return turns

    def _how_often(self, index: int) -> int | Callable[[int], bool]:
        """In each how-many-th iteration an update takes place, or what says of one whether.

        Raises GraphError where the recipe names no attribute of its own, or no such number.
        """
        update = self.graph.updates[index]
        own = self.options.get(update.name, UpdateOptions()).every
        every: Any = update.every if own is None else own
        if isinstance(every, str):
            every = getattr(self.model, every, every)
        if callable(every):
            says: Callable[[int], bool] = every
            return says
        if not isinstance(every, int) or every < 1:
            title = self.graph.title
            raise GraphError(
                f"{title}: the update {update.name!r} takes place in every {every!r}-th iteration; "
                f"a whole number from 1 on is due, or the name of an attribute of {title} that is "
                "one, or of a method that says of an iteration whether"
            )
        return every

    def clip(self, index: int) -> float | None:
        """The largest norm of a network's gradient in an update."""
        update = self.graph.updates[index]
        own = self.options.get(update.name, UpdateOptions()).clip
        return update.clip if own is None else own

    def clip_total(self, index: int) -> float | None:
        """The largest norm of the gradient of all networks of an update together."""
        update = self.graph.updates[index]
        own = self.options.get(update.name, UpdateOptions()).clip_total
        return update.clip_total if own is None else own

    def codes(self, pattern: Pattern) -> list[Code]:
        """What the updates of a pattern do, in turn."""
        if pattern not in self._codes:
            self._codes[pattern] = self.planner.plan(*pattern)
        return self._codes[pattern]

    def weights(
        self, iteration: int, iterations: int, epoch: int = 1
    ) -> dict[tuple[str, bool], float]:
        """The terms' weights at an iteration. epoch: how many iterations make one."""
        return {
            (name, critic): term.weigh(critic, iteration, iterations, epoch)
            for name, term in self.terms.items()
            for critic in (False, True)
        }

    def terms_of(self, index: int) -> tuple[str, ...]:
        """The terms that act in an update."""
        return tuple(dict.fromkeys(use.term for use in self.uses[index]))

    def adapt(self) -> None:
        """An iteration is done: augmentations adapt to what discriminators said of reals in it."""
        adaptive = [one for step in self.steps for some in step.watchers.values() for one in some]
        for one in dict.fromkeys(adaptive):
            one.adapt()

    def cost_free(self) -> tuple[str, ...]:
        """Names of the recipe that nothing active reads: they are not computed."""
        names = [n for uses in self.uses for use in uses for n in names_of(use.entry)]
        needed = self.graph.needs(names)
        return tuple(name for name in self.graph.nodes if name not in needed)


def _labelled(entries: Sequence[tuple[Term, Entry]]) -> list[Use]:
    """Uses with labels that tell the entries of a term apart: the first name, or all of them."""
    firsts = Counter((term.name, names_of(entry)[0]) for term, entry in entries)
    return [
        Use(
            term.name,
            entry,
            names_of(entry)[0]
            if firsts[term.name, names_of(entry)[0]] == 1
            else "~".join(names_of(entry)),
            term.differentiates,
        )
        for term, entry in entries
    ]


class UpdateStep(nn.Module):
    """One update's forward: what data parallelism wraps. It owns what the update trains.

    watchers: by a discriminator's side the augmentations that adapt to what it says of reals.
    """

    def __init__(
        self,
        networks: Iterable[nn.Module],
        criteria: Mapping[str, object],
        *,
        recompute: bool = False,
        watchers: Mapping[Entry, Sequence[Any]] | None = None,
    ) -> None:
        super().__init__()
        self._recompute, self.watchers = recompute, dict(watchers or {})
        self.networks = nn.ModuleList(networks)
        self.modules_of_criteria = nn.ModuleList(
            criterion for criterion in criteria.values() if isinstance(criterion, nn.Module)
        )
        self._criteria = dict(criteria)

    def forward(
        self, code: Code, values: Values, weights: Weights
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and its unweighted parts by `term/label`; `values` gains what is computed."""
        values.give(code)
        due = (o for o in code.operations if o.slot not in values.slots)
        run(due, values.slots, recompute=self._recompute)
        total: Tensor | None = None
        parts = {}
        for loss in code.losses:
            use = loss.use
            arguments = [read_value(values.slots, read) for read in loss.reads]
            part = _call(self._criteria[use.term], use, arguments)
            for watcher in self.watchers.get(use.entry, ()):
                watcher.observe(_verdicts(self._criteria[use.term], arguments))
            parts[f"{use.term}/{use.label}"] = part.detach()
            weighted = weights[use.term, use.is_critic] * part
            total = weighted if total is None else total + weighted
        return torch.zeros(()) if total is None else total, parts


class Values:
    """The values of an iteration by slot, handed from update to update; no tensor itself, so that
    whatever wraps an update leaves them alone.

    inputs: of the graph; a value for a name that the recipe computes stands in for all versions.
    """

    def __init__(self, inputs: Mapping[str, object]) -> None:
        self._inputs = dict(inputs)
        self.slots: dict[str, object] = dict(inputs)

    def give(self, code: Code) -> None:
        """Put the values that stand in for computed ones where an update reads them."""
        for operation in code.operations:
            if operation.node.name in self._inputs:
                self.slots[operation.slot] = self._inputs[operation.node.name]

    def forget(self, code: Code) -> None:
        """Let go of what nobody reads after an update."""
        for slot in code.forget:
            self.slots.pop(slot, None)
        for slot in [slot for slot in self.slots if slot.endswith("*")]:
            del self.slots[slot]


def _call(criterion: Any, use: Use, arguments: Sequence[object]) -> Tensor:
    """A criterion's value, in full precision; a network inside it may compute in less."""
    wide = [_full(argument) for argument in arguments]
    if use.differentiates:  # by the very tensor that the first is computed from
        wide[1] = arguments[1]
    has_network = isinstance(criterion, nn.Module) and any(True for _ in criterion.parameters())
    device = _device(wide)
    with torch.autocast(device, enabled=torch.is_autocast_enabled(device) and has_network):
        if isinstance(use.entry, Critic):
            part = criterion.discriminator(*wide)
        elif isinstance(use.entry, Fool):
            part = criterion.generator(*wide)
        else:
            part = criterion(*wide)
    if not isinstance(part, Tensor) or part.dim() != 0:
        found = tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__
        raise ContractError(
            f"the loss {type(criterion).__name__} of the term {use.term.upper()} "
            f"returns {found}; a loss is a scalar: take the mean or the sum"
        )
    return part


def _verdicts(criterion: Any, arguments: Sequence[Any]) -> Sequence[Tensor]:
    """What a discriminator says of reals, above 0 where they pass for real."""
    fakes, reals = (detached(argument) for argument in arguments)
    verdicts = getattr(criterion, "verdicts", None)
    found: Any = reals if verdicts is None else verdicts(fakes, reals)
    return list(found)


def _full(value: Any) -> object:
    """Half-precision tensors as float32, in lists too."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    return [_full(part) for part in value]


def _device(values: Sequence[Any]) -> str:
    for value in values:
        if isinstance(value, Tensor):
            return value.device.type if value.device.type != "meta" else "cpu"
        if value:
            return _device(value)
    return "cpu"


def reached_parameters(total: Tensor) -> set[int]:
    """`id` of every parameter that a loss is computed from, found by walking its graph back."""
    found: set[int] = set()
    pending, seen = [total.grad_fn], set()
    while pending:
        function = pending.pop()
        if function is None or function in seen:
            continue
        seen.add(function)
        if hasattr(function, "variable"):
            found.add(id(function.variable))
        pending += [following for following, _ in function.next_functions]
    return found


def shape_of(value: Any, *, batch: bool = True) -> Any:
    """Shape of a tensor, or the shapes of a list of them; `batch`: with the first dimension."""
    if isinstance(value, Tensor):
        return tuple(value.shape if batch else value.shape[1:])
    return tuple(shape_of(part, batch=batch) for part in value)


def check_shapes(objective: Objective, shapes: Mapping[str, object]) -> None:
    """Raises GraphError where a criterion would compare tensors of different shapes.

    shapes: of the graph's names, batch size included.
    """

    def one(shape: Any) -> object:
        return tuple(map(one, shape)) if shape and isinstance(shape[0], tuple) else shape[1:]

    for use in (use for uses in objective.uses for use in uses):
        criterion = objective.terms[use.term].criterion
        if isinstance(use.entry, (Critic, Fool)) or use.differentiates:
            continue
        if not getattr(criterion, "same_shape", True):
            continue
        own = {name: one(shapes[name]) for name in names_of(use.entry)}
        if len(set(own.values())) > 1:
            listed = ", ".join(f"{name} {shape}" for name, shape in own.items())
            raise GraphError(f"the term {use.term} compares different shapes: {listed}")
