"""timm backbones as content and style encoders."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from munit_zoo.errors import ContractError, WeightsError, suggest

__all__ = ["TimmContentEncoder", "TimmStyleEncoder"]

# What makes an architecture take images of any size, where it needs to be told: Swin, then ViT.
# In this order, for Swin swallows ViT's option without a word, and ViT refuses Swin's.
_ANY_SIZE: tuple[dict[str, bool], ...] = (
    {"strict_img_size": False},
    {"dynamic_img_size": True},
)


class _Backbone(nn.Module):
    """One feature map of a timm network, as (N, C, H/stride, W/stride), whatever its own layout.

    Only the layers up to that map are built, where timm can cut the network there.

    Raises ContractError for an unknown network, one without features, a level that it does not
    have, or a map that is not 1/stride of the image; WeightsError where pretrained weights cannot
    be had.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, in_channels: int, model: str, pretrained: bool, out_index: int, normalise: bool
    ) -> None:
        super().__init__()
        import timm

        if model.partition(".")[0] not in timm.list_models():
            hint = suggest(model, timm.list_models()) or "timm.list_models() lists them."
            raise ContractError(f"timm has no MODEL {model!r}. {hint}")
        options: dict[str, Any] = {"features_only": True, "in_chans": in_channels}
        probe: Any = _probe_any_size(model, options)
        info = probe.feature_info
        channels, strides = info.channels(), info.reduction()
        if not -len(channels) <= out_index < len(channels):
            shown = "; ".join(
                f"{level}: {channels[level]} channels, stride {strides[level]}"
                for level in range(len(channels))
            )
            raise ContractError(f"OUT_INDEX {out_index}: {model} has the feature maps {shown}")
        self.out_channels = int(channels[out_index])
        self.stride = int(strides[out_index])
        options["out_indices"] = (tuple(info.out_indices)[out_index],)
        probe = _probe(model, options)
        self.channels_last = self._is_channels_last(probe, model, in_channels)
        # on `meta` there is nothing to load weights into
        on_meta = torch.empty(0).is_meta
        self.network = probe if on_meta else _create(model, options, pretrained=pretrained)
        self.normalise = normalise
        if normalise:
            config = getattr(probe, "pretrained_cfg", None) or {}
            mean, std = config.get("mean", (0.5,)), config.get("std", (0.5,))
            if len(mean) != in_channels:  # not what it was trained on: a shade of grey for each
                mean = (sum(mean) / len(mean),) * in_channels
                std = (sum(std) / len(std),) * in_channels
            self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
            self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def _is_channels_last(self, probe: nn.Module, model: str, in_channels: int) -> bool:
        """Whether the network returns (N, H, W, C). Raises ContractError for any other shape."""
        side = 4 * math.lcm(32, self.stride)
        try:
            with torch.device("meta"):
                (features,) = probe.eval()(torch.empty(1, in_channels, side, side))
        except Exception as error:
            raise ContractError(
                f"timm's {model} does not take images of {side}×{side}: {error}"
            ) from error
        probe.train()
        size = (side // self.stride,) * 2
        if features.shape == (1, self.out_channels, *size):
            return False
        if features.shape == (1, *size, self.out_channels):
            return True
        raise ContractError(
            f"timm's {model} makes features {tuple(features.shape)} of a {side}×{side} image, "
            f"expected {(1, self.out_channels, *size)}"
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.normalise:
            x = ((x + 1) / 2 - self.mean) / self.std
        features: Tensor = self.network(x)[0]
        return features.permute(0, 3, 1, 2) if self.channels_last else features


def _probe_any_size(model: str, options: dict[str, object]) -> nn.Module:
    """The network as `_probe` makes it; `options` gains what makes it take images of any size."""
    for extra in _ANY_SIZE:
        try:
            network = _probe(model, {**options, **extra})
        except TypeError as error:
            # an architecture that does not know the option; any other TypeError is real
            if next(iter(extra)) not in str(error):
                raise
        else:
            options.update(extra)
            return network
    return _probe(model, options)


def _probe(model: str, options: dict[str, Any]) -> nn.Module:
    """The network on the `meta` device, where it takes no memory and computes nothing."""
    import timm

    try:
        with torch.device("meta"):
            network: nn.Module = timm.create_model(model, **options)
    except RuntimeError:
        # older versions of timm compute while they build some networks
        with torch.device("cpu"):
            network = _create(model, options).to("meta")
    return network


def _create(model: str, options: dict[str, Any], *, pretrained: bool = False) -> nn.Module:
    import timm

    try:
        network: nn.Module = timm.create_model(model, pretrained=pretrained, **options)
    except (OSError, RuntimeError, ValueError) as error:
        if pretrained:
            raise WeightsError(
                f"the pretrained weights of timm's {model} cannot be had: {error}. Put them "
                "into the Hugging Face cache, or set PRETRAINED: false."
            ) from error
        raise ContractError(f"timm cannot build {model} with features: {error}") from error
    return network


class TimmContentEncoder(nn.Module):
    """Any `features_only` network of timm as content encoder.

    Image (N, in_channels, H, W) in [-1, 1] to (N, out_channels, H/stride, W/stride): the network's
    feature map `out_index`, counted as timm does (negative ones from the deepest). Networks that
    return (N, H, W, C) are permuted.

    model: timm's name, as `resnet50`. pretrained: load timm's weights. normalise: map [-1, 1] to
    the mean and deviation that the weights were trained on; null for as `pretrained`.

    Raises ContractError for a network, a feature map or a size that timm does not have or take;
    WeightsError where pretrained weights cannot be had.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        model: str,
        pretrained: bool = False,
        out_index: int = -1,
        normalise: bool | None = None,
    ) -> None:
        super().__init__()
        wish = pretrained if normalise is None else normalise
        self.backbone = _Backbone(in_channels, model, pretrained, out_index, wish)
        self.out_channels, self.stride = self.backbone.out_channels, self.backbone.stride

    def forward(self, x: Tensor) -> Tensor:
        content: Tensor = self.backbone(x)
        return content


class TimmStyleEncoder(nn.Module):
    """Any `features_only` network of timm, pooled and projected, as style encoder: to (N, S).

    Image in [-1, 1]. Keys and errors as those of the content encoder `timm`. Most of timm's
    convolutional networks normalise by batch, which keeps the style; instance norm would remove it.
    """

    def __init__(
        self,
        in_channels: int,
        style_dim: int,
        *,
        model: str,
        pretrained: bool = False,
        out_index: int = -1,
        normalise: bool | None = None,
    ) -> None:
        super().__init__()
        wish = pretrained if normalise is None else normalise
        self.backbone = _Backbone(in_channels, model, pretrained, out_index, wish)
        self.head = nn.Linear(self.backbone.out_channels, style_dim)

    def forward(self, x: Tensor) -> Tensor:
        style: Tensor = self.head(self.backbone(x).mean(dim=(2, 3)))
        return style
