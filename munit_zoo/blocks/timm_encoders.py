"""timm backbones as content and style encoders."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from munit_zoo.errors import ContractError, WeightsError, suggest

__all__ = ["TimmContentEncoder", "TimmStyleEncoder"]


class _Backbone(nn.Module):
    """One feature map of a timm network, as (N, C, h, w) whatever the network's own layout.

    Raises ContractError for an unknown network, one without features, a level that it does not
    have, or a map that is not 1/stride of the image; WeightsError where pretrained weights cannot
    be had.
    """

    def __init__(
        self, in_channels: int, model: str, pretrained: bool, out_index: int, normalise: bool
    ) -> None:
        super().__init__()
        import timm

        if model.partition(".")[0] not in timm.list_models():
            hint = suggest(model, timm.list_models()) or "See timm.list_models()."
            raise ContractError(f"timm has no model {model!r}. {hint}")
        options: dict[str, Any] = {"features_only": True, "in_chans": in_channels}
        network = _create(model, pretrained, options)
        info = network.feature_info
        levels = list(range(len(info.channels())))
        if not -len(levels) <= out_index < len(levels):
            shown = ", ".join(f"{i} (stride {info.reduction()[i]})" for i in levels)
            raise ContractError(f"OUT_INDEX {out_index}: {model} has the feature levels {shown}")
        self.level = levels[out_index]
        self.out_channels = int(info.channels()[self.level])
        self.stride = int(info.reduction()[self.level])
        self.network = network
        self.normalise = normalise
        config = getattr(network, "pretrained_cfg", None) or {}
        if normalise:
            mean, std = config.get("mean", (0.5,)), config.get("std", (0.5,))
            if len(mean) != in_channels:
                mean = (sum(mean) / len(mean),) * in_channels
                std = (sum(std) / len(std),) * in_channels
            # from [-1, 1] to what the weights were trained on
            self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
            self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        self.channels_last = False
        self._check(model, in_channels)

    def _check(self, model: str, in_channels: int) -> None:
        """Find the layout and hold the shape against the promise, without computing anything."""
        side = 4 * max(32, self.stride)
        import copy

        shadow = copy.deepcopy(self).to("meta").eval()
        shape = tuple(shadow(torch.empty(1, in_channels, side, side, device="meta")).shape)
        want = (side // self.stride,) * 2
        if shape == (1, *want, self.out_channels):
            self.channels_last = True
        elif shape != (1, self.out_channels, *want):
            raise ContractError(
                f"timm model {model}: level {self.level} of a {side}×{side} image has the shape "
                f"{shape}, expected {(1, self.out_channels, *want)}"
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.normalise:
            x = ((x + 1) / 2 - self.mean) / self.std
        features: Tensor = self.network(x)[self.level]
        return features.permute(0, 3, 1, 2) if self.channels_last else features


def _create(model: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    """The network, with flexible input sizes where the architecture needs to be told."""
    import timm

    attempts = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
    for extra in attempts:
        try:
            network: nn.Module = timm.create_model(model, pretrained=pretrained, **options, **extra)
        except TypeError as error:
            # an architecture that does not know the option; any other TypeError is real
            if not extra or next(iter(extra)) not in str(error):
                raise
        except (OSError, RuntimeError, ValueError) as error:
            if pretrained:
                raise WeightsError(
                    f"the pretrained weights of timm's {model} cannot be had: {error}. Put them "
                    "into the Hugging Face cache, or set PRETRAINED: false."
                ) from error
            raise ContractError(f"timm cannot build {model} with features: {error}") from error
        else:
            return network
    raise AssertionError("the last attempt returns or raises")


class TimmContentEncoder(nn.Module):
    """Any `features_only` network of timm as content encoder.

    Image (N, in_channels, H, W) to (N, out_channels, H/stride, W/stride): the network's feature map
    `out_index`. Networks that return (N, H, W, C) are permuted.

    model: timm's name, as `resnet50`. pretrained: load timm's weights. normalise: map [-1, 1] to
    the range the weights were trained on; null for as `pretrained`.
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
        return self.backbone(x)


class TimmStyleEncoder(nn.Module):
    """Any `features_only` network of timm, pooled and projected, as style encoder: to (N, S).

    Keys as those of the content encoder `timm`.
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
        return self.head(self.backbone(x).mean(dim=(2, 3)))
