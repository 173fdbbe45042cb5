"""Optimizers of timm by the names that it gives them: `timm.lamb`."""

from __future__ import annotations

from functools import cache
from typing import Any

from munit_zoo.errors import UnknownComponentError
from munit_zoo.optim._foreign import component

__all__ = ["TimmOptimizers"]

MOMENTUM = 0.9
"""What timm's factory gives optimizers with momentum where nobody says otherwise."""


class TimmOptimizers:
    """Any optimizer of timm by its name there, with its own settings and defaults.

    All that train networks like these: not those that need second derivatives (adahessian), other
    packages (fused… of apex, bnb… of bitsandbytes), or keep what a snapshot does not hold (kron).
    """

    def members(self) -> list[str]:
        """timm's names of optimizers."""
        return list(_infos())

    def component(self, member: str) -> type:
        """The component of a name. Raises UnknownComponentError for what is none."""
        info = _infos().get(member)
        if info is None:
            raise UnknownComponentError(f"timm has no optimizer {member!r}")
        told = " ".join(str(info.description or "").split())
        doc = f"{told or info.opt_class.__name__} (timm's {member})"
        bound = {"momentum": MOMENTUM} if info.has_momentum else {}
        return component(f"timm.{member}", info.opt_class, doc, bound | (info.defaults or {}))


@cache
def _infos() -> dict[str, Any]:
    import timm.optim

    optim: Any = timm.optim  # its names are re-exported without __all__
    found = {name: optim.get_optimizer_info(name) for name in sorted(optim.list_optimizers())}
    return {name: info for name, info in found.items() if _usable(name, info)}


def _usable(name: str, info: Any) -> bool:
    """Whether it is at hand (its class is no name of another package's), needs no second
    derivatives, and keeps tensors and numbers."""
    return not (isinstance(info.opt_class, str) or info.second_order or name.startswith("kron"))
