"""Every error a user of the package can cause. One root, so that a caller can catch them all."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = [
    "AmbiguousComponentError",
    "BrokenComponentError",
    "CheckpointError",
    "ComponentError",
    "ConfigError",
    "ContractError",
    "DataError",
    "FrozenConfigError",
    "GraphError",
    "MunitZooError",
    "Problem",
    "UnknownComponentError",
    "UsageError",
    "WeightsError",
    "an",
    "counted",
    "duration",
    "quoted",
    "shortened",
    "sized",
    "suggest",
]


def suggest(word: str, known: Iterable[str], *, limit: int = 3) -> str:
    """The sentence "Did you mean 'x'?" for the nearest of `known`, or "" when nothing is near."""
    if len(word) > 200:
        return ""  # nothing is near, and to find that out takes long
    by_fold = {candidate.casefold(): candidate for candidate in known}
    for candidate in list(by_fold.values()):
        # a part is enough: 'adian' is near 'adain_resnet'
        for part in re.split(r"[_/:.]", candidate):
            by_fold.setdefault(part.casefold(), candidate)
    near = difflib.get_close_matches(word.casefold(), by_fold, n=limit, cutoff=0.6)
    if not near:
        return ""
    found = dict.fromkeys(by_fold[match] for match in near)
    return "Did you mean " + " or ".join(map(repr, found)) + "?"


def an(noun: str) -> str:
    """A noun with its article: `an activation`, `a norm`."""
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"


def counted(count: int, noun: str) -> str:
    """A number with its noun: `1 image`, `2 images`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def shortened(text: str, limit: int = 80) -> str:
    """A text for a message, its middle left out where it is long."""
    return text if len(text) <= limit else f"{text[: limit // 2]}…{text[-(limit // 4) :]}"


def quoted(value: object) -> str:
    """A value's repr for a message, shortened."""
    return shortened(repr(value))


def sized(count: float) -> str:
    """Bytes to read: `3.4 MB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def duration(seconds: float) -> str:
    """A time to read: `2 h 5 min`, `3 min 20 s`, `12 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class MunitZooError(Exception):
    """Root of the package's errors. The command line prints one as text and exits with status 2."""


class UsageError(MunitZooError):
    """A call or command line that asks for something that cannot be done."""


class ComponentError(MunitZooError):
    """Something is wrong with a named component."""


class UnknownComponentError(ComponentError):
    """No component of this kind has this name."""


class AmbiguousComponentError(ComponentError):
    """Two distributions offer one name; `dist:name` says which is meant."""


class BrokenComponentError(ComponentError):
    """The component is listed, but importing it failed."""


class ContractError(ComponentError):
    """A class, or an instance of it, does not keep the contract of its kind.

    place: dotted path of the config's node that the component was made from, "" for none.
    """

    place = ""

    def __str__(self) -> str:
        message = super().__str__()
        return f"{self.place}: {message}" if self.place else message


class GraphError(MunitZooError):
    """A graph of named tensors is inconsistent: unknown name, cycle, clash of shapes."""


class DataError(MunitZooError):
    """Images are missing, unreadable, or not of the declared form."""


class CheckpointError(MunitZooError):
    """A run or snapshot cannot be read, or does not fit what it is read into."""


class WeightsError(MunitZooError):
    """Pretrained weights are absent, or are not what they are said to be."""


class FrozenConfigError(MunitZooError):
    """A resolved config was about to be changed."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a config.

    path: dotted path of the key (`MODEL.DECODER.NORM`), "" for the file as a whole.
    message: what is wrong, what is allowed and how to mend it.
    origin: where the value was written (`file:line` or `command line`), "" when nowhere.
    """

    path: str
    message: str
    origin: str = ""

    def __str__(self) -> str:
        where = f" ({self.origin})" if self.origin else ""
        return f"{shortened(self.path, 200) or 'config'}{where}: {self.message}"


class ConfigError(MunitZooError):
    """All problems of one config, reported together.

    problems: the single problems, in the order of the config. notes: what may be why, such as keys
    that went with an exchanged component.
    """

    def __init__(
        self, problems: Sequence[Problem], *, source: str = "", notes: Sequence[str] = ()
    ) -> None:
        self.problems, self.source, self.notes = tuple(problems), source, tuple(notes)
        count = len(self.problems)
        head = f"{count} problem{'s' if count != 1 else ''} in the config {source}".rstrip()
        lines = [head + ":", *(f"  - {problem}" for problem in self.problems), *self.notes]
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        return (_config_error, (self.problems, self.source, self.notes))


def _config_error(
    problems: Sequence[Problem], source: str, notes: Sequence[str] = ()
) -> ConfigError:
    return ConfigError(problems, source=source, notes=notes)
