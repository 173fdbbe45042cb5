"""From updates to straight-line code: what each one computes, and what it shares with others.

A value's version is its name, how often the networks that compute it have been stepped in this
iteration, and the versions of its arguments (of an input: how often it was redrawn). Equal versions
are computed once, where first read, with a graph if an update needs its gradient: at most one can,
since that update's step ends the version, so that no graph is walked back twice. Whoever else reads
it reads it detached. (Only what lies behind a value that is taken can outlive its step: a second
update that needs the gradient of such a version computes it anew.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from munit_zoo.errors import GraphError
from munit_zoo.models.graph import Graph, Node
from munit_zoo.models.recipe import Critic, Entry, Update, names_of
from munit_zoo.models.views import View, frozen_twin, views

__all__ = ["Calls", "Code", "Loss", "Operation", "Planner", "Read", "Use", "detached", "run"]

Calls = Mapping[str, Collection[tuple[str, bool]]]
"""Per node the (network, frozen) that it calls."""

Form = Literal["graph", "plain", "leaf"]


@dataclass(frozen=True)
class Use:
    """One entry of a term in an update, and the name under which its part is logged."""

    term: str
    entry: Entry
    label: str
    differentiates: bool = False

    @property
    def is_critic(self) -> bool:
        """Whether it is a discriminator's side."""
        return isinstance(self.entry, Critic)


@dataclass(frozen=True)
class Read:
    """A value as something reads it: part of its graph, without history, or as a leaf by which
    something is differentiated."""

    slot: str
    form: Form


@dataclass(frozen=True)
class Operation:
    """One value to compute. trains: whether it has a graph, for the update `of`.

    view: the recipe as the method sees it.
    """

    slot: str
    node: Node
    view: View
    reads: tuple[Read, ...]
    trains: bool
    of: int | None


@dataclass(frozen=True)
class Loss:
    """One criterion's call."""

    use: Use
    reads: tuple[Read, ...]


@dataclass
class Code:
    """An update's straight line: what to compute, which losses, what nobody reads after it.

    given: slots that earlier updates computed and it reads. calls: of networks, counted.
    """

    index: int
    operations: list[Operation] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    forget: list[str] = field(default_factory=list)
    given: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)

    def forms(self) -> dict[str, set[Form]]:
        """Per slot the forms in which the update's criteria read it."""
        found: dict[str, set[Form]] = {}
        for loss in self.losses:
            for read in loss.reads:
                found.setdefault(read.slot, set()).add(read.form)
        return found


@dataclass
class _Value:
    """One version of a named tensor. first, last: the updates that compute and last read it.
    graph: the update that needs its gradient. leaf_of: those that differentiate by it. readers:
    those that read it for what it is, not as a value taken from an earlier update."""

    slot: str
    name: str
    node: Node | None
    arguments: list[_Value]
    first: int
    last: int
    graph: int | None = None
    leaf_of: set[int] = field(default_factory=set)
    readers: set[int] = field(default_factory=set)

    def read(self, reader: int | None) -> Read:
        if reader is not None and reader == self.graph:
            return Read(self.slot, "graph")
        return Read(self.slot, "leaf" if reader in self.leaf_of else "plain")


class Planner:
    """Turns a recipe's updates and the uses of its loss terms into code.

    calls: which networks each node calls, as a rehearsal found. stateful: those that keep state.
    share: `derived` computes equal versions once; `none` computes everything anew in each update,
    but what the recipe has `once`; `fakes` redraws nothing, so that the updates also see the same
    random inputs.
    """

    def __init__(
        self,
        recipe: Any,
        uses: Sequence[Sequence[Use]],
        calls: Calls,
        *,
        share: Literal["none", "derived", "fakes"] = "derived",
        stateful: Collection[str] = (),
    ) -> None:
        self.recipe, self.uses, self.calls = recipe, uses, calls
        self.stateful = frozenset(stateful)
        self.graph: Graph = recipe.graph()
        self.share = share
        self.networks: dict[str, nn.Module] = recipe.networks()
        self.trains = [trained_by(update, self.networks) for update in self.graph.updates]
        self._twins: dict[str, nn.Module] = {}
        self._views: dict[tuple[int | None, bool], View] = {}
        kept = self.graph.needs(self.graph.once)
        self.kept_once = {name for name in kept if name in self.graph.nodes}

    # What is read

    def reached(self, index: int, uses: Iterable[Use]) -> set[str]:
        """All that an update's uses need, without what lies behind a value that it takes."""
        names = [name for use in uses for name in names_of(use.entry)]
        update = self.graph.updates[index]
        names += [n for n in update.also if {p for p, _ in self.calls.get(n, ())} & self.stateful]
        return self.graph.needs(names, update.takes)

    def all_twins(self) -> list[nn.Module]:
        """The frozen twins that iterations call, made now; before a step is compiled as a whole."""
        for code in self.plan(range(len(self.uses))):
            for operation in code.operations:
                if operation.of is not None:
                    for path, frozen in self.calls.get(operation.node.name, ()):
                        if frozen or path not in self.trains[operation.of]:
                            self._twin(path)
        return list(self._twins.values())

    # Planning

    def plan(self, active: Sequence[int], idle: Collection[tuple[int, str]] = ()) -> list[Code]:
        """The code of an iteration in which the updates `active` take place, without the terms
        `idle`, each of an update."""
        made: list[_Value] = []
        latest: dict[str, _Value] = {}
        versions: dict[object, _Value] = {}
        stepped: Counter[str] = Counter()
        draws: Counter[str] = Counter()
        pending: dict[int, list[tuple[Use, list[_Value]]]] = {}
        for index, update in enumerate(self.graph.updates):
            if self.share != "fakes":
                draws.update(update.redraw)
            if index not in active:
                continue
            uses = [use for use in self.uses[index] if (index, use.term) not in idle]
            known = _Versions(self, index, uses, made, latest, versions, stepped, draws)
            found = known.all()
            pending[index] = known.losses()
            latest |= found
            stepped.update(self._moved(index))
        return self._emit(made, pending, active)

    def _emit(
        self,
        made: list[_Value],
        pending: Mapping[int, list[tuple[Use, list[_Value]]]],
        active: Sequence[int],
    ) -> list[Code]:
        codes = {index: Code(index) for index in active}
        self.crossing = [v for v in made if v.node is not None and len(v.readers) > 1]
        for value in made:
            if value.node is not None:
                code = codes[value.first]
                reads = tuple(argument.read(value.graph) for argument in value.arguments)
                view = self._view(value.graph, value.node.exchanged)
                trains = value.graph is not None
                code.operations.append(
                    Operation(value.slot, value.node, view, reads, trains, value.graph)
                )
                code.calls.update(path for path, _ in self.calls.get(value.name, ()))
                for reader in value.readers - {value.first}:
                    codes[reader].given.append(value.slot)
            codes[value.last].forget.append(value.slot)
        for index, losses in pending.items():
            codes[index].losses += [
                Loss(use, tuple(value.read(index) for value in read)) for use, read in losses
            ]
        return list(codes.values())

    def _moved(self, index: int) -> list[str]:
        """Networks that an update's step changes: those it trains, and what shares with them."""
        trained = {id(p) for path in self.trains[index] for p in self.networks[path].parameters()}
        return [
            path
            for path, network in self.networks.items()
            if any(id(p) in trained for p in network.parameters())
        ]

    def _view(self, graph: int | None, exchanged: bool) -> View:
        """Networks as an update's graph sees them: those that it does not train, frozen."""
        if (graph, exchanged) not in self._views:
            trained = None if graph is None else self.trains[graph]

            def choose(path: str, frozen: bool) -> Any:
                if trained is None or (path in trained and not frozen):
                    return self.networks[path]
                return _Late(lambda: self._twin(path))

            pair = views(self.recipe, choose)
            self._views[graph, False], self._views[graph, True] = pair
        return self._views[graph, exchanged]

    def _twin(self, path: str) -> nn.Module:
        network, twin = self.networks[path], self._twins.get(path)
        if twin is not None and torch.compiler.is_compiling():
            return twin  # whoever compiles has called `all_twins`; storage cannot be compared there
        if twin is None or _storage(twin) != _storage(network):  # the model was moved since
            twin = self._twins[path] = frozen_twin(network)
        return twin


def _storage(network: nn.Module) -> int:
    first = next(network.parameters(), None)
    return 0 if first is None else first.data_ptr()


class _Late:
    """A frozen twin, made when it is first called for."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        self._make = make

    def __call__(self, *arguments: object) -> Any:
        return self._make()(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._make(), name)


class _Versions:
    """The versions of values that one update reads."""

    def __init__(
        self,
        planner: Planner,
        index: int,
        uses: Sequence[Use],
        made: list[_Value],
        latest: Mapping[str, _Value],
        versions: dict[object, _Value],
        stepped: Mapping[str, int],
        draws: Mapping[str, int],
    ) -> None:
        self.planner, self.graph, self.index, self.uses = planner, planner.graph, index, uses
        self.made, self.versions, self.stepped, self.draws = made, versions, stepped, draws
        update = self.graph.updates[index]
        self.taken = {name: latest[name] for name in update.takes if name in latest}
        self.trained = set(planner.trains[index])
        self.between = self._between()
        self.found: dict[str, _Value] = {}
        self._live: dict[str, bool] = {}

    def all(self) -> dict[str, _Value]:
        """The version of each name that the update reads, in the recipe's order of definitions."""
        reached = self.planner.reached(self.index, self.uses)
        for name in self.graph.nodes:
            if name in reached:
                self.known(name)
        return self.found

    def losses(self) -> list[tuple[Use, list[_Value]]]:
        """The uses with what they read."""
        pending = []
        for use in self.uses:
            read = [self.known(name) for name in names_of(use.entry)]
            if use.differentiates and read[1].graph != self.index:
                read[1].leaf_of.add(self.index)
            pending.append((use, read))
        return pending

    def known(self, name: str) -> _Value:
        """The version of a name."""
        if name in self.found:
            return self.found[name]
        if name in self.taken:
            value = self.taken[name]
        else:
            node = self.graph.nodes.get(name)
            arguments = [self.known(argument) for argument in node.arguments] if node else []
            value = self._version(name, node, arguments)
            value.graph = self.index if self.live(name) else value.graph
            value.readers.add(self.index)
        value.last = self.index
        self.found[name] = value
        return value

    def _version(self, name: str, node: Node | None, arguments: list[_Value]) -> _Value:
        share = self.planner.share != "none" or node is None or name in self.planner.kept_once
        key = (
            name,
            self.draws.get(name, 0),
            *(self.stepped.get(path, 0) for path, _ in sorted(self.planner.calls.get(name, ()))),
            *(id(argument) for argument in arguments),
            None if share else self.index,
        )
        value = self.versions.get(key)
        if value is None or (self.live(name) and value.graph not in (None, self.index)):
            value = _Value(self._slot(name, node), name, node, arguments, self.index, self.index)
            self.made.append(value)
            self.versions.setdefault(key, value)
        return value

    def _slot(self, name: str, node: Node | None) -> str:
        """A name for the version. Of a random input the last draw of an iteration has its plain
        name, those before it one stroke more each."""
        if node is None:
            due = self.graph.redraws(name) if self.planner.share != "fakes" else 0
            return name + "'" * (due - self.draws.get(name, 0))
        return name + "'" * sum(other.name == name for other in self.made)

    def live(self, name: str) -> bool:
        """Whether the update trains what computes a name, or differentiates through it."""
        if name not in self._live:
            node = self.graph.nodes.get(name)
            if node is None or name in self.taken:
                self._live[name] = False
            else:
                calls = self.planner.calls.get(name, ())
                self._live[name] = (
                    any(path in self.trained and not frozen for path, frozen in calls)
                    or name in self.between
                    or any(map(self.live, node.arguments))
                )
        return self._live[name]

    def _between(self) -> set[str]:
        """Names through which the update differentiates something by something."""
        found: set[str] = set()
        for use in self.uses:
            if use.differentiates:
                result, by = names_of(use.entry)[:2]
                path = {n for n in self.graph.needs([result]) if by in self.graph.needs([n]) - {n}}
                if not path:
                    raise GraphError(
                        f"the term {use.term.upper()} differentiates {result!r} by {by!r}, of "
                        "which it is not computed"
                    )
                found |= path
        return found


def trained_by(update: Update, networks: Mapping[str, nn.Module]) -> tuple[str, ...]:
    """Paths of the networks that an update trains.

    Raises GraphError where one of its `trains` names no network.
    """
    found = []
    for name in update.trains:
        paths = [path for path in networks if name in (path, path.rpartition(".")[2])]
        if not paths:
            known = ", ".join(networks)
            raise GraphError(
                f"the update {update.name!r} trains {name!r}, which is no network. There is {known}"
            )
        found += paths
    return tuple(dict.fromkeys(found))


# Running it


def detached(value: Any) -> object:
    """A tensor, or a list of tensors (the features of several layers), without its history."""
    if isinstance(value, Tensor):
        return value.detach()
    return [detached(part) for part in value]


def run(
    operations: Iterable[Operation], values: dict[str, Any], *, recompute: bool = False
) -> None:
    """Compute the values of operations, each with a graph or without, into `values`.

    recompute: of what has a graph, only arguments and value are kept until the backward pass, which
    computes the rest again (activation checkpointing, Chen et al. 2016), with the same chance.
    """
    for operation in operations:
        with torch.set_grad_enabled(operation.trains):
            arguments = [read_value(values, read) for read in operation.reads]
            method, view = operation.node.method, operation.view
            if recompute and operation.trains:
                values[operation.slot] = checkpoint(
                    method,
                    view,
                    *arguments,
                    use_reentrant=False,
                    preserve_rng_state=not _any_on_meta(arguments),
                )
            else:
                values[operation.slot] = method(view, *arguments)


def _any_on_meta(values: Iterable[Any]) -> bool:
    return any(
        value.is_meta if isinstance(value, Tensor) else _any_on_meta(value) for value in values
    )


def read_value(values: dict[str, Any], read: Read) -> object:
    """A value in the form in which it is read."""
    if read.form == "graph":
        return values[read.slot]
    if read.form == "plain":
        return detached(values[read.slot])
    leaf = f"{read.slot}*"
    if leaf not in values:
        value = values[read.slot].detach()
        half = value.dtype in (torch.float16, torch.bfloat16)  # too little for a gradient's norm
        values[leaf] = (value.float() if half else value).requires_grad_()
    return values[leaf]


def straight(
    graph: Graph, want: Iterable[str], given: Collection[str], pair: tuple[View, View]
) -> list[Operation]:
    """The operations that compute `want` where `given` is given, as translation runs them.

    pair: the recipe as its methods see it, and with its domains exchanged.
    """
    return [
        Operation(
            node.name,
            node,
            pair[node.exchanged],
            tuple(Read(argument, "graph") for argument in node.arguments),
            torch.is_grad_enabled(),
            None,
        )
        for node in graph.order(want, given)
    ]
