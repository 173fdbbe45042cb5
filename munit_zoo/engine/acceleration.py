"""Faster forms of the same step: networks compiled one by one, the step as one CUDA graph."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from munit_zoo.config import Config, bind, engine_settings
from munit_zoo.errors import UsageError
from munit_zoo.models import Objective

__all__ = [
    "Compile",
    "GraphedStep",
    "Step",
    "check_acceleration",
    "compile_networks",
    "eagerly",
    "in_format",
    "make_capturable",
    "memory_format",
    "networks_in",
    "set_rate",
]

Compile = Literal["off", "default", "max-autotune"]
Step = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]

_MODES = {
    "default": "default",
    # graphs are recorded of the whole step (GraphedStep), not of each network
    "max-autotune": "max-autotune-no-cudagraphs",
}
_LIMIT = 64  # forms of one function that are kept: networks, domains, with and without gradient


def networks_in(objective: Objective) -> list[nn.Module]:
    """Criteria that hold a network, as the perceptual loss does."""
    criteria = objective.criteria.values()
    return [c for c in criteria if next(c.parameters(), None) is not None]


def compile_networks(networks: Iterable[nn.Module], how: Compile) -> None:
    """Compile each network on its own (torch.compile), in place: names, weights and snapshots stay.

    Networks of one class share what is compiled. It happens at the first calls, and takes minutes
    on a few CPU cores. how: `default`, `max-autotune` or `off`.

    Raises UsageError where the machine has no C++ compiler, which the compiled code needs.
    """
    if how == "off":
        return
    _require_compiler(how)
    import torch._dynamo  # the attribute does not exist before

    settings: object = torch._dynamo.config
    name = "recompile_limit" if hasattr(settings, "recompile_limit") else "cache_size_limit"
    setattr(settings, name, max(_LIMIT, getattr(settings, name)))
    for network in networks:
        network.compile(mode=_MODES[how], dynamic=False)


@contextmanager
def eagerly() -> Iterator[None]:
    """Compiled networks run as written: for images of many shapes, seen once each."""
    with torch.compiler.set_stance("force_eager"):
        yield


def memory_format(config: Config, device: torch.device | str) -> torch.memory_format:
    """What ENGINE.CHANNELS_LAST means on a device: MPS keeps its own format."""
    if engine_settings(config).channels_last and torch.device(device).type != "mps":
        return torch.channels_last
    return torch.contiguous_format


def in_format(env: Mapping[str, Tensor], layout: torch.memory_format) -> dict[str, Tensor]:
    """The inputs of a step, images in a memory format."""
    return {
        name: value.contiguous(memory_format=layout) if value.dim() == 4 else value
        for name, value in env.items()
    }


def check_acceleration(config: Config, device: torch.device, processes: int) -> None:
    """Raises UsageError where what ENGINE asks for cannot be had: no compiler, not CUDA, several
    processes, an optimizer that a graph cannot record."""
    engine = engine_settings(config)
    if engine.compile != "off":
        _require_compiler(engine.compile)
    if not engine.cuda_graphs:
        return
    if device.type != "cuda":
        raise UsageError(f"ENGINE.CUDA_GRAPHS is for CUDA; the device is {device.type}")
    if processes > 1:
        raise UsageError("ENGINE.CUDA_GRAPHS is for one process: leave --devices out")
    if engine.recompute:
        raise UsageError("ENGINE.CUDA_GRAPHS cannot record ENGINE.RECOMPUTE: choose one of the two")
    if engine.precision == "fp16" or engine.on_nan == "skip":
        key = "PRECISION=fp16" if engine.precision == "fp16" else "ON_NAN=skip"
        raise UsageError(
            f"ENGINE.CUDA_GRAPHS records a step that always takes place; ENGINE.{key} may leave "
            "one out: choose one of the two"
        )
    for node in (config.OPTIM.DEFAULT, *config.OPTIM.NETWORKS.values()):
        optimizer = bind("optimizer", node)().build([torch.zeros((), device=device)])
        make_capturable(optimizer, device)


def _require_compiler(how: str) -> None:
    usual = {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    compiler = os.environ.get("CXX", usual)
    if shutil.which(compiler) is None:
        raise UsageError(
            f"ENGINE.COMPILE {how} needs a C++ compiler ({compiler} is not on the PATH): install "
            "one, name it in the environment variable CXX, or set ENGINE.COMPILE=off"
        )


def set_rate(group: dict[str, object], rate: float) -> None:
    """The learning rate of an optimizer's group; in place where a CUDA graph reads it."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def make_capturable(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Let a CUDA graph record an optimizer's step: all that changes becomes a tensor.

    Raises UsageError for an optimizer that cannot.
    """
    for group in optimizer.param_groups:
        if "capturable" not in group:
            raise UsageError(
                f"ENGINE.CUDA_GRAPHS: {type(optimizer).__name__} cannot be recorded; choose "
                "adam, adamw or rmsprop in OPTIM, or set ENGINE.CUDA_GRAPHS=false"
            )
        group["capturable"] = True
        group["lr"] = torch.tensor(float(group["lr"]), device=device)
    for state in optimizer.state.values():
        if isinstance(state.get("step"), Tensor):  # kept on the CPU by optimizers that are not
            state["step"] = state["step"].to(device)


class GraphedStep:
    """A step of training, recorded once as a CUDA graph and replayed: no launches from Python.

    step: inputs by name to outputs by name; the same shapes at every call.
    warm_up: calls that run as they are before one is recorded (optimizers and libraries set up
        their state in them); every call is one step.
    capture: records a function and returns what replays it; CUDA's by default.
    """

    def __init__(
        self,
        step: Step,
        *,
        warm_up: int = 3,
        capture: Callable[[Callable[[], None]], Callable[[], None]] | None = None,
    ) -> None:
        self._step, self._left = step, warm_up
        self._capture = capture or _capture
        self._inputs: dict[str, Tensor] = {}
        self._outputs: dict[str, Tensor] = {}
        self._replay: Callable[[], None] | None = None

    def __call__(self, env: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self._left > 0:
            self._left -= 1
            return self._step(env)
        if self._replay is None:
            self._inputs = {name: value.clone() for name, value in env.items()}
            self._replay = self._capture(self._record)
        for name, value in env.items():
            if value.shape != self._inputs[name].shape:
                raise UsageError(
                    f"a recorded step takes {name} of the shape {tuple(self._inputs[name].shape)}, "
                    f"got {tuple(value.shape)}: set ENGINE.CUDA_GRAPHS=false"
                )
            self._inputs[name].copy_(value)
        self._replay()
        return {name: value.clone() for name, value in self._outputs.items()}

    def _record(self) -> None:
        self._outputs = self._step(self._inputs)


def _capture(record: Callable[[], None]) -> Callable[[], None]:
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        # `thread_local`: the loader's thread that pins memory goes on meanwhile
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            record()
    except RuntimeError as error:
        raise UsageError(
            f"ENGINE.CUDA_GRAPHS: this step cannot be recorded ({error}); a component may wait for "
            "the device, as .item() does. Set ENGINE.CUDA_GRAPHS=false"
        ) from error
    return graph.replay
