"""Where to compute: the device of a word, and Fabric set up for it."""

from __future__ import annotations

import gc
import inspect
import time
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from munit_zoo.errors import UsageError

__all__ = [
    "Device",
    "Precision",
    "choose_device",
    "ddp_strategy",
    "leave_group",
    "make_fabric",
]

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["fp32", "tf32", "bf16"]


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


def make_fabric(device: str, precision: Precision, *, devices: int = 1) -> Fabric:
    """Fabric on a device (as `choose_device` reads it).

    precision: `tf32` allows TensorFloat-32 in CUDA's convolutions and matrix products, `fp32`
    forbids it, `bf16` computes under autocast.
    """
    accelerator = choose_device(device)
    if precision == "tf32" and accelerator != "cuda":
        raise UsageError(f"ENGINE.PRECISION tf32 is for CUDA; the device is {accelerator}")
    if accelerator == "cuda":
        torch.backends.cudnn.benchmark = True  # shapes stay the same from step to step
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
    options: dict[str, Any] = {}
    if devices > 1:
        options["strategy"] = ddp_strategy()
    return Fabric(
        accelerator=accelerator,
        devices=devices,
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        **options,
    )


def ddp_strategy(**options: Any) -> DDPStrategy:
    """Data parallelism for training: gradients are averaged, buffers left to each process.

    Discriminators' buffers change at each of a step's forwards; sending them around in between
    would invalidate a pending backward.
    """
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options[name] = False
    return DDPStrategy(**options)


def leave_group(fabric: Fabric) -> None:
    """End the processes' group, once all of them are done.

    Its threads still hold tensors; one that outlived the interpreter would abort the process in
    letting go of them, after all the work was done. They end with the last reference to the group,
    which modules wrapped for data parallelism hold, too; until then a moment without the
    interpreter's lock is what they need.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        fabric.barrier()
        torch.distributed.destroy_process_group()
        gc.collect()
        time.sleep(0.5)
