"""Networks whose features fidelity is measured on."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from munit_zoo.errors import ContractError, WeightsError
from munit_zoo.pretrained.backbones import MEAN, STD, Backbone, backbone
from munit_zoo.registry.ranges import Positive
from munit_zoo.weights import Found, find_weights

__all__ = ["Extractor", "InceptionExtractor", "Resize", "TorchvisionExtractor", "resized"]

Resize = Literal["clean", "legacy"]


class Extractor:
    """Base of extractors: images (N, 3, H, W) in [-1, 1] to features (N, D), float32.

    A subclass gives `build()`: the network, frozen, that maps what `prepare` makes of images to
    features; it sets `files` to the weights it found. Nothing is loaded before `load`.

    size: side of the square that the network sees; None for images as they are. resize: how they
    come to it: `clean` (bicubic, antialiased, as Pillow does), or `legacy` (bilinear without
    antialiasing on TensorFlow 1's grid, as FID was first computed). The two give different numbers.
    """

    size: int | None = None
    resize: Resize = "clean"
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD

    def __init__(self) -> None:
        self.files: tuple[Found, ...] = ()
        self._network: nn.Module | None = None
        self._device = "cpu"

    def build(self) -> nn.Module:
        """The network. Raises WeightsError where its weights are absent."""
        raise NotImplementedError

    def load(self, device: str) -> None:
        """Get ready on a device."""
        if self._network is None:
            self._network = self.build().eval().requires_grad_(False)
        self._network.to(device)
        self._device = device

    def features(self, images: Tensor) -> Tensor:
        """Features (N, D) of images (N, 3, H, W) in [-1, 1], after `load`."""
        if self._network is None:
            raise ContractError("an extractor is loaded before it is used: load(device)")
        with torch.no_grad():
            found = self._network(self.prepare(images.to(self._device)))
        if found.dim() != 2 or len(found) != len(images):
            raise ContractError(
                f"the extractor {type(self).__name__} gives {tuple(found.shape)} for "
                f"{len(images)} images; expected (N, D)"
            )
        wide: Tensor = found.float()
        return wide

    def prepare(self, images: Tensor) -> Tensor:
        """What the network sees: rounded to 8 bits as a file would be, resized, normalised."""
        pixels = eight_bits(images)
        if self.size is not None:
            pixels = resized(pixels, self.size, self.resize)
        mean, std = (pixels.new_tensor(v)[:, None, None] * 255 for v in (self.mean, self.std))
        return (pixels - mean) / std

    def describe(self) -> dict[str, object]:
        """What a result says of the extractor; after `load` with its weights."""
        how = "none" if self.size is None else f"{self.resize} {self.size}"
        return {
            "extractor": type(self).__name__,
            "resize": how,
            "weights": [file.record() for file in self.files],
        }


def eight_bits(images: Tensor) -> Tensor:
    """Images in [-1, 1] as whole numbers 0 to 255, in floating point."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255)


def resized(pixels: Tensor, size: int, mode: Resize) -> Tensor:
    """Images (N, C, H, W) resized to a square."""
    if pixels.shape[2:] == (size, size):
        return pixels
    if mode == "clean":
        return F.interpolate(
            pixels, (size, size), mode="bicubic", antialias=True, align_corners=False
        ).clamp(0, 255)
    rows, columns = (_legacy_taps(side, size, pixels) for side in pixels.shape[2:])
    low, high, share = rows
    pixels = pixels[:, :, low] + (pixels[:, :, high] - pixels[:, :, low]) * share[:, None]
    low, high, share = columns
    return pixels[..., low] + (pixels[..., high] - pixels[..., low]) * share


def _legacy_taps(side: int, size: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each output pixel the two inputs and the share of the second: position i·side/size."""
    place = torch.arange(size, device=like.device, dtype=torch.float32) * (side / size)
    low = place.long()
    return low, (low + 1).clamp_max(side - 1), (place - low).to(like)


class InceptionExtractor(Extractor):
    """Inception-v3 of 2015-12-05, 2048 features: what FID and KID are defined on.

    weights: a file of them; null for `weights-inception-2015-12-05-6726825d.pth`, wherever
    MUNIT_ZOO_WEIGHTS and torch's cache hold it. resize: `clean`, or `legacy` as FID was first
    computed (and torch-fidelity computes it). Needs the extra `metrics` (torch-fidelity's network).
    """

    size = 299

    def __init__(self, *, weights: str | None = None, resize: Resize = "clean") -> None:
        super().__init__()
        self.weights, self.resize = weights, resize

    def build(self) -> nn.Module:
        """torch-fidelity's network."""
        found = find_weights(self.weights or "inception")
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise ContractError(
                "the extractor inception is torch-fidelity's network: "
                f"pip install 'munit-zoo[metrics]' ({error})"
            ) from error
        try:
            network = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(found.path)
            )
        except Exception as error:
            raise WeightsError(f"{found.path} holds no such Inception-v3: {error}") from error
        self.files = (found,)
        return _First(network)

    def prepare(self, images: Tensor) -> Tensor:
        """8 bits, which is how the network takes them. It normalises them, and resizes as
        `legacy` says what is not of its size; `clean` is resized before, and rounded again."""
        pixels = eight_bits(images)
        if self.resize == "clean":
            pixels = resized(pixels, self.size or 299, "clean").round()
        return pixels.to(torch.uint8)


class _First(nn.Module):
    """A network that returns a tuple: its first entry."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.network(x)[0]
        return features


class TorchvisionExtractor(Extractor):
    """The last convolutions of torchvision's VGG-16 or AlexNet, averaged over positions.

    model: `vgg16` (512 features) or `alexnet` (256). weights: a file; null for ImageNet's
    (IMAGENET1K_V1). size: side that images are resized to; null for as they are. resize: `clean`
    or `legacy`.
    """

    def __init__(
        self,
        *,
        model: Backbone = "vgg16",
        weights: str | None = None,
        size: Positive | None = 224,
        resize: Resize = "clean",
    ) -> None:
        super().__init__()
        self.model, self.weights, self.size, self.resize = model, weights, size, resize

    def build(self) -> nn.Module:
        """The convolutions, then the mean over positions."""
        network, found = backbone(self.model, self.weights)
        self.files = (found,)
        return nn.Sequential(network, nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def describe(self) -> dict[str, object]:
        """Which network."""
        return {**super().describe(), "extractor": f"torchvision {self.model}"}
