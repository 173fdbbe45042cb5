"""Components alone, at the size of a real step: the conformance kit's subjects, made larger."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from munit_zoo.testing.subjects import KINDS as SUBJECTS
from munit_zoo.testing.subjects import Measures, Subject, subject_of

__all__ = ["KINDS", "build_component"]

KINDS = tuple(kind for kind in SUBJECTS if kind != "model")  # recipes are measured in training

WIDTH, STRIDE, STYLE = 256, 4, 8
"""Channels and stride of a content code, length of a style code: MUNIT's as published."""


def build_component(
    label: str, batch: int, size: int, device: torch.device, *, channels_last: bool
) -> Subject:
    """A component by `kind:name`, with random inputs of a step on `size`² images.

    On the device `meta` nothing is allocated. Raises ConformanceError for a component that cannot
    be built from its defaults, or that is made to measure of a recipe's names.
    """
    kind, _, name = label.partition(":")

    def random(*shape: int) -> Tensor:
        x = torch.randn(shape, device=device)
        if channels_last and x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return x.requires_grad_()

    with torch.device(device):
        subject = subject_of(kind, name, {}, _measures(batch, size), random)
    if channels_last and isinstance(subject.module, nn.Module):
        subject.module.to(memory_format=torch.channels_last)
    return subject


def _measures(batch: int, size: int) -> Measures:
    image, code = (size, size), (size // STRIDE, size // STRIDE)
    return Measures(
        batch,
        image=image,
        judged=image,
        compared=image,
        features=code,
        width=WIDTH,
        code=code,
        stride=STRIDE,
        style=STYLE,
        out=3,
        mapped=(16 * WIDTH, STYLE),  # 8 AdaIN layers, a weight and a bias each; a style code
        domains=2,
    )
