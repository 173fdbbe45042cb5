"""The words in which a recipe is written: tensors, updates and translations, all of them data.

class Munit(TranslationModel):
    inputs = {"x_a": Image("a"), "x_b": Image("b"), "z_a": Draw(...), "z_b": Draw(...)}
    mirror = ("a", "b")
    updates = (
        Update("discriminators", trains=("discriminator",),
               terms={"adversarial": [Critic("d_ab", "d_b")]}),
        Update("generators", trains=("content_encoder", "style_encoder", "decoder"),
               redraw=("z_b",), terms={"adversarial": [Fool("d_ab")], ...}),
    )

    @tensor
    def c_a(self, x_a): return self.a.content_encoder(x_a)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "ANY",
    "Critic",
    "Entry",
    "Fool",
    "Judge",
    "Network",
    "Translation",
    "Update",
    "names_of",
    "tensor",
]

ANY = "*"
"""As source or target of a translation: any of K domains."""

F = TypeVar("F", bound=Callable[..., Any])


class Network(Protocol):
    """A network as tensor methods call it: tensors, or lists of them, to a tensor."""

    def __call__(self, *inputs: object) -> Tensor: ...


class Judge(Protocol):
    """A discriminator as tensor methods call it: to a list of logits, one tensor a scale."""

    def __call__(self, *inputs: object) -> list[Tensor]: ...


def tensor(method: F) -> F:
    """Mark a method of a recipe as the definition of the tensor of its name; the names of its
    arguments are what it is computed from."""
    method._names_a_tensor = True  # type: ignore[attr-defined]
    return method


class Critic(NamedTuple):
    """A discriminator's own loss: names of what it says of fakes and of reals."""

    fake: str
    real: str


class Fool(tuple[str, ...]):
    """A generator's loss against a discriminator: the name of what that says of fakes.

    real: of what it says of reals, for losses that compare the two (relativistic ones); where it is
    left out, that of the `Critic` with the same fakes.
    """

    __slots__ = ()

    def __new__(cls, fake: str, real: str | None = None) -> Fool:
        return super().__new__(cls, (fake,) if real is None else (fake, real))

    def __getnewargs__(self) -> tuple[str, ...]:
        return tuple(self)

    @property
    def fake(self) -> str:
        return self[0]

    @property
    def real(self) -> str | None:
        return self[1] if len(self) > 1 else None


Entry = tuple[str, ...]
"""What a criterion is called on, once: names, or a discriminator's or generator's side (`Critic`,
`Fool`, which are tuples of names, too)."""


def names_of(entry: Entry) -> tuple[str, ...]:
    """The names of the graph that an entry reads."""
    return tuple(entry)


@dataclass(frozen=True)
class Update:
    """Losses, one backward pass, one step of the networks that it trains.

    trains: networks by name; `discriminator` also means every domain's, as in `a.discriminator`.
    terms: per loss term the entries that its criterion is called on.
    redraw: random inputs drawn anew for this update and those after it.
    takes: names left as an earlier update had them, although networks were stepped since.
    also: names that are computed although nothing reads them, for what that changes in networks
        with state (spectral vectors, running statistics); left out where theirs have none.
    every: it takes place in each so-many-th iteration; a number, or the name of an attribute that
        is one, or of a method that says of an iteration whether.
    clip: the largest norm that each network's gradient may have; clip_total: that of all networks
        of the update together.
    mirrored: whether all that it names is meant in both directions.
    """

    name: str
    trains: tuple[str, ...]
    terms: Mapping[str, Sequence[Entry]]
    redraw: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    every: int | str = 1
    clip: float | None = None
    clip_total: float | None = None
    mirrored: bool = True


@dataclass(frozen=True)
class Translation:
    """How a graph translates.

    source, output: names of the image that goes in and of its translation.
    style: the name, an input or computed, that carries the style code; None for recipes without.
    latent: the random input that a drawn style comes from (the style itself where both are one).
    example, encoded: an example image of the target domain, and its style code.
    label: the input that carries the number of the target domain.
    reconstruction: the source's image encoded and decoded in its own domain, where there is one.
    given: values of further inputs, such as a mirroring that is not to take place; those not named
        are 0.
    """

    source: str
    output: str
    style: str | None = None
    latent: str | None = None
    example: str | None = None
    encoded: str | None = None
    label: str | None = None
    reconstruction: str | None = None
    given: Mapping[str, float] = field(default_factory=dict)

    def names(self) -> list[str]:
        """All names of the graph that it mentions."""
        single = [
            self.source,
            self.output,
            self.style,
            self.latent,
            self.example,
            self.encoded,
            self.label,
            self.reconstruction,
        ]
        return [*(name for name in single if name is not None), *self.given]
