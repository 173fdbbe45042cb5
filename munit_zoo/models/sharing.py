"""Whether one forward of the generators may serve both steps: they must be functions of their
inputs, without state that a forward changes and without chance of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from munit_zoo.errors import ContractError

__all__ = ["Impurities", "impurities"]


class Impurities(dict[str, str]):
    """Modules by their dotted names, with what is not a function of their inputs in them."""

    def __str__(self) -> str:
        (name, what), *more = self.items()
        others = f" (and {len(more)} more)" if more else ""
        return f"{name} {what}{others}"


@contextmanager
def impurities(networks: nn.Module) -> Iterator[Impurities]:
    """What forwards of `networks` inside the block do beyond computing their outputs.

    Filled when the block ends: a module whose buffers changed (running statistics, spectral
    vectors) or that drew random numbers (dropout).

    Raises ContractError for a module that assigns a buffer anew: what reads the same buffer
    elsewhere (a frozen twin, a snapshot) would not see it.
    """
    found = Impurities()
    before = {name: (buffer, buffer._version) for name, buffer in networks.named_buffers()}
    chance = _Chance()
    names = {module: name for name, module in networks.named_modules()}

    def enter(module: nn.Module, _: object) -> None:
        chance.inside.append(names[module])

    def leave(*_: object) -> None:
        chance.inside.pop()

    hooks = [module.register_forward_pre_hook(enter) for module in names]
    hooks += [module.register_forward_hook(leave, always_call=True) for module in names]
    try:
        with chance:
            yield found
    finally:
        for hook in hooks:
            hook.remove()
    for name in dict.fromkeys(chance.found):
        found[name] = "draws random numbers"
    for name, buffer in networks.named_buffers():
        owner, _, short = name.rpartition(".")
        known = before.get(name)
        if known is None or known[0] is not buffer:
            raise ContractError(
                f"{owner} ({type(networks.get_submodule(owner)).__name__}) assigns its buffer "
                f"{short} anew in its forward: register it in __init__ and change it in place "
                f"(self.{short}.copy_(…))"
            )
        if buffer._version != known[1]:
            found[owner] = f"changes its {short}"


class _Chance(TorchDispatchMode):
    """Notes which module draws random numbers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.inside: list[str] = []
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: object, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # attention is marked as random for its dropout, which its modules leave at 0 or apply apart
        if torch.Tag.nondeterministic_seeded in func.tags and "attention" not in func.name():
            self.found.append(self.inside[-1] if self.inside else "")
        return func(*args, **(kwargs or {}))
