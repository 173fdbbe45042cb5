"""Where to compute: the device of a word, and Fabric set up for it."""

from __future__ import annotations

import gc
import inspect
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision.amp import MixedPrecision
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.amp.grad_scaler import GradScaler
from torch.nn.parallel import DistributedDataParallel

from munit_zoo.errors import UsageError

__all__ = [
    "LESS",
    "Device",
    "Precision",
    "allow_unused_parameters",
    "choose_device",
    "ddp_strategy",
    "device_at_hand",
    "is_half",
    "launched_by",
    "leave_group",
    "make_fabric",
    "plain_errors",
    "processes",
]

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["fp32", "tf32", "bf16", "fp16"]


def choose_device(device: str) -> str:
    """`cuda`, `mps` or `cpu`: what `auto` means here, or what was asked for.

    Raises UsageError where a device is asked for that this machine does not have.
    """
    have = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if have[name])
    if device not in have:
        raise UsageError(f"device {device!r}: choose auto, {', '.join(have)}")
    if not have[device]:
        there = ", ".join(name for name, present in have.items() if present)
        raise UsageError(f"device {device!r} is not available here; there is {there}")
    return device


def device_at_hand(device: str | torch.device) -> torch.device:
    """One of torch's devices, as `cuda:1`.

    Raises UsageError for a word that names none, or a device that this machine does not have.
    """
    try:
        found = torch.device(device)
    except RuntimeError:
        raise UsageError(
            f"device {str(device)!r} is none of torch's: cpu, cuda, cuda:1, mps"
        ) from None
    if found.type in ("cuda", "mps"):
        choose_device(found.type)
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {str(device)!r}: there are {torch.cuda.device_count()} GPUs here")
    return found


def launched_by() -> tuple[str, int, int] | None:
    """Who started this process as one of several, and how: (`torchrun` or `srun`, processes on each
    machine, machines); None where nobody did."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env and "WORLD_SIZE" in env:
        local = int(env.get("LOCAL_WORLD_SIZE", env["WORLD_SIZE"]))
        return "torchrun", local, int(env["WORLD_SIZE"]) // local
    interactive = env.get("SLURM_JOB_NAME") in ("bash", "interactive")
    if "SLURM_PROCID" in env and int(env.get("SLURM_NTASKS", 1)) > 1 and not interactive:
        nodes = int(env.get("SLURM_NNODES", 1))
        return "srun", int(env["SLURM_NTASKS"]) // nodes, nodes
    return None


def processes(devices: int | None, nodes: int | None) -> tuple[int, int]:
    """Processes on each machine, and machines: what a launcher says, else what is asked for.

    Raises UsageError where the two differ, or a number is below 1.
    """
    for option, what, given in (
        ("--devices", "processes", devices),
        ("--nodes", "machines", nodes),
    ):
        if given is not None and given < 1:
            raise UsageError(f"{option} is the number of {what}, 1 or more; got {given}")
    launched = launched_by()
    if launched is None:
        return devices or 1, nodes or 1
    name, local, machines = launched
    for option, given, found in (("--devices", devices, local), ("--nodes", nodes, machines)):
        if given is not None and given != found:
            raise UsageError(
                f"{name} started {local} processes on each of {machines} machines, and {option} "
                f"says {given}: leave it out"
            )
    return local, machines


def make_fabric(
    device: str, precision: Precision, *, devices: int | None = None, nodes: int | None = None
) -> Fabric:
    """Fabric on a device (as `choose_device` reads it), for the processes of `processes`.

    precision: `tf32` allows TensorFloat-32 in CUDA's convolutions and matrix products, `fp32`
    forbids it, `bf16` and `fp16` compute under autocast. Of `fp16` the losses are scaled, which is
    the trainer's part: a scale an update.
    """
    accelerator = choose_device(device)
    devices, nodes = processes(devices, nodes)
    if accelerator == "cuda" and devices > torch.cuda.device_count():
        raise UsageError(f"--devices {devices}: there are {torch.cuda.device_count()} GPUs here")
    if accelerator == "mps" and devices > 1:
        raise UsageError(f"--devices {devices}: MPS is one device")
    if precision == "tf32" and accelerator != "cuda":
        raise UsageError(f"ENGINE.PRECISION tf32 is for CUDA; the device is {accelerator}")
    if accelerator == "cuda":
        torch.backends.cudnn.benchmark = True  # shapes stay the same from step to step
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
    options: dict[str, Any] = {}
    if devices * nodes > 1:
        options["strategy"] = ddp_strategy()
    if precision == "fp16":
        options["plugins"] = [_Half(accelerator)]
    else:
        options["precision"] = "bf16-mixed" if precision == "bf16" else "32-true"
    return Fabric(accelerator=accelerator, devices=devices, num_nodes=nodes, **options)


class _Half(MixedPrecision):
    """fp16 under autocast, on every device. Fabric's own has one scale for all optimizers and
    changes it with each of their steps, between those of one backward."""

    def __init__(self, device: str) -> None:
        super().__init__("16-mixed", device, scaler=GradScaler(device, enabled=False))

    def optimizer_step(self, optimizer: Any, **kwargs: Any) -> Any:
        return optimizer.step(**kwargs)


def is_half(fabric: Fabric) -> bool:
    """Whether a fabric computes in fp16, so that losses are to be scaled."""
    return isinstance(fabric.strategy.precision, _Half)


class _DataParallel(DDPStrategy):
    """As Fabric has it; some parameters may go without a gradient in an update."""

    def allow_unused(self) -> None:
        self._ddp_kwargs["find_unused_parameters"] = True


def ddp_strategy(**options: Any) -> DDPStrategy:
    """Data parallelism for training: gradients are averaged, buffers left to each process.

    Discriminators' buffers change at each of a step's forwards; sending them around in between
    would invalidate a pending backward.
    """
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options[name] = False
    return _DataParallel(**options)


def allow_unused_parameters(fabric: Fabric) -> None:
    """For updates that leave parameters of their networks without a gradient; before modules are
    set up."""
    if isinstance(fabric.strategy, _DataParallel):
        fabric.strategy.allow_unused()


@contextmanager
def leave_group(fabric: Fabric) -> Iterator[None]:
    """After the block, end the processes' group, once all of them are done; where one fails, at
    once: the others notice.

    Its threads still hold tensors; one that outlived the interpreter would abort the process in
    letting go of them, after all the work was done. They end with the last reference to the group,
    which modules wrapped for data parallelism hold, too; until then a moment without the
    interpreter's lock is what they need.
    """
    try:
        yield
        if _grouped():
            fabric.barrier()
    finally:
        if _grouped():
            torch.distributed.destroy_process_group()
            gc.collect()
            time.sleep(0.5)


def _grouped() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


@contextmanager
def plain_errors() -> Iterator[None]:
    """What the machine causes, as an error of ours: a file that cannot be written, memory that is
    short, a process of the group that is gone."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        raise UsageError(f"{where}{error.strerror or error}") from error
    except MemoryError as error:
        raise UsageError(f"memory is short. {LESS}") from error
    except RuntimeError as error:
        text = str(error)
        if isinstance(error, torch.OutOfMemoryError) or "not enough memory" in text:
            raise UsageError(f"memory is short: {text.splitlines()[0]}. {LESS}") from error
        if any(word in text for word in _GONE):
            raise UsageError(
                "another process of this training is gone: it was killed, or its own message says "
                "why. Go on with --resume"
            ) from error
        raise


LESS = (
    "What needs less: ENGINE.ACCUMULATE=2 and more (the same batch in parts), "
    "ENGINE.RECOMPUTE=true, ENGINE.PRECISION=bf16 or fp16, a smaller ENGINE.BATCH_SIZE, "
    "DATA.CROP or DATA.SIZE, ENGINE.SHARE=none, fewer ENGINE.WORKERS, smaller networks (DIM, "
    "BLOCKS)"
)
_GONE = ("gloo/transport", "Gloo", "NCCL error", "ncclRemoteError")
