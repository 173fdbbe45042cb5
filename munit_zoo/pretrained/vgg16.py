"""VGG-16's features, in the spaces and with the layers of those who trained with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from munit_zoo.errors import ContractError, GraphError, WeightsError, suggest
from munit_zoo.state_dicts import read_state_dict
from munit_zoo.weights import find_weights, known_as

__all__ = ["VGG16", "Depth", "Normalize"]

Depth = Literal["vgg16", "vgg19"]
# configurations D and E (Simonyan & Zisserman 2015): convolutions of each stage, and their channels
_STAGES: Mapping[Depth, tuple[int, ...]] = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_CHANNELS = (64, 128, 256, 512, 512)
_TITLES = {"vgg16": "VGG-16", "vgg19": "VGG-19"}


def _names(depth: Depth) -> tuple[str, ...]:
    """Its convolutions by the names of their activations."""
    return tuple(
        f"relu{stage}_{index}"
        for stage, count in enumerate(_STAGES[depth], start=1)
        for index in range(1, count + 1)
    )


def _places(depth: Depth) -> tuple[int, ...]:
    """torchvision's numbers of them in `features`: a ReLU behind each, a pooling behind stages."""
    stages = [int(name[4]) - 1 for name in _names(depth)]
    return tuple(2 * index + stage for index, stage in enumerate(stages))


# torchvision's names of weights, as `munit_zoo.weights` calls them
_TRAINED: Mapping[Depth, Mapping[str, str]] = {
    "vgg16": {"IMAGENET1K_V1": "vgg16", "IMAGENET1K_FEATURES": "vgg16_caffe"},
    "vgg19": {"IMAGENET1K_V1": "vgg19"},
}

Normalize = Literal["imagenet", "caffe", "none"]
# mean and standard deviation of red, green and blue in 0..1
_STATISTICS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "caffe": ((0.48235, 0.45882, 0.40784), (1 / 255,) * 3),
    "none": ((0.5,) * 3, (0.5,) * 3),  # as they come: [-1, 1]
}
# as the reference writes Caffe's means down: of blue, green and red in 0..255
_LEGACY = (tuple(mean / 255 for mean in (103.939, 116.779, 123.680)), (1 / 255,) * 3)
_TRAINED_WITH: dict[str, Normalize] = {
    "vgg16": "imagenet",
    "vgg16_caffe": "caffe",
    "vgg19": "imagenet",
}


class VGG16(nn.Module):
    """VGG-16's (or VGG-19's) activations after named ReLUs, frozen.

    Images (N, C, H, W) in [-1, 1], where C is 1 (repeated), 3 (red, green, blue), or any other
    number, of which `channels` selects one or three. Only the layers up to the deepest one asked
    for are built.
    """

    def __init__(
        self,
        layers: tuple[str, ...],
        weights: str | None,
        normalize: Normalize | None,
        legacy: bool,
        channels: tuple[int, ...] | None,
        download: bool,
        depth: Depth = "vgg16",
    ) -> None:
        super().__init__()
        self.title, names = _TITLES[depth], _names(depth)
        for layer in layers:
            if layer not in names:
                hint = suggest(layer, names) or f"It has: {', '.join(names)}."
                raise ContractError(f"{self.title} has no layer {layer!r}. {hint}")
        if legacy and depth != "vgg16":
            raise ContractError("LEGACY is of NETWORK vgg16, which MUNIT's reference used")
        if not layers:
            raise ContractError("LAYERS names no layer; the usual one is relu4_3")
        if channels is not None and (len(channels) not in (1, 3) or min(channels) < 0):
            raise ContractError(
                "CHANNELS selects 1 channel, or 3 (red, green, blue), counted from 0; "
                f"got {list(channels)}"
            )
        self.layers, self.legacy, self.channels = layers, legacy, channels
        self.names = names[: max(names.index(layer) for layer in layers) + 1]
        self.convolutions = nn.ModuleList()
        width = 3
        for name in self.names:
            wider = _CHANNELS[int(name[4]) - 1]
            self.convolutions.append(nn.Conv2d(width, wider, 3, padding=1))
            width = wider
        if weights is None:
            weights = "IMAGENET1K_FEATURES" if legacy else "IMAGENET1K_V1"
        trained = self._load(weights, download, depth)
        if normalize is None:
            normalize = _TRAINED_WITH.get(trained or "", "caffe" if legacy else "imagenet")
        self.normalize = normalize
        self.reversed = legacy and normalize == "caffe"  # blue, green, red
        mean, std = _LEGACY if self.reversed else _STATISTICS[normalize]
        self._mean, self._std = mean, std  # plain numbers: exact in any precision, on any device
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> VGG16:
        """Stays in evaluation mode."""
        return super().train(False)

    def _load(self, weights: str, download: bool, depth: Depth) -> str | None:
        """Load a file's weights; their known name, where its content is known."""
        trained, places = _TRAINED[depth], _places(depth)
        if not weights.endswith((".pth", ".pt", ".safetensors")) and weights not in trained:
            hint = suggest(weights, trained)
            known = f"WEIGHTS {weights!r} is neither a file nor one of {', '.join(trained)}"
            raise WeightsError(f"{known}. {hint}" if hint else known)
        file = find_weights(trained.get(weights, weights), download=download)
        found = read_state_dict(file.path)
        with torch.no_grad():
            for index, convolution in enumerate(self.convolutions):
                for name in ("weight", "bias"):
                    key = f"features.{places[index]}.{name}"
                    value = found.get(key, found.get(key.removeprefix("features.")))
                    parameter = getattr(convolution, name)
                    if value is None or value.shape != parameter.shape:
                        have = "absent" if value is None else tuple(value.shape)
                        raise WeightsError(
                            f"{weights} holds no {self.title}: {key} is {have}, "
                            f"expected {tuple(parameter.shape)}"
                        )
                    if not parameter.is_meta:
                        parameter.copy_(value)
        return known_as(file)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        height, width = x.shape[2:]
        x = self._prepare(x)
        features = {}
        for index, convolution in enumerate(self.convolutions):
            name = self.names[index]
            # the reference's network has no pooling between relu4_3 and conv5_1
            if index and name.endswith("_1") and not (self.legacy and name == "relu5_1"):
                if min(x.shape[2:]) < 2:
                    raise GraphError(
                        f"images of {height}×{width} are too small for {self.title}'s layer "
                        f"{name}: nothing is left to pool; use larger images or earlier LAYERS"
                    )
                x = nn.functional.max_pool2d(x, 2)
            x = torch.relu(convolution(x))
            if name in self.layers:
                features[name] = x
        return features

    def _prepare(self, x: Tensor) -> Tensor:
        count = x.shape[1]
        if count in (1, 3):
            chosen: tuple[int, ...] = (0,) * 3 if count == 1 else (0, 1, 2)
        elif self.channels is None:
            raise ContractError(
                f"{self.title} sees 1 or 3 channels, the image has {count}: say which to show it, "
                "as in CHANNELS: [2, 1, 0] for red, green, blue"
            )
        elif max(self.channels) >= count:
            raise ContractError(
                f"CHANNELS {list(self.channels)}: the image has only the channels 0 to {count - 1}"
            )
        else:
            chosen = self.channels * (3 // len(self.channels))
        if self.reversed:
            chosen = chosen[::-1]
        planes = [
            ((x[:, index : index + 1] + 1) / 2 - mean) / std
            for index, mean, std in zip(chosen, self._mean, self._std, strict=True)
        ]
        return torch.cat(planes, dim=1)
