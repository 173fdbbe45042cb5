"""Optimizers by name: torch's, with the settings that matter here as config keys."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn import Parameter

from munit_zoo.errors import ContractError
from munit_zoo.registry.ranges import Fraction, NonNegative, OpenFraction

__all__ = ["SGD", "Adam", "AdamW", "RMSprop"]


class Adam:
    """Adam (Kingma & Ba 2015) with L2 weight decay added to the gradient.

    lr: learning rate before the schedule's factor. fused: torch's one-kernel update, the same
    mathematics and faster on CPU and CUDA.
    """

    kind: type[torch.optim.Adam | torch.optim.AdamW] = torch.optim.Adam

    def __init__(
        self,
        *,
        lr: NonNegative = 1e-4,
        betas: tuple[OpenFraction, OpenFraction] = (0.5, 0.999),
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 0.0,
        fused: bool = True,
    ) -> None:
        self.lr, self.betas, self.eps = lr, betas, eps
        self.weight_decay, self.fused = weight_decay, fused

    def build(self, parameters: Iterable[Parameter]) -> torch.optim.Optimizer:
        """The optimizer of some parameters."""
        return self.kind(
            parameters,
            lr=self.lr,
            betas=self.betas,
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=self.fused,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    kind = torch.optim.AdamW

    def __init__(
        self,
        *,
        lr: NonNegative = 1e-4,
        betas: tuple[OpenFraction, OpenFraction] = (0.5, 0.999),
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 1e-2,
        fused: bool = True,
    ) -> None:
        super().__init__(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused)


class RMSprop:
    """RMSprop (Hinton 2012)."""

    def __init__(
        self,
        *,
        lr: NonNegative = 1e-4,
        alpha: Fraction = 0.99,
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 0.0,
    ) -> None:
        self.lr, self.alpha, self.eps, self.weight_decay = lr, alpha, eps, weight_decay

    def build(self, parameters: Iterable[Parameter]) -> torch.optim.Optimizer:
        """The optimizer of some parameters."""
        return torch.optim.RMSprop(
            parameters, lr=self.lr, alpha=self.alpha, eps=self.eps, weight_decay=self.weight_decay
        )


class SGD:
    """Stochastic gradient descent with momentum."""

    def __init__(
        self,
        *,
        lr: NonNegative = 1e-2,
        momentum: NonNegative = 0.9,
        nesterov: bool = False,
        weight_decay: NonNegative = 0.0,
    ) -> None:
        if nesterov and not momentum:
            raise ContractError("NESTEROV needs a MOMENTUM above 0")
        self.lr, self.momentum = lr, momentum
        self.nesterov, self.weight_decay = nesterov, weight_decay

    def build(self, parameters: Iterable[Parameter]) -> torch.optim.Optimizer:
        """The optimizer of some parameters."""
        return torch.optim.SGD(
            parameters,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )
