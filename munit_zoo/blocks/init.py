"""Initialisation of convolutions and linear layers."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn
from torch.nn import init
from torch.nn.utils import parametrize

from munit_zoo.blocks.conv import LegacySpectralConv2d

__all__ = ["Init", "initialise"]

Init = Literal["kaiming", "xavier", "orthogonal", "gaussian", "gaussian_convs", "default"]

_DRAWN = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def initialise(
    module: nn.Module, how: Init, *, gain: float | None = None, norms: bool = False
) -> None:
    """Draw the weights of every convolution and linear layer in a module; biases become 0.

    how: `kaiming` normal over fan_in, `xavier` normal and `orthogonal` with `gain` (√2 by default),
    `gaussian` N(0, gain) (0.02 by default), `gaussian_convs` the same of convolutions' weights
    alone, the rest as torch has it, or `default`: torch's own, biases too. Convolutions
    with the legacy spectral norm keep torch's own, as in MUNIT's reference. Of a weight with
    torch's spectral or weight norm, the underlying one is drawn. Of a convolution whose attribute
    `copies` is c > 1 (before a pixel shuffle), each kernel is drawn for c outputs in a row (Aitken
    et al. 2017).
    norms: draw the weights of batch norms, too: N(1, gain), with 0.02 for no gain.
    """
    if how == "default":
        return
    for layer in module.modules():
        if norms and isinstance(layer, nn.BatchNorm2d) and layer.affine:
            init.normal_(layer.weight, 1.0, 0.02 if gain is None else gain)
            init.zeros_(layer.bias)
        if not isinstance(layer, _DRAWN) or isinstance(layer, LegacySpectralConv2d):
            continue
        if how == "gaussian_convs" and isinstance(layer, nn.Linear):
            continue
        weight = layer.weight  # with a parametrisation: a computed tensor, assigned back below
        copies = getattr(layer, "copies", 1)
        drawn = weight.detach()[::copies].clone()
        if how == "kaiming":
            init.kaiming_normal_(drawn, a=0, mode="fan_in")
        elif how == "xavier":
            init.xavier_normal_(drawn, gain=math.sqrt(2) if gain is None else gain)
        elif how == "orthogonal":
            init.orthogonal_(drawn, gain=math.sqrt(2) if gain is None else gain)
        else:
            init.normal_(drawn, 0.0, 0.02 if gain is None else gain)
        drawn = drawn.repeat_interleave(copies, dim=0) if copies > 1 else drawn
        if parametrize.is_parametrized(layer, "weight"):
            layer.weight = drawn
            _settle(layer)
        else:
            weight.data.copy_(drawn)
        if layer.bias is not None and how != "gaussian_convs":
            init.zeros_(layer.bias)


def _settle(layer: nn.Module) -> None:
    """Let torch's spectral norm, which estimates in steps, catch up with a weight just drawn.

    It did so for the weight it was built on; with those vectors the first forward's weight would
    be many times too large.
    """
    if not any(True for _ in layer.parametrizations.buffers()):  # type: ignore[union-attr]
        return
    training = layer.training
    layer.train()
    with torch.no_grad():
        for _ in range(15):  # as many as torch takes when it is built
            _ = layer.weight
    layer.train(training)
