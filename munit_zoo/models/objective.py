"""What training minimises: a recipe's loss terms, as three modules that each run once a step.

    names, fakes = objective.generators(env)             # one forward of the generators
    critics_loss, _ = objective.critics(fakes, env)      # the discriminators' step
    generator_loss, _ = objective.losses(names, critics) # the generators' step, critics bare

Each of the three has its own parameters and one forward a step, as data parallelism wants it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from munit_zoo.errors import ContractError, GraphError
from munit_zoo.losses import call_named
from munit_zoo.models.base import TranslationModel
from munit_zoo.models.graph import Critic, Graph, Plan, Share

__all__ = ["Objective", "Term", "reached_parameters"]


@dataclass(frozen=True)
class Term:
    """One loss term.

    criterion: a module that keeps one of the loss contracts (`criterion.contract`).
    pairs: the names it compares; None for an adversarial or a named criterion.
    """

    name: str
    criterion: Any
    weight: float = 1.0
    pairs: tuple[tuple[str, ...], ...] | None = None

    @property
    def contract(self) -> str:
        return str(self.criterion.contract)

    @property
    def side(self) -> str:
        """Whose loss a named criterion belongs to: `generator` or `discriminator`."""
        return str(getattr(self.criterion, "side", "generator"))

    def label(self, pair: Sequence[str]) -> str:
        """Name of one pair's part: `image_recon/x_aa`."""
        return f"{self.name}/{pair[0]}"


class Objective:
    """A model's loss terms and the plan that computes what they read.

    terms: those of weight 0 are left out, with all that only they read.
    share: what the discriminators' step takes over from the generators' forward, as in
        `Graph.plan`.

    Its modules are `generators` (env -> names, fakes), `critics` (fakes, env -> loss, parts) and
    `losses` (names, discriminators -> loss, parts). `env` holds the tensors of `plan.inputs`. A
    loss is the weighted sum; parts are its unweighted, detached summands by name.
    """

    def __init__(
        self, model: TranslationModel, terms: Iterable[Term], *, share: Share = "content"
    ) -> None:
        graph = model.graph()
        self.terms = tuple(term for term in terms if term.weight != 0)
        of = {
            side: [t for t in self.terms if t.contract == "named" and t.side == side]
            for side in ("generator", "discriminator")
        }
        adversarial = [t for t in self.terms if t.contract == "adversarial"]
        pairwise = [t for t in self.terms if t.contract == "pair"]
        critics = graph.critics if adversarial else {}
        want = [name for t in pairwise for pair in t.pairs or () for name in pair]
        want += [name for t in of["generator"] for name in t.criterion.reads]
        want += [critic.fake for critic in critics.values()]
        also = [name for critic in critics.values() for name in (critic.fake, critic.real)]
        also += [name for t in of["discriminator"] for name in t.criterion.reads]
        self.plan = graph.plan(want, also, share=share)
        self.has_critics = bool(also)
        self.generators = GeneratorStep(model, self.plan)
        self.critics = CriticStep(model.discriminators, critics, adversarial, of["discriminator"])
        self.losses = LossStep(critics, adversarial, pairwise, of["generator"])

    def cost_free(self, graph: Graph) -> tuple[str, ...]:
        """Names of the recipe that nothing active reads: they are not computed."""
        needed = graph.needs([*self.plan.want, *self.plan.also])
        return tuple(name for name in graph.nodes if name not in needed)


class GeneratorStep(nn.Module):
    """One forward of the generators along a plan."""

    def __init__(self, model: TranslationModel, plan: Plan) -> None:
        super().__init__()
        self.networks = model.generators
        self._views = model.views()
        self.plan = plan

    def forward(self, env: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Values of the names that the losses read, and the discriminators' fakes, detached."""
        return self.plan(self._views, env)


class CriticStep(nn.Module):
    """The discriminators' loss on detached fakes and on reals."""

    def __init__(
        self,
        discriminators: nn.ModuleDict,
        critics: Mapping[str, Critic],
        adversarial: Sequence[Term],
        named: Sequence[Term],
    ) -> None:
        super().__init__()
        self.discriminators = discriminators
        self.criteria = nn.ModuleDict({t.name: t.criterion for t in named})
        self._critics, self._adversarial, self._named = dict(critics), adversarial, named

    def forward(
        self, fakes: Mapping[str, Tensor], env: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        values = {**env, **fakes}
        total, parts = _Sum(), {}
        for domain, critic in self._critics.items():
            discriminator = self.discriminators[domain]
            fake = discriminator(values[critic.fake])
            real = discriminator(values[critic.real])
            for term in self._adversarial:
                part = term.criterion.discriminator(fake, real)
                total.add(term, part)
                parts[f"{term.name}/{domain}"] = part.detach()
        for term in self._named:
            part = call_named(term.criterion, values, dict(self.discriminators.items()))
            total.add(term, part)
            parts[term.name] = part.detach()
        return total.value(), parts


class LossStep(nn.Module):
    """The generators' loss on the tensors of the plan.

    The discriminators are an argument and not part of the module: they are called bare, with their
    parameters frozen.
    """

    def __init__(
        self,
        critics: Mapping[str, Critic],
        adversarial: Sequence[Term],
        pairwise: Sequence[Term],
        named: Sequence[Term],
    ) -> None:
        super().__init__()
        self.criteria = nn.ModuleDict(
            {t.name: t.criterion for t in (*adversarial, *pairwise, *named)}
        )
        self._critics, self._adversarial = dict(critics), adversarial
        self._pairwise, self._named = pairwise, named

    def forward(
        self, names: Mapping[str, Tensor], discriminators: Mapping[str, Any]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        total, parts = _Sum(), {}
        for domain, critic in self._critics.items():
            logits = discriminators[domain](names[critic.fake])
            for term in self._adversarial:
                part = term.criterion.generator(logits)
                total.add(term, part)
                parts[f"{term.name}/{domain}"] = part.detach()
        for term in self._pairwise:
            for pair in term.pairs or ():
                part = term.criterion(*[names[name] for name in pair])
                total.add(term, part)
                parts[term.label(pair)] = part.detach()
        for term in self._named:
            part = call_named(term.criterion, names, discriminators)
            total.add(term, part)
            parts[term.name] = part.detach()
        return total.value(), parts


class _Sum:
    """A weighted sum of scalars that starts without knowing device or dtype."""

    def __init__(self) -> None:
        self._value: Tensor | None = None

    def add(self, term: Term, part: Tensor) -> None:
        if not isinstance(part, Tensor) or part.dim() != 0:
            found = tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__
            raise ContractError(
                f"the loss {type(term.criterion).__name__} of the term {term.name.upper()} "
                f"returns {found}; a loss is a scalar: take the mean or the sum"
            )
        weighted = term.weight * part
        self._value = weighted if self._value is None else self._value + weighted

    def value(self) -> Tensor:
        return torch.zeros(()) if self._value is None else self._value


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


def check_shapes(terms: Iterable[Term], values: Mapping[str, Tensor]) -> None:
    """Raises GraphError where a pair criterion would compare tensors of different shapes."""
    for term in terms:
        if term.contract != "pair" or not getattr(term.criterion, "same_shape", True):
            continue
        for pair in term.pairs or ():
            shapes = {name: shape_of(values[name], batch=False) for name in pair}
            if len(set(shapes.values())) > 1:
                listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
                raise GraphError(f"the term {term.name} compares different shapes: {listed}")
