"""Optimizers of torch by the name of their class: `torch.Adagrad`."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from munit_zoo.errors import UnknownComponentError
from munit_zoo.optim._foreign import component, problem, settings_of

__all__ = ["TorchOptimizers"]


class TorchOptimizers:
    """Any optimizer of torch.optim by its class, with its own settings and defaults.

    All that train networks like these: not those that need a closure (LBFGS), sparse gradients or
    matrices alone.
    """

    def members(self) -> list[str]:
        """Names of classes of torch.optim."""
        return [name for name in _classes() if _usable(name)]

    def component(self, member: str) -> type:
        """The component of a class. Raises UnknownComponentError for what is none."""
        if member not in _classes():
            raise UnknownComponentError(f"torch.optim has no optimizer {member!r}")
        first = (_classes()[member].__doc__ or "").strip().partition("\n")[0]
        doc = f"{first or member} (torch.optim.{member})"
        return component(f"torch.{member}", _classes()[member], doc)


@cache
def _classes() -> dict[str, type[torch.optim.Optimizer]]:
    base = torch.optim.Optimizer
    return {
        name: value
        for name, value in sorted(vars(torch.optim).items())
        if isinstance(value, type) and issubclass(value, base) and value is not base
    }


@cache
def _usable(name: str) -> bool:
    kind = _classes()[name]
    rate: dict[str, Any] = {} if isinstance(settings_of(kind, {})["lr"][1], float) else {"lr": 1e-3}
    return problem(lambda parameters: kind(parameters, **rate)) is None
