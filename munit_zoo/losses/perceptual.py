"""Perceptual losses on VGG-16 features (Johnson et al. 2016; Huang et al. 2018)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from munit_zoo.errors import ContractError, GraphError
from munit_zoo.losses.base import NamesLoss
from munit_zoo.pretrained.vgg16 import VGG16, Depth, Normalize

__all__ = ["DomainInvariantVGG", "VGGPerceptual"]


class VGGPerceptual(NamesLoss):
    """Mean squared difference of VGG features (Johnson et al. 2016, eq. 2).

    x, y: (N, C, H, W) in [-1, 1]. The network is frozen; gradients reach the images.

    layers: `relu1_1` to `relu5_3`, of VGG-19 to `relu5_4`; what several make is summed.
    network: `vgg16` or `vgg19`. distance: of features, mean squares (`l2`) or absolute values
        (`l1`). layer_weights: a factor a layer; null for 1 each.
    weights: torchvision's name (IMAGENET1K_V1, IMAGENET1K_FEATURES) or a `.pth` or `.safetensors`
        file of its network; null for IMAGENET1K_V1, with `legacy` for IMAGENET1K_FEATURES.
        Looked for in the folders of MUNIT_ZOO_WEIGHTS and in torch's cache; download: fetch
        torchvision's where they are not on disk.
    normalize: what the images become before the first layer: `imagenet` (torchvision's mean and
        standard deviation), `caffe` (0..255 minus its means), or `none` (they stay in [-1, 1]).
        null: what the weights were trained with, so far as that is known (by name, or by the
        file's content); for any other file `imagenet`, with `legacy` `caffe`.
    legacy: as MUNIT's reference has it: no pooling before conv5_1, and where Caffe's means are
        subtracted, those of its code, from blue, green and red in this order.
    channels: which to show of images of neither 1 nor 3 channels: one, or red, green and blue,
        counted from 0. Images of 1 (repeated) or 3 are shown as they are.

    Raises WeightsError where the weights are absent or not VGG-16's, ContractError for settings
    that do not fit the network or the images, GraphError for images too small for a layer.
    """

    same_shape: ClassVar[bool] = False  # one channel against three is fine

    def __init__(
        self,
        *,
        layers: tuple[str, ...] = ("relu5_3",),
        layer_weights: tuple[float, ...] | None = None,
        weights: str | None = None,
        normalize: Normalize | None = None,
        download: bool = False,
        legacy: bool = False,
        channels: tuple[int, ...] | None = None,
        network: Depth = "vgg16",
        distance: Literal["l1", "l2"] = "l2",
    ) -> None:
        super().__init__()
        if layer_weights is not None and len(layer_weights) != len(layers):
            raise ContractError(
                f"LAYER_WEIGHTS has {len(layer_weights)} numbers for {len(layers)} LAYERS"
            )
        self.vgg = VGG16(layers, weights, normalize, legacy, channels, download, network)
        self.distance = distance
        self.layer_weights = layer_weights or (1.0,) * len(layers)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        first, second = self.vgg(x), self.vgg(y)
        parts = []
        for layer, weight in zip(self.vgg.layers, self.layer_weights, strict=True):
            difference = self._compared(first[layer], layer) - self._compared(second[layer], layer)
            far = difference.abs() if self.distance == "l1" else difference.square()
            parts.append(weight * far.mean())
        return torch.stack(parts).sum()

    def _compared(self, features: Tensor, layer: str) -> Tensor:
        """What of a layer's features is compared: all, in full precision."""
        return features.float() if features.dtype in (torch.float16, torch.bfloat16) else features


class DomainInvariantVGG(VGGPerceptual):
    """Domain-invariant perceptual loss (Huang et al. 2018, section 5.1 and appendix C).

    Mean squared difference of VGG-16 features, each instance-normalised without affine first, which
    removes most of what tells two domains apart. x: the translation, y: its input. Finite, with
    finite gradients, on flat images.

    layers: null for relu4_3, where instance norm tells scenes from domains best
    (`munit-zoo perceptual-study` measures it); with `legacy` for the reference's relu5_3, where it
    hardly helps. instance_norm: off compares the plain features. Other keys as those of
    `vgg_perceptual`.
    """

    def __init__(
        self,
        *,
        layers: tuple[str, ...] | None = None,
        layer_weights: tuple[float, ...] | None = None,
        instance_norm: bool = True,
        weights: str | None = None,
        normalize: Normalize | None = None,
        download: bool = False,
        legacy: bool = False,
        channels: tuple[int, ...] | None = None,
    ) -> None:
        if layers is None:
            layers = ("relu5_3",) if legacy else ("relu4_3",)
        super().__init__(
            layers=layers,
            layer_weights=layer_weights,
            weights=weights,
            normalize=normalize,
            download=download,
            legacy=legacy,
            channels=channels,
        )
        self.instance_norm = instance_norm

    def _compared(self, features: Tensor, layer: str) -> Tensor:
        """The features, instance-normalised."""
        features = super()._compared(features, layer)
        if not self.instance_norm:
            return features
        if features.shape[2:].numel() == 1:
            raise GraphError(
                f"the map of VGG-16's layer {layer} is a single pixel, of which instance norm "
                "leaves nothing to compare: use larger images, earlier LAYERS or "
                "INSTANCE_NORM: false"
            )
        # The formula: torch's instance_norm (2.14) gives wrong gradients on CPUs, of one sample
        # whose gradient comes in channels_last.
        centred = features - features.mean(dim=(2, 3), keepdim=True)
        variance = centred.square().mean(dim=(2, 3), keepdim=True)
        return centred * torch.rsqrt(variance + 1e-5)
