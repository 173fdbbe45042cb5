"""The three ways a criterion is called, as base classes.

A third party's criterion need not inherit from them: the class attribute `contract` decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from munit_zoo.errors import ContractError

__all__ = ["AdversarialLoss", "NamedLoss", "PairLoss", "call_named"]


class PairLoss(nn.Module):
    """A scalar of tensors that a term's PAIRS name: `forward(x, y)`.

    arity: how many tensors a pair has. same_shape: whether they must be of one shape.
    """

    contract: ClassVar[str] = "pair"
    arity: ClassVar[int] = 2
    same_shape: ClassVar[bool] = True


class AdversarialLoss(nn.Module):
    """Scalars of a discriminator's logits, a list of tensors (one a scale), summed over it."""

    contract: ClassVar[str] = "adversarial"

    def generator(self, fakes: Sequence[Tensor]) -> Tensor:
        """What the generator minimises, of the logits of its images."""
        raise NotImplementedError

    def discriminator(self, fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> Tensor:
        """What the discriminator minimises, of the logits of (detached) fakes and of reals."""
        raise NotImplementedError


class NamedLoss(nn.Module):
    """A scalar of tensors that the criterion names itself: `forward(names, critics)`.

    reads: names of the recipe's graph. side: whose loss it belongs to, and whose optimizer trains
    its own parameters. wants_critics: whether `critics` holds the discriminators by domain (else
    it is empty). A positional parameter `shapes` of the constructor receives the shapes of all
    names, batch size 1, by name.
    """

    contract: ClassVar[str] = "named"
    reads: tuple[str, ...] = ()
    side: Literal["generator", "discriminator"] = "generator"
    wants_critics: bool = False

    def forward(self, names: Mapping[str, Tensor], critics: Mapping[str, Any]) -> Tensor:
        raise NotImplementedError


class _Handed(dict[str, Any]):
    """What a named criterion is handed: asking for more is told to its author."""

    def __init__(self, values: Mapping[str, Any], complaint: str) -> None:
        super().__init__(values)
        self.complaint = complaint

    def __missing__(self, name: str) -> Any:
        raise ContractError(self.complaint.format(name=name))


def call_named(loss: Any, values: Mapping[str, Any], critics: Mapping[str, Any]) -> Tensor:
    """A named criterion's value: it is handed what its `reads` and `wants_critics` ask for.

    Raises ContractError where it takes more than that.
    """
    label = f"the loss {type(loss).__name__}"
    read = {name: values[name] for name in loss.reads}
    names = _Handed(
        read, f"{label} asks for {{name!r}}, which reads does not name; add it to reads"
    )
    if getattr(loss, "wants_critics", False):
        known = ", ".join(critics)
        given = _Handed(critics, f"{label} asks for the critic {{name!r}}; there is {known}")
    else:
        given = _Handed({}, f"{label} uses critics: set wants_critics = True")
    value: Tensor = loss(names, given)
    return value
