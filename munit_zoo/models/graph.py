"""Graphs of named tensors: a recipe, read, mirrored and checked.

A recipe marks methods with `@tensor`; the method's name is the tensor's name and its argument names
are what it depends on. What must be computed for a loss or a translation, and in which order, is
derived from that.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from munit_zoo.errors import GraphError, suggest
from munit_zoo.inputs import Draw, Image, Input, Label
from munit_zoo.models.derived import derive
from munit_zoo.models.recipe import ANY, Critic, Entry, Fool, Translation, Update, names_of

__all__ = ["Graph", "Node"]


@dataclass(frozen=True)
class Node:
    """A named tensor, or list of tensors: the method that computes it, and from which names.

    exchanged: the method sees the model with its two domains exchanged.
    """

    name: str
    method: Callable[..., object]
    arguments: tuple[str, ...]
    exchanged: bool = False


class Graph:
    """The named tensors of a recipe, and the updates and translations that read them.

    recipe: a recipe's instance; or its class, for what holds of every instance. Where `mirror`
    names two words, every input, node, entry and translation also exists with the two exchanged;
    one that is written out wins.

    Raises GraphError for an argument that nothing computes, a cycle, a node that has the name of
    an input, a mirror that mirrors nothing: mistakes in a recipe, found when it is looked at.
    """

    def __init__(self, recipe: Any) -> None:
        self.title: str = (recipe if isinstance(recipe, type) else type(recipe)).__name__
        self.mirror: tuple[str, str] | None = recipe.mirror
        self.inputs: dict[str, Input] = self._inputs(recipe)
        self.nodes = self._nodes(recipe if isinstance(recipe, type) else type(recipe))
        self.updates: tuple[Update, ...] = tuple(self._update(update) for update in recipe.updates)
        self.translations = self._translations(recipe.translations)
        self.once = self._both(recipe.once)
        self._check()

    # What there is

    @property
    def names(self) -> tuple[str, ...]:
        """All names: inputs first, then what is computed."""
        return (*self.inputs, *self.nodes)

    @property
    def letters(self) -> tuple[str, ...]:
        """The recipe's own names for its domains, in order; none where it is for any K.

        Letters are in the alphabet's order, words in that in which `inputs` names them.
        """
        named = [spec.domain for spec in self.inputs.values() if isinstance(spec, Image)]
        found = dict.fromkeys(letter for letter in named if letter is not None)
        letters = all(len(letter) == 1 for letter in found)
        return tuple(sorted(found) if letters else found)

    @property
    def draws(self) -> dict[str, Draw]:
        """The random inputs."""
        return {name: spec for name, spec in self.inputs.items() if isinstance(spec, Draw)}

    @property
    def terms(self) -> dict[str, dict[str, tuple[Entry, ...]]]:
        """Per term that the recipe knows, and update in which it acts, its entries."""
        found: dict[str, dict[str, tuple[Entry, ...]]] = {}
        for update in self.updates:
            for term, entries in update.terms.items():
                found.setdefault(term, {})[update.name] = tuple(entries)
        return found

    def exchange(self, name: str) -> str:
        """The name with the two words of `mirror` exchanged: `x_ab` is `x_ba`, and with a mirror
        of `photo` and `art`, `x_photo_art` is `x_art_photo`."""
        if self.mirror is None:
            return name
        stem, *parts = name.split("_")
        return "_".join([stem, *map(self._exchange_part, parts)])

    def _exchange_part(self, part: str) -> str:
        first, second = self.mirror or ("", "")
        if len(first) == len(second) == 1 and part and set(part) <= {first, second}:
            return part.translate(str.maketrans(first + second, second + first))
        return {first: second, second: first}.get(part, part)

    def exchange_entry(self, entry: Entry) -> Entry:
        """An entry with its names exchanged."""
        names = [self.exchange(name) for name in names_of(entry)]
        if isinstance(entry, (Critic, Fool)):
            return type(entry)(*names)
        return tuple(names)

    def unknown(self, name: str) -> str | None:
        """Why a name cannot be read; None where it can."""
        if name in self.inputs or name in self.nodes:
            return None
        hint = suggest(name, self.names) or f"It has: {', '.join(self.names)}."
        return f"{self.title} computes no {name!r}. {hint}"

    def admit(self, name: str) -> str | None:
        """Let a term read a name, a derived one (`munit_zoo.models.derived`) too: why it cannot be
        read; None where it can."""
        if name in self.inputs or name in self.nodes:
            return None
        problem = derive(self, name)
        return self.unknown(name) if problem == "" else problem

    def needs(self, names: Iterable[str], given: Collection[str] = ()) -> set[str]:
        """The names, and all that they are computed from where `given` is given."""
        found: set[str] = set()
        pending = list(names)
        while pending:
            name = pending.pop()
            if name not in found:
                found.add(name)
                if name in self.nodes and name not in given:
                    pending += self.nodes[name].arguments
        return found

    def order(self, want: Iterable[str], given: Collection[str] = ()) -> list[Node]:
        """The nodes to compute, in the order of the recipe's definitions as far as dependencies
        allow, for `want` where `given` is given. Raises GraphError for an unknown name."""
        want = list(want)
        for name in (*want, *given):
            problem = self.unknown(name)
            if problem:
                raise GraphError(problem)
        needed = self.needs(want, given)
        done: dict[str, None] = dict.fromkeys(given)

        def visit(name: str) -> None:
            if name in done or name not in self.nodes:
                return
            for argument in self.nodes[name].arguments:
                visit(argument)
            done[name] = None

        for name in self.nodes:
            if name in needed:
                visit(name)
        return [self.nodes[name] for name in done if name not in given]

    def redraws(self, name: str) -> int:
        """How often a random input is drawn anew within an iteration."""
        return sum(name in update.redraw for update in self.updates)

    # Reading a recipe

    def _both(self, names: Iterable[str]) -> tuple[str, ...]:
        names = tuple(names)
        return tuple(dict.fromkeys((*names, *map(self.exchange, names))))

    def _inputs(self, recipe: Any) -> dict[str, Input]:
        declared: dict[str, Input] = dict(recipe.inputs)
        found = dict(declared)
        for name, spec in declared.items():
            found.setdefault(self.exchange(name), self._exchanged_input(spec))
        return found

    def _exchanged_input(self, spec: Input) -> Input:
        def twin(name: str | None) -> str | None:
            return None if name is None else self.exchange(name)

        if isinstance(spec, Image):
            domain = None if spec.domain is None else self._exchange_part(spec.domain)
            return Image(domain, twin(spec.like), twin(spec.paired_with))
        if isinstance(spec, Label):
            return replace(spec, of=self.exchange(spec.of))
        return replace(spec, like=twin(spec.like))

    def _nodes(self, recipe: type) -> dict[str, Node]:
        marked = [
            name
            for owner in reversed(recipe.__mro__)
            for name, method in vars(owner).items()
            if getattr(method, "_names_a_tensor", False)
        ]
        nodes: dict[str, Node] = {}
        for name in dict.fromkeys(marked):
            method = getattr(recipe, name)
            nodes[name] = Node(name, method, tuple(inspect.signature(method).parameters)[1:])
        paired: dict[str, Node] = {}
        for name, node in nodes.items():
            paired[name] = node
            twin = self.exchange(name)
            if twin not in nodes and twin not in self.inputs:
                arguments = tuple(map(self.exchange, node.arguments))
                paired[twin] = Node(twin, node.method, arguments, exchanged=True)
        return paired

    def _update(self, update: Update) -> Update:
        if not update.mirrored:
            return update
        terms: dict[str, list[Entry]] = {term: list(e) for term, e in update.terms.items()}
        for term, entries in update.terms.items():
            mine = terms.setdefault(self.exchange(term), [])
            mine += [e for e in map(self.exchange_entry, entries) if e not in mine]
        return replace(
            update,
            terms=terms,
            redraw=self._both(update.redraw),
            takes=self._both(update.takes),
            also=self._both(update.also),
        )

    def _translations(
        self, declared: Mapping[tuple[str, str], Translation]
    ) -> dict[tuple[str, str], Translation]:
        translations = dict(declared)
        for (source, target), translation in declared.items():
            way = (self._exchange_part(source), self._exchange_part(target))
            fields: dict[str, Any] = {
                key: self.exchange(value) if isinstance(value, str) else value
                for key, value in vars(translation).items()
            }
            fields["given"] = {self.exchange(k): v for k, v in translation.given.items()}
            translations.setdefault(way, Translation(**fields))
        return translations

    # Checking it

    def _check(self) -> None:
        for message in self._problems():
            raise GraphError(f"{self.title}: {message}")

    def _problems(self) -> Iterator[str]:
        for name in self.inputs:
            if name in self.nodes:
                yield f"{name!r} is an input and cannot also be computed"
        if self.mirror is not None and all(self.exchange(n) == n for n in self.names):
            yield (
                f"mirror exchanges {self.mirror[0]!r} and {self.mirror[1]!r}, but no name has "
                "either as a part after an underscore, as in x_" + self.mirror[0]
            )
        for name, spec in self.inputs.items():
            yield from self._input_problems(name, spec)
        for node in self.nodes.values():
            for argument in node.arguments:
                if argument not in self.names:
                    hint = suggest(argument, self.names) or f"It has: {', '.join(self.names)}."
                    yield f"{node.name} reads {argument!r}, which nothing computes. {hint}"
        yield from self._cycles()
        yield from self._update_problems()
        for way, translation in self.translations.items():
            where = f"the translation {way[0]} to {way[1]}"
            unknown = list(self._unknown(where, translation.names()))
            yield from unknown or self._not_given(where, translation)
            if way != (ANY, ANY) and not {*way} <= {*self.letters}:
                among = ", ".join(self.letters) or "any of K, which is written (ANY, ANY)"
                yield f"{where}: the domains of its inputs are {among}"
        yield from self._unknown("once", self.once)

    def _not_given(self, where: str, translation: Translation) -> Iterator[str]:
        """Images and labels that a translation reads, and nobody gives it."""
        source, style = translation.source, translation.style
        for wanted, given in (
            (translation.output, {source, style}),
            (style if translation.latent else None, {translation.latent}),
            (translation.encoded, {translation.example}),
            (translation.reconstruction, {source}),
        ):
            known = {name for name in given if name is not None}
            for name in sorted(self.needs([wanted], known) if wanted is not None else ()):
                if name in {*self.inputs} - {*self.draws, *known, translation.label}:
                    yield (
                        f"{where}: {wanted} is computed from the input {name!r}, which a "
                        "translation is not given: it has its source, a style or an example, the "
                        "target's label, and draws"
                    )

    def _input_problems(self, name: str, spec: Input) -> Iterator[str]:
        if isinstance(spec, Draw):
            if spec.like is not None:
                yield from self._unknown(f"the input {name!r} is drawn like", [spec.like])
            return
        of = (
            [spec.of]
            if isinstance(spec, Label)
            else [other for other in (spec.like, spec.paired_with) if other is not None]
        )
        for other in of:
            if not isinstance(self.inputs.get(other), Image):
                yield f"the input {name!r} refers to {other!r}, which is no image of the inputs"

    def _update_problems(self) -> Iterator[str]:
        seen: set[str] = set()
        for update in self.updates:
            where = f"the update {update.name!r}"
            if update.name in seen:
                yield f"two updates are called {update.name!r}"
            seen.add(update.name)
            if not update.trains:
                yield f"{where} trains no network"
            for term, entries in update.terms.items():
                read = [name for entry in entries for name in names_of(entry)]
                yield from self._unknown(f"{where}, term {term!r}", read)
            yield from self._unknown(f"{where} takes", update.takes)
            yield from self._unknown(f"{where} also computes", update.also)
            for name in update.redraw:
                if not isinstance(self.inputs.get(name), Draw):
                    yield f"{where} redraws {name!r}, which is no random input"
        yield from self._takes_problems()

    def _takes_problems(self) -> Iterator[str]:
        read: set[str] = set()
        for update in self.updates:
            for name in update.takes:
                if name not in read:
                    yield (
                        f"the update {update.name!r} takes {name!r}, which no term of an update "
                        "before it computes"
                    )
            entries = [entry for some in update.terms.values() for entry in some]
            read |= self.needs([name for entry in entries for name in names_of(entry)])

    def _unknown(self, reader: str, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            problem = self.unknown(name)
            if problem:
                yield f"{reader}: {problem}"

    def _cycles(self) -> Iterator[str]:
        state: set[str] = set()

        def visit(name: str, chain: tuple[str, ...]) -> Iterator[str]:
            if name in chain:
                yield "the tensors form a cycle: " + " -> ".join(
                    [*chain[chain.index(name) :], name]
                )
                return
            if name in state or name not in self.nodes:
                return
            state.add(name)
            for argument in self.nodes[name].arguments:
                yield from visit(argument, (*chain, name))

        for name in self.nodes:
            yield from visit(name, ())

    # For people

    def text(self) -> str:
        """One line a tensor: its name, what it is computed from, and what it is."""
        width = max((len(self.call(node)) for node in self.nodes.values()), default=0)
        lines = [f"inputs: {', '.join(self.inputs)}"]
        for node in self.nodes.values():
            lines.append(f"{self.call(node):<{width}}  {self.note(node)}".rstrip())
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
    def call(node: Node) -> str:
        """A node as `x_ab <- c_a, z_b`."""
        return f"{node.name} <- {', '.join(node.arguments)}"

    def note(self, node: Node) -> str:
        """What a node is, from its docstring."""
        method: Any = node.method
        while not inspect.isroutine(method):  # wrapped: it says what is behind it
            method = method.method
        doc = (inspect.getdoc(method) or "").partition("\n")[0]
        exchanged = f" ({' and '.join(self.mirror or ())} exchanged)" if node.exchanged else ""
        return f"{doc}{exchanged}"
