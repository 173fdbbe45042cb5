"""Graphs of named tensors: how a recipe says what is computed from what.

A recipe marks methods with `@tensor`; the method's name is the tensor's name and its argument names
are what it depends on. From the names that somebody wants, a plan in straight-line order is worked
out once; running it is a loop without decisions, so that it compiles as one graph.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from munit_zoo.errors import GraphError, suggest

__all__ = ["Critic", "Graph", "Node", "Plan", "Share", "Translation", "tensor"]

Share = Literal["none", "content", "fakes"]
F = TypeVar("F", bound=Callable[..., Any])


def tensor(method: F) -> F:
    """Mark a method of a recipe as the definition of the tensor of its name."""
    method._names_a_tensor = True  # type: ignore[attr-defined]
    return method


@dataclass(frozen=True)
class Node:
    """A named tensor, or list of tensors: the method that computes it, and from which names.

    exchanged: the method sees the model with its two domains exchanged.
    """

    name: str
    method: Callable[..., Tensor]
    arguments: tuple[str, ...]
    exchanged: bool = False


@dataclass(frozen=True)
class Critic:
    """What a domain's discriminator tells apart: names of a fake and of a real image."""

    fake: str
    real: str


@dataclass(frozen=True)
class Translation:
    """How a graph translates between two domains.

    source, output: names of the image that goes in and of its translation.
    style: name of the input that carries the style code; None where the recipe has no style.
    example, encoded: names of an example image of the target domain and of its style code.
    """

    source: str
    output: str
    style: str | None = None
    example: str | None = None
    encoded: str | None = None


@dataclass(frozen=True)
class Plan:
    """Straight-line order of what must be computed.

    main: with gradient, for `want`. second: afterwards, without gradient, for `also`.
    want, also: names asked for; `also_names` are the names under which `second` has them.
    inputs: the inputs that are read (a redrawn one is called `z_a'`).
    """

    main: tuple[Node, ...]
    second: tuple[Node, ...]
    want: tuple[str, ...]
    also: tuple[str, ...]
    also_names: tuple[str, ...]
    inputs: tuple[str, ...]

    def __call__(
        self, views: Sequence[Any], env: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Values of `want`, and of `also` detached.

        views: the model as its methods see it, and as they see it exchanged.
        """
        values = dict(env)
        for node in self.main:
            values[node.name] = node.method(
                views[node.exchanged], *[values[name] for name in node.arguments]
            )
        fakes = {name: _detached(value) for name, value in values.items()}
        with torch.no_grad():
            for node in self.second:
                fakes[node.name] = node.method(
                    views[node.exchanged], *[fakes[name] for name in node.arguments]
                )
        return (
            {name: values[name] for name in self.want},
            {name: fakes[inner] for name, inner in zip(self.also, self.also_names, strict=True)},
        )

    def split(self, name: str) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
        """The main steps that do not depend on an input, and those that do."""
        depends, before, after = {name}, [], []
        for node in self.main:
            if depends.isdisjoint(node.arguments):
                before.append(node)
            else:
                depends.add(node.name)
                after.append(node)
        return tuple(before), tuple(after)


def _detached(value: Any) -> Any:
    """A tensor, or a list of tensors (the features of several layers), without its history."""
    if isinstance(value, Tensor):
        return value.detach()
    return [_detached(part) for part in value]


class Graph:
    """The named tensors of a recipe.

    recipe: a class with `inputs`, `redrawn`, `mirror`, `terms`, `critics`, `translations` and
    methods marked `@tensor`. Where `mirror` names two domains, every node, term, critic and
    translation also exists with the two exchanged; one that is written out wins.

    Raises GraphError for an argument that nothing computes, a cycle, or a node that has the name of
    an input: mistakes in a recipe, found when it is first looked at.
    """

    def __init__(self, recipe: type) -> None:
        self.recipe = recipe
        self.inputs: tuple[str, ...] = tuple(recipe.inputs)  # type: ignore[attr-defined]
        self.redrawn: tuple[str, ...] = tuple(getattr(recipe, "redrawn", ()))
        self.mirror: tuple[str, str] | None = getattr(recipe, "mirror", None)
        self.nodes = self._nodes()
        self.terms = self._terms(getattr(recipe, "terms", {}))
        self.critics = self._critics(getattr(recipe, "critics", {}))
        self.translations = self._translations(getattr(recipe, "translations", {}))
        self._check()

    # What there is

    @property
    def names(self) -> tuple[str, ...]:
        """All names: inputs first, then what is computed."""
        return (*self.inputs, *self.nodes)

    def exchange(self, name: str) -> str:
        """The name with the two domains exchanged: `x_ab` is `x_ba`."""
        if self.mirror is None:
            return name
        a, b = self.mirror
        stem, underscore, suffix = name.rpartition("_")
        if not set(suffix) <= {a, b}:
            return name
        return stem + underscore + suffix.translate(str.maketrans(a + b, b + a))

    def unknown(self, name: str) -> str | None:
        """Why a name cannot be read; None where it can."""
        if name in self.names:
            return None
        hint = suggest(name, self.names) or f"It has: {', '.join(self.names)}."
        return f"{self.recipe.__name__} computes no {name!r}. {hint}"

    def needs(self, names: Iterable[str]) -> set[str]:
        """The names, and all that they are computed from."""
        found: set[str] = set()
        pending = list(names)
        while pending:
            name = pending.pop()
            if name not in found:
                found.add(name)
                if name in self.nodes:
                    pending += self.nodes[name].arguments
        return found

    # Plans

    def plan(
        self, want: Iterable[str], also: Iterable[str] = (), *, share: Share = "content"
    ) -> Plan:
        """The order in which to compute `want` and, a second time without gradient, `also`.

        share: `content`: the second time the redrawn inputs are others, and what does not depend
        on them is taken over; `fakes`: everything is taken over, nothing redrawn; `none`:
        everything is computed again. Raises GraphError for an unknown name.
        """
        want, also = tuple(dict.fromkeys(want)), tuple(dict.fromkeys(also))
        for name in (*want, *also):
            problem = self.unknown(name)
            if problem:
                raise GraphError(problem)
        main_names = self._order((*want, *also) if share == "fakes" else want)
        main = tuple(self.nodes[name] for name in main_names)
        if share == "fakes":
            return Plan(main, (), want, also, also, self._read(main, want, also))

        again = self._order(also)
        if share == "content":
            changed = {name for name in again if self.needs([name]) & set(self.redrawn)}
        else:
            changed = set(again)
        changed |= set(self.redrawn)

        def inner(name: str) -> str:
            return f"{name}'" if name in changed else name

        second = tuple(
            replace(node, name=inner(node.name), arguments=tuple(map(inner, node.arguments)))
            for node in (self.nodes[name] for name in again)
            if node.name in changed or node.name not in main_names
        )
        also_names = tuple(map(inner, also))
        inputs = self._read((*main, *second), want, also_names)
        return Plan(main, second, want, also, also_names, inputs)

    def _order(self, want: Iterable[str]) -> list[str]:
        done: dict[str, None] = {}

        def visit(name: str) -> None:
            if name in done or name in self.inputs:
                return
            for argument in self.nodes[name].arguments:
                visit(argument)
            done[name] = None

        for name in want:
            visit(name)
        return list(done)

    def _read(self, steps: Iterable[Node], *wanted: Iterable[str]) -> tuple[str, ...]:
        read = {name for step in steps for name in step.arguments}
        read.update(name for names in wanted for name in names)
        primed = [f"{name}'" for name in self.redrawn]
        return tuple(name for name in (*self.inputs, *primed) if name in read)

    # Reading a recipe

    def _nodes(self) -> dict[str, Node]:
        nodes: dict[str, Node] = {}
        marked = [
            (name, method)
            for owner in reversed(self.recipe.__mro__)
            for name, method in vars(owner).items()
            if getattr(method, "_names_a_tensor", False)
        ]
        methods = {name: getattr(self.recipe, name) for name, _ in marked}
        for name, method in methods.items():
            arguments = tuple(inspect.signature(method).parameters)[1:]
            nodes[name] = Node(name, method, arguments)
        if self.mirror is None:
            return nodes
        paired: dict[str, Node] = {}
        for name, node in nodes.items():
            paired[name] = node
            twin = self.exchange(name)
            if twin not in nodes:
                arguments = tuple(map(self.exchange, node.arguments))
                paired[twin] = Node(twin, node.method, arguments, exchanged=True)
        return paired

    def _terms(self, declared: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, Any]:
        terms = {}
        for name, pairs in declared.items():
            both = [tuple(pair) for pair in pairs]
            both += [tuple(map(self.exchange, pair)) for pair in pairs]
            terms[name] = tuple(dict.fromkeys(both))
        return terms

    def _critics(self, declared: Mapping[str, Critic]) -> dict[str, Critic]:
        critics = dict(declared)
        for domain, critic in declared.items():
            twin = Critic(self.exchange(critic.fake), self.exchange(critic.real))
            critics.setdefault(self.exchange(domain), twin)
        return dict(sorted(critics.items()))

    def _translations(
        self, declared: Mapping[tuple[str, str], Translation]
    ) -> dict[tuple[str, str], Translation]:
        translations = dict(declared)
        for (source, target), translation in declared.items():
            fields = {
                key: None if name is None else self.exchange(name)
                for key, name in vars(translation).items()
            }
            way = (self.exchange(source), self.exchange(target))
            translations.setdefault(way, Translation(**fields))  # type: ignore[arg-type]
        return translations

    def _check(self) -> None:
        title = self.recipe.__name__
        for name in self.inputs:
            if name in self.nodes:
                raise GraphError(f"{title}: {name!r} is an input and cannot also be computed")
        for name in self.redrawn:
            if name not in self.inputs:
                raise GraphError(f"{title}: {name!r} is redrawn but is no input")
        for node in self.nodes.values():
            for argument in node.arguments:
                if argument not in self.names:
                    hint = suggest(argument, self.names) or f"It has: {', '.join(self.names)}."
                    raise GraphError(
                        f"{title}.{node.name} reads {argument!r}, which nothing computes. {hint}"
                    )
        self._check_cycles()
        for name, pairs in self.terms.items():
            self._check_names(f"the term {name!r}", [n for pair in pairs for n in pair])
        for domain, critic in self.critics.items():
            self._check_names(f"the critic of {domain!r}", [critic.fake, critic.real])
        for way, translation in self.translations.items():
            read = [name for name in vars(translation).values() if name is not None]
            self._check_names(f"the translation {way[0]} to {way[1]}", read)

    def _check_names(self, reader: str, names: Collection[str]) -> None:
        for name in names:
            problem = self.unknown(name)
            if problem:
                raise GraphError(f"{reader}: {problem}")

    def _check_cycles(self) -> None:
        state: dict[str, bool] = {}

        def visit(name: str, chain: tuple[str, ...]) -> None:
            if name in chain:
                cycle = " -> ".join([*chain[chain.index(name) :], name])
                raise GraphError(f"{self.recipe.__name__}: the tensors form a cycle: {cycle}")
            if name in state or name not in self.nodes:
                return
            for argument in self.nodes[name].arguments:
                visit(argument, (*chain, name))
            state[name] = True

        for name in self.nodes:
            visit(name, ())

    # For people

    def text(self) -> str:
        """One line a tensor: its name, what it is computed from, and what it is."""
        width = max(len(self._call(node)) for node in self.nodes.values())
        lines = [f"inputs: {', '.join(self.inputs)}"]
        for node in self.nodes.values():
            doc = (inspect.getdoc(node.method) or "").partition("\n")[0]
            note = f"{doc}{' (domains exchanged)' if node.exchanged else ''}"
            lines.append(f"{self._call(node):<{width}}  {note}".rstrip())
        return "\n".join(lines)

    def mermaid(self) -> str:
        """The graph as a Mermaid flowchart."""
        lines = ["flowchart LR"]
        lines += [f"    {name}([{name}])" for name in self.inputs]
        lines += [
            f"    {argument} --> {node.name}"
            for node in self.nodes.values()
            for argument in node.arguments
        ]
        return "\n".join(lines)

    @staticmethod
    def _call(node: Node) -> str:
        return f"{node.name} <- {', '.join(node.arguments)}"
