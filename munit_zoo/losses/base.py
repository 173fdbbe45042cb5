"""The two ways a criterion is called, as base classes.

A third party's criterion need not inherit from them: the class attribute `contract` decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

__all__ = ["AdversarialLoss", "NamesLoss"]


class NamesLoss(nn.Module):
    """A scalar of what a recipe's names stand for, tensors or lists of tensors: `forward(x, y)`.

    arity: how many names it reads at a time; None for any number. same_shape: whether what it reads
    must be of one shape. differentiates: whether it takes the gradient of its first argument by its
    second (a penalty); the second then is a leaf of its own.

    A positional parameter `shapes` of the constructor receives the shapes of all names, batch size
    included, by name.
    """

    contract: ClassVar[str] = "names"
    arity: ClassVar[int | None] = 2
    same_shape: ClassVar[bool] = True
    differentiates: ClassVar[bool] = False


class AdversarialLoss(nn.Module):
    """Scalars of a discriminator's logits, a list of tensors (one a scale).

    relative: whether a generator's side is told the logits of reals, too: `generator(fakes, reals)`
    (the relativistic losses). middle: the logit between those of fakes and of reals.
    """

    contract: ClassVar[str] = "adversarial"
    relative: ClassVar[bool] = False
    middle: ClassVar[float] = 0.0

    def generator(self, fakes: Sequence[Tensor]) -> Tensor:
        """What the generator minimises, of the logits of its images."""
        raise NotImplementedError

    def discriminator(self, fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> Tensor:
        """What the discriminator minimises, of the logits of (detached) fakes and of reals."""
        raise NotImplementedError

    def verdicts(self, fakes: Sequence[Tensor], reals: Sequence[Tensor]) -> list[Tensor]:
        """Per scale what the logits of reals say: above 0 where they are taken for real."""
        return [real - self.middle for real in reals]
