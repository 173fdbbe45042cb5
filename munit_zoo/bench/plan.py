"""What is measured: a request, and the arms that it comes to."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from munit_zoo.errors import UsageError, suggest

__all__ = ["COMPILE", "MODES", "PRECISIONS", "Arm", "Request", "plan_arms"]

Mode = Literal["train", "translate", "decode", "component", "data"]
MODES: tuple[str, ...] = get_args(Mode)
PRECISIONS = ("fp32", "tf32", "bf16")
COMPILE = ("off", "default", "max-autotune", "graphs")

DEFAULT_CONFIG = "munit/edges2shoes"
"""MUNIT as published, at 256 pixels."""


@dataclass(frozen=True)
class Request:
    """What a user asks of the bench.

    configs: shipped names or paths; MUNIT as published where there is none.
    overrides: KEY=VALUE for all of them. vary: per key (`ENGINE.SHARE`) the values to compare.
    modes, batches, precisions, compiles: of each, every one is measured. size: side of the images,
    in pixels; None for the config's own. channels_last: memory formats; None for the config's own.
    styles: translations of each image in the mode `translate`.
    components: `kind:pattern` of the mode `component`.
    reference: also measure the original's way (of MUNIT and UNIT a trainer written as the 2018 one
    is; of other recipes `original_arm`), and give ratios to it.
    seconds, rounds: how long an arm is measured, at the least, and in how many rounds.
    """

    configs: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    vary: tuple[tuple[str, tuple[str, ...]], ...] = ()
    modes: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1,)
    size: int | None = None
    precisions: tuple[str, ...] = ()
    compiles: tuple[str, ...] = ("off",)
    channels_last: tuple[bool | None, ...] = (None,)
    styles: int = 10
    components: tuple[str, ...] = ()
    device: str = "auto"
    reference: bool = False
    seconds: float = 5.0
    rounds: int = 5

    def __post_init__(self) -> None:
        for name, given, known in (
            ("--mode", self.modes, MODES),
            ("--precision", self.precisions, PRECISIONS),
            ("--compile", self.compiles, COMPILE),
        ):
            for value in given:
                if value not in known:
                    hint = suggest(value, known)
                    raise UsageError(f"{name} {value!r}: choose of {', '.join(known)}. {hint}")
        for name, numbers in (
            ("--batch", self.batches),
            ("--styles", (self.styles,)),
            ("--rounds", (self.rounds,)),
            ("--size", (self.size or 1,)),
        ):
            if min(numbers) < 1:
                raise UsageError(f"{name} is 1 or more, got {min(numbers)}")
        if self.seconds < 0:
            raise UsageError(f"--seconds is 0 or more, got {self.seconds:g}")
        self._refuse_unread()

    def _refuse_unread(self) -> None:
        """Raises UsageError for an option that no mode asked for reads."""
        alone = self.modes == ("component",) or (self.components and not self.modes)
        if self.components and self.modes and "component" not in self.modes:
            raise UsageError("--components is for the mode component: add it to --mode")
        if alone and (self.configs or self.overrides or self.vary):
            raise UsageError(
                "components are measured with their own defaults: leave configs, KEY=VALUE and "
                "--vary out"
            )
        compared = alone or (self.modes and not {"train", "translate"} & set(self.modes))
        if self.reference and compared:
            raise UsageError("--reference is for the modes train and translate")
        if self.modes == ("data",) and self.size is not None:
            raise UsageError("--size: in the mode data the config says it: DATA.SIZE, DATA.CROP")


@dataclass(frozen=True)
class Arm:
    """One thing to measure.

    config: the config's name; the component's, as `norm:adain`, in the mode `component`.
    size: side of the images; None for the config's own.
    variant: overrides that tell it from its neighbours. reference: the original's way.
    """

    config: str
    mode: str
    batch: int
    size: int | None
    precision: str
    compile: str = "off"
    channels_last: bool | None = None
    reference: bool = False
    styles: int = 1
    overrides: tuple[str, ...] = field(default=(), repr=False)
    variant: tuple[str, ...] = ()

    @property
    def group(self) -> tuple[Any, ...]:
        """Arms of one group do the same work: they are measured in turns and compared."""
        return (self.config, self.mode, self.batch, self.size, self.styles)

    @property
    def label(self) -> str:
        """What tells it from the others of its group."""
        if self.mode == "data":
            return " · ".join(["one worker", *self.variant])
        if self.reference:
            return f"reference {self.precision}"
        parts = [self.precision]
        if self.compile != "off":
            parts.append(
                {"default": "compiled", "graphs": "CUDA graphs"}.get(self.compile, "tuned")
            )
        if self.channels_last is not None:
            parts.append("channels_last" if self.channels_last else "NCHW")
        return " · ".join([*parts, *self.variant])


def plan_arms(request: Request, device: str) -> list[Arm]:
    """The arms of a request, group by group.

    device: the resolved device. What was left open is chosen by it: on CUDA fp32, tf32 and bf16,
    elsewhere fp32 and bf16.
    """
    modes = request.modes or (("component",) if request.components else ("translate", "train"))
    precisions = request.precisions or (PRECISIONS if device == "cuda" else ("fp32", "bf16"))
    arms: list[Arm] = []
    for mode in modes:
        names = _components(request) if mode == "component" else request.configs
        for config, batch in itertools.product(names or (DEFAULT_CONFIG,), request.batches):
            arms += _group(request, config, mode, batch, precisions, device)
    return arms


def _group(
    request: Request, config: str, mode: str, batch: int, precisions: Sequence[str], device: str
) -> list[Arm]:
    common: dict[str, Any] = {
        "config": config,
        "mode": mode,
        "batch": batch,
        "size": request.size or (256 if mode == "component" else None),
        "styles": request.styles if mode == "translate" else 1,
        "overrides": request.overrides,
    }
    keys = [key for key, _ in request.vary] if mode != "component" else []
    values = [chosen for _, chosen in request.vary] if mode != "component" else []
    variants = [
        tuple(f"{k}={v}" for k, v in zip(keys, chosen, strict=True))
        for chosen in itertools.product(*values)
    ]
    if mode == "data":
        return [Arm(**common, precision="fp32", variant=variant) for variant in variants]
    arms = []
    if request.reference and mode in ("train", "translate"):
        strict = ("fp32", "tf32") if device == "cuda" else ("fp32",)
        arms = [Arm(**common, precision=precision, reference=True) for precision in strict]
    for variant, precision, how, layout in itertools.product(
        variants, precisions, request.compiles, request.channels_last
    ):
        arms.append(
            Arm(
                **common,
                precision=precision,
                compile=how,
                channels_last=layout,
                variant=variant,
            )
        )
    return arms


def _components(request: Request) -> list[str]:
    """`kind:name` of the components asked for. Raises UsageError where a pattern finds none."""
    from munit_zoo.bench.components import KINDS
    from munit_zoo.registry import registry

    names: list[str] = []
    for pattern in request.components or tuple(f"{kind}:*" for kind in KINDS):
        kind, colon, wanted = pattern.partition(":")
        found = registry(kind).list(wanted if colon else "*")
        if registry(kind).kind not in KINDS:
            raise UsageError(f"--components {pattern}: kinds to measure are {', '.join(KINDS)}")
        if not found:
            raise UsageError(f"--components {pattern}: no {registry(kind).kind} of such a name")
        names += [f"{registry(kind).kind}:{name}" for name in found]
    return names
