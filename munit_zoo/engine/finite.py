"""Losses and gradients that are no numbers: found before the step that would spread them, and
traced to the tensor in which they first appeared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from munit_zoo.errors import UsageError
from munit_zoo.models import Code

__all__ = ["Diverged", "OnNan", "gradients_finite", "trace"]

OnNan = Literal["stop", "skip", "rollback"]


class Diverged(UsageError):
    """An update met a NaN or an infinity, and was not stepped."""


def gradients_finite(parameters: Iterable[nn.Parameter], *losses: Tensor) -> bool:
    """Whether all gradients, and the losses (scalars) with them, are numbers. Waits for the device,
    once where they are."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients) if gradients else torch.zeros(())
    if torch.isfinite(sum(losses, norm)):  # quick, but squares may overflow
        return True
    return all(map(_finite, [*gradients, *losses]))


def trace(
    update: str,
    code: Code,
    values: Mapping[str, object],
    parts: Mapping[str, Tensor],
    parameters: Mapping[str, nn.Parameter],
) -> str:
    """Which terms of an update are not finite, and the first tensor that is not: among its inputs
    and what it took over, then in the order of computation, then among the gradients.

    code, values: of the update, before it forgets any. parts: its losses by `term/label`.
    parameters: what it trains, by name.
    """
    wrong = [label for label, part in parts.items() if not _finite(part)]
    terms = ", ".join(dict.fromkeys(label.split("/")[0].upper() for label in wrong))
    text = f"in the update {update} the loss {terms} is not finite" if wrong else ""
    for slot in _in_order(code):
        bad = _describe(values.get(slot))
        if bad is not None:
            first = f"the first tensor that holds {bad} is {slot}"
            return f"{text}; {first}" if text else f"in the update {update} {first}"
    if wrong:
        return f"{text}, though all that it is computed from is: the criterion itself made it so"
    for name, parameter in parameters.items():
        bad = None if parameter.grad is None else _describe(parameter.grad)
        if bad is not None:
            return (
                f"in the update {update} all losses are finite, and the first gradient that holds "
                f"{bad} is that of {name}"
            )
    return f"in the update {update} a gradient is not finite"


def _in_order(code: Code) -> Iterator[str]:
    """The slots that an update reads or computes: inputs and what it was given, then as it runs."""
    computed = dict.fromkeys(operation.slot for operation in code.operations)
    reads = [read.slot for operation in code.operations for read in operation.reads]
    reads += [read.slot for loss in code.losses for read in loss.reads]
    yield from dict.fromkeys([*(slot for slot in reads if slot not in computed), *code.given])
    yield from computed


def _describe(value: Any) -> str | None:
    """`NaN` or `an infinity`, where a tensor, or one of a list, holds one."""
    if isinstance(value, Tensor):
        if not value.is_floating_point() or _finite(value):
            return None
        return "a NaN" if bool(value.isnan().any()) else "an infinity"
    for part in value or ():
        bad = _describe(part)
        if bad is not None:
            return bad
    return None


def _finite(value: Tensor) -> bool:
    return bool(torch.isfinite(value).all())
