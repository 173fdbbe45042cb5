"""Optimizers of other packages as components: their signatures are their config keys."""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from munit_zoo.errors import ContractError
from munit_zoo.registry.ranges import NonNegative

__all__ = ["component", "problem", "settings_of"]

# not what is optimized; what would be maximized; and what the engine sees to
_LEFT_OUT = ("self", "params", "maximize", "differentiable", "capturable", "verbose")
_PLAIN = (int, float, bool, str, type(None))


def settings_of(
    optimizer: type[torch.optim.Optimizer], bound: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Type and default of each setting that a config can hold, by name.

    bound: settings that a name stands for, which take the place of the signature's defaults.
    Of a signature without annotations the defaults say the types; what has no plain default, as a
    dtype, stays as it is. `lr` is a number, without a default where the signature has none.
    """
    try:
        hints = typing.get_type_hints(optimizer.__init__)
    except Exception:  # names that only its own module's type checker knows
        hints = {}
    found: dict[str, tuple[Any, Any]] = {}
    for name, parameter in inspect.signature(optimizer.__init__).parameters.items():
        default = bound.get(name, parameter.default)
        if name in _LEFT_OUT or parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            continue
        if name == "lr":
            default = default if isinstance(default, (int, float)) else inspect.Parameter.empty
            found[name] = NonNegative, default
            continue
        annotation = _annotation(hints.get(name), default)
        if annotation is not None:
            found[name] = annotation, _as(annotation, default)
    return {"lr": found.pop("lr"), **found} if "lr" in found else found


def _annotation(hint: Any, default: Any) -> Any:
    """The part of a type that a config can hold; None for none, or for one without the default."""
    if hint is None:
        if isinstance(default, bool) or default is None or isinstance(default, str):
            return None if default is None else type(default)
        if isinstance(default, (int, float)):
            return float
        if isinstance(default, tuple) and all(isinstance(n, (int, float)) for n in default):
            return tuple[tuple(float for _ in default)]  # type: ignore[misc]
        return None
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    options = [o for o in (typing.get_args(hint) if union else (hint,)) if _holdable(o)]
    if not options or not any(_fits(default, option) for option in options):
        return None
    return typing.Union[tuple(options)]  # noqa: UP007  # of a list of types


def _holdable(option: Any) -> bool:
    if typing.get_origin(option) is tuple:
        return all(_holdable(part) for part in typing.get_args(option))
    if typing.get_origin(option) in (typing.Union, types.UnionType):
        return all(_holdable(part) for part in typing.get_args(option))
    return option in _PLAIN


def _fits(default: Any, option: Any) -> bool:
    if typing.get_origin(option) is tuple:
        return isinstance(default, tuple)
    if option is float:
        return isinstance(default, (int, float)) and not isinstance(default, bool)
    return isinstance(default, option)


def _as(annotation: Any, default: Any) -> Any:
    """A default as the annotated type has it: the weight decay 0 is 0.0."""
    options = typing.get_args(annotation) if typing.get_origin(annotation) is typing.Union else ()
    whole = isinstance(default, int) and not isinstance(default, bool)
    if whole and int not in (annotation, *options) and float in (annotation, *options):
        return float(default)
    if isinstance(default, tuple):
        return tuple(float(n) if isinstance(n, int) else n for n in default)
    return default


def component(
    name: str,
    optimizer: type[torch.optim.Optimizer],
    doc: str,
    bound: Mapping[str, Any] | None = None,
) -> type:
    """A component that builds an optimizer, with its settings as keyword-only parameters.

    name: as a config spells it. bound: settings that the name stands for.
    """
    bound = dict(bound or {})
    settings = settings_of(optimizer, bound)

    def __init__(self: Any, **given: Any) -> None:
        defaults = {n: d for n, (_, d) in settings.items() if d is not inspect.Parameter.empty}
        self.settings = {**bound, **defaults, **given}
        wrong = problem(lambda parameters: self.build(parameters))
        if wrong is not None:
            raise ContractError(f"the optimizer {name} cannot train networks so: {wrong}")

    def build(self: Any, parameters: Iterable[Parameter]) -> torch.optim.Optimizer:
        """The optimizer of some parameters."""
        return optimizer(list(parameters), **self.settings)

    keyword = inspect.Parameter.KEYWORD_ONLY
    owner = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    typed = [inspect.Parameter(n, keyword, default=d) for n, (_, d) in settings.items()]
    __init__.__signature__ = inspect.Signature([owner, *typed])  # type: ignore[attr-defined]
    __init__.__annotations__ = {n: annotation for n, (annotation, _) in settings.items()}
    return type(
        optimizer.__name__,
        (),
        {"__init__": __init__, "build": build, "__doc__": doc, "__module__": __name__},
    )


def problem(build: Callable[[list[Parameter]], torch.optim.Optimizer]) -> str | None:
    """Why an optimizer cannot train a convolution and its bias; None where it can.

    Two steps are tried: what it keeps must be tensors and numbers, for snapshots.
    """
    with torch.device("cpu"), torch.random.fork_rng(devices=[]), torch.enable_grad():
        parameters = [Parameter(torch.full((2, 3, 3, 3), 0.5)), Parameter(torch.zeros(2))]
        try:
            optimizer = build(parameters)
            for _ in range(2):
                for parameter in parameters:
                    parameter.grad = torch.full_like(parameter, 0.1)
                optimizer.step()
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            return f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    kept = [value for state in optimizer.state.values() for value in state.values()]
    strange = [value for value in kept if not isinstance(value, (Tensor, int, float, type(None)))]
    if strange:
        return f"it keeps {type(strange[0]).__name__}s, which a snapshot does not hold"
    if not all(math.isfinite(float(p.detach().sum())) for p in parameters):
        return "two steps lead to numbers that are not finite"
    return None
