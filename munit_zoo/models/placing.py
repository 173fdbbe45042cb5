"""Where a loss term acts in a recipe, and on what: the recipe's choice, or a config's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from munit_zoo.models.graph import Graph
from munit_zoo.models.recipe import Critic, Entry, Fool, names_of

__all__ = ["Placed", "place_term"]

Placed = dict[str, tuple[Entry, ...]]
"""Per update in which a term acts, what it is called on."""


class _Misplaced(Exception):
    """Why a term cannot act: the config's key, and what is wrong with it."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key, self.message = key, message


def place_term(
    graph: Graph,
    name: str,
    criterion: object,
    pairs: Sequence[Sequence[str]] | None,
    updates: Sequence[str] | None,
) -> tuple[Placed, list[tuple[str, str]]]:
    """In which updates a term acts, and on what; and what is wrong with it, as (key, message).

    criterion: an instance, or its class. pairs, updates: a config's, None where it gives none.
    """
    updates = None if updates is None else tuple(update.lower() for update in updates)
    kind = criterion if isinstance(criterion, type) else type(criterion)
    label = f"the loss {kind.__name__}"
    try:
        _check_updates(graph, updates)
        if getattr(criterion, "contract", "names") == "adversarial":
            relative = bool(getattr(criterion, "relative", False))
            return _adversarial(graph, name, label, pairs, updates, relative), []
        placed = _comparing(graph, name, label, pairs, updates)
    except _Misplaced as problem:
        return {}, [(problem.key, problem.message)]
    key = "NAME" if pairs is None else "PAIRS"
    entries = dict.fromkeys(entry for some in placed.values() for entry in some)
    return placed, [
        problem for entry in entries for problem in _entry_problems(graph, criterion, key, entry)
    ]


def _check_updates(graph: Graph, updates: Sequence[str] | None) -> None:
    known = [update.name for update in graph.updates]
    for name in updates or ():
        if name not in known:
            there = ", ".join(known)
            raise _Misplaced("UPDATES", f"{graph.title} has no update {name!r}; it has {there}")


def _sides(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Those entries that are a discriminator's or a generator's side."""
    return tuple(dict.fromkeys(entry for entry in entries if isinstance(entry, (Critic, Fool))))


def _adversarial(
    graph: Graph,
    name: str,
    label: str,
    pairs: object,
    updates: Sequence[str] | None,
    relative: bool,
) -> Placed:
    """An adversarial term: where the recipe has it, or everywhere that a discriminator judges.

    relative: whether a generator's side also reads what is said of reals.
    """
    if pairs is not None:
        raise _Misplaced("PAIRS", f"are for losses that compare tensors; {label} is adversarial")
    own = graph.terms.get(name)
    if own is None:
        own = {u.name: tuple(e for es in u.terms.values() for e in es) for u in graph.updates}
    sides = {update: _sides(entries) for update, entries in own.items()}
    if name in graph.terms and not any(sides.values()):
        message = f"the term {name.upper()} compares tensors; {label} is adversarial"
        raise _Misplaced("NAME", message)
    placed = {u: e for u, e in sides.items() if e and (updates is None or u in updates)}
    if not placed:
        raise _Misplaced("NAME", f"{graph.title} has nothing adversarial for {label} to act on")
    against = {
        entry.fake: entry.real
        for entries in own.values()
        for entry in entries
        if isinstance(entry, Critic)
    }
    return {
        update: tuple(_fool(graph, e, against, label, relative) for e in entries)
        for update, entries in placed.items()
    }


def _fool(
    graph: Graph, entry: Entry, against: Mapping[str, str], label: str, relative: bool
) -> Entry:
    """A generator's side with what its loss reads: of fakes alone, or of reals, too."""
    if not isinstance(entry, Fool):
        return entry
    if not relative:
        return Fool(entry.fake)
    real = entry.real or against.get(entry.fake)
    if real is None:
        raise _Misplaced(
            "NAME",
            f"{label} compares fakes with reals; {graph.title} does not say with which to compare "
            f"{entry.fake!r} where a generator is trained: Fool({entry.fake!r}, real=…)",
        )
    return Fool(entry.fake, real)


def _comparing(
    graph: Graph,
    name: str,
    label: str,
    pairs: Sequence[Sequence[str]] | None,
    updates: Sequence[str] | None,
) -> Placed:
    """A term that compares tensors: as the recipe has it, or as the config says."""
    own = graph.terms.get(name, {})
    title, shown = graph.title, name.upper()
    if pairs is not None:
        if not pairs:
            raise _Misplaced("PAIRS", "names nothing: leave the term out, or give WEIGHT 0")
        where = updates or tuple(own) or tuple(_for_generators(graph))
        if len(where) > 1 and not updates:
            raise _Misplaced(
                "UPDATES",
                f"is required for a term of one's own: {title} has several updates, "
                f"{' or '.join(where)}; write UPDATES: [{where[0]}]",
            )
        return {update: tuple(tuple(pair) for pair in pairs) for update in where}
    if not own:
        known = ", ".join(term.upper() for term in graph.terms)
        message = f"is required, as in [[x_ab, x_a]]: {title} itself knows only the terms {known}"
        raise _Misplaced("PAIRS", message)
    if any(_sides(entries) for entries in own.values()):
        raise _Misplaced("NAME", f"the term {shown} is adversarial; {label} compares tensors")
    placed = {u: tuple(e) for u, e in own.items() if updates is None or u in updates}
    if not placed:
        there = ", ".join(own)
        raise _Misplaced("UPDATES", f"the term {shown} acts in {there}, in none of these")
    return placed


def _entry_problems(
    graph: Graph, criterion: object, key: str, entry: Entry
) -> Iterator[tuple[str, str]]:
    """What is wrong with one entry of a term that compares tensors."""
    kind = criterion if isinstance(criterion, type) else type(criterion)
    label = f"the loss {kind.__name__}"
    arity = getattr(criterion, "arity", 2)
    if arity is not None and len(entry) != arity:
        tensors = f"{arity} tensor{'s' if arity != 1 else ''}"
        yield key, f"{label} reads {tensors} at a time, got [{', '.join(entry)}]"
    unknown = [problem for problem in map(graph.admit, names_of(entry)) if problem]
    for problem in unknown:
        yield "PAIRS", problem
    if not unknown and getattr(criterion, "differentiates", False) and len(entry) > 1:
        result, by = entry[0], entry[1]
        if by == result or by not in graph.needs([result]):
            yield key, f"{label} differentiates {result!r} by {by!r}, of which it is not computed"


def _for_generators(graph: Graph) -> Iterator[str]:
    """Updates in which no discriminator is judged: a term of the user's own belongs there."""
    for update in graph.updates:
        entries = [entry for some in update.terms.values() for entry in some]
        if not any(isinstance(entry, Critic) for entry in entries):
            yield update.name
