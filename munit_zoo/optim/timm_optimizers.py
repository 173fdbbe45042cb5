"""Optimizers of timm by the names that it gives them: `timm.lamb`."""

from __future__ import annotations

from functools import cache
from typing import Any

from munit_zoo.errors import UnknownComponentError
from munit_zoo.optim._foreign import component, problem, settings_of

__all__ = ["TimmOptimizers"]


class TimmOptimizers:
    """Any optimizer of timm by its name there, with its own settings and defaults.

    All that train networks like these: not those that need second derivatives (adahessian), other
    packages (fused… of apex, bnb… of bitsandbytes), or keep what a snapshot does not hold (kron).
    """

    def members(self) -> list[str]:
        """timm's names of optimizers."""
        return [name for name in _infos() if _usable(name)]

    def component(self, member: str) -> type:
        """The component of a name. Raises UnknownComponentError for what is none."""
        info = _infos().get(member)
        if info is None:
            raise UnknownComponentError(f"timm has no optimizer {member!r}")
        kind = info.opt_class
        told = " ".join(str(info.description or "").split())
        doc = f"{told or kind.__name__} (timm's {member})"
        return component(f"timm.{member}", kind, doc, info.defaults)


@cache
def _infos() -> dict[str, Any]:
    import timm.optim

    optim: Any = timm.optim  # its names are re-exported without __all__
    found = {name: optim.get_optimizer_info(name) for name in sorted(optim.list_optimizers())}
    return {n: info for n, info in found.items() if not isinstance(info.opt_class, str)}


@cache
def _usable(name: str) -> bool:
    info = _infos()[name]
    rate = settings_of(info.opt_class, info.defaults or {})["lr"][1]
    settings = dict(info.defaults or {}) | ({} if isinstance(rate, (int, float)) else {"lr": 1e-3})
    return problem(lambda parameters: info.opt_class(parameters, **settings)) is None
