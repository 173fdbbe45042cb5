"""timm backbones as content and style encoders."""

from __future__ import annotations

from torch import Tensor, nn

from munit_zoo.blocks.timm_backbones import TimmBackbone

__all__ = ["TimmContentEncoder", "TimmStyleEncoder"]


class TimmContentEncoder(nn.Module):
    """Any `features_only` network of timm as content encoder, convolutional or a transformer.

    Image (N, in_channels, H, W) in [-1, 1] to (N, out_channels, H/stride, W/stride): the network's
    feature map `out_index`, counted as timm does (negative ones from the deepest). Networks that
    return (N, H, W, C) are permuted.

    model: timm's name, as `resnet50` or `vit_small_patch16_224`. pretrained: load timm's weights;
    weights: those of a file, by its path or by its name in a folder of weights. frozen: not
    trained, batch norms and dropout as in evaluation. normalise: map [-1, 1] to the mean and
    deviation that the weights were trained on; null for where there are such weights.

    Raises ContractError for a network, a feature map or a size that timm does not have or take;
    WeightsError where weights cannot be had or are another network's.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        model: str,
        pretrained: bool = False,
        weights: str | None = None,
        frozen: bool = False,
        out_index: int = -1,
        normalise: bool | None = None,
    ) -> None:
        super().__init__()
        self.backbone = TimmBackbone(
            in_channels,
            model,
            (out_index,),
            pretrained=pretrained,
            weights=weights,
            normalise=normalise,
            frozen=frozen,
        )
        (self.out_channels,), (self.stride,) = self.backbone.out_channels, self.backbone.strides

    def forward(self, x: Tensor) -> Tensor:
        content: Tensor = self.backbone(x)[0]
        return content


class TimmStyleEncoder(nn.Module):
    """Any `features_only` network of timm, pooled and projected, as style encoder: to (N, S).

    Image in [-1, 1]. Keys and errors as those of the content encoder `timm`; the projection is
    trained, frozen or not. Most of timm's convolutional networks normalise by batch, which keeps
    the style; instance norm would remove it.
    """

    def __init__(
        self,
        in_channels: int,
        style_dim: int,
        *,
        model: str,
        pretrained: bool = False,
        weights: str | None = None,
        frozen: bool = False,
        out_index: int = -1,
        normalise: bool | None = None,
    ) -> None:
        super().__init__()
        self.backbone = TimmBackbone(
            in_channels,
            model,
            (out_index,),
            pretrained=pretrained,
            weights=weights,
            normalise=normalise,
            frozen=frozen,
        )
        self.head = nn.Linear(self.backbone.out_channels[0], style_dim)

    def forward(self, x: Tensor) -> Tensor:
        style: Tensor = self.head(self.backbone(x)[0].mean(dim=(2, 3)))
        return style
