"""Networks of timm as maps of features: trained or not, frozen or not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from munit_zoo.errors import ContractError, WeightsError, suggest
from munit_zoo.state_dicts import read_state_dict
from munit_zoo.weights import find_weights

__all__ = ["TimmBackbone"]

# What makes an architecture take images of any size, where it needs to be told: Swin, then ViT.
# In this order, for Swin swallows ViT's option without a word, and ViT refuses Swin's.
_ANY_SIZE: tuple[dict[str, bool], ...] = (
    {"strict_img_size": False},
    {"dynamic_img_size": True},
)


class TimmBackbone(nn.Module):
    """Feature maps of a timm network, each (N, C, H/stride, W/stride), whatever its own layout.

    Image (N, in_channels, H, W) in [-1, 1] to a list of maps, those of `out_indices` in their
    order. Only the layers up to the last are built, where timm can cut the network there.
    `out_channels`, `strides`: of each.

    model: timm's name. out_indices: as timm counts them; negative ones from the deepest.
    weights: a file of the whole network's weights, by path or by its name in a folder of weights;
    pretrained: timm's own. normalise: map [-1, 1] to the mean and deviation they were trained on;
    None for where there are such weights. frozen: not trained, and always in evaluation mode; the
    gradient goes through it. key: what messages call out_indices.

    Raises ContractError for an unknown network, one without features, a level that it does not
    have, or a map that is not 1/stride of the image; WeightsError where weights cannot be had or do
    not fit.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        in_channels: int,
        model: str,
        out_indices: Sequence[int],
        *,
        pretrained: bool = False,
        weights: str | None = None,
        normalise: bool | None = None,
        frozen: bool = False,
        key: str = "OUT_INDEX",
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
        count = len(channels)
        if any(not -count <= index < count for index in out_indices):
            shown = "; ".join(
                f"{level}: {channels[level]} channels, stride {strides[level]}"
                for level in range(count)
            )
            named = ", ".join(map(str, out_indices))
            raise ContractError(f"{key} {named}: {model} has the feature maps {shown}")
        levels = [index % count for index in out_indices]
        if sorted(set(levels)) != levels:
            raise ContractError(f"{key} {tuple(out_indices)}: name each map once, finest first")
        self.out_channels = [int(channels[level]) for level in levels]
        self.strides = [int(strides[level]) for level in levels]
        options["out_indices"] = tuple(tuple(info.out_indices)[level] for level in levels)
        probe = _probe(model, options)
        self.channels_last = self._are_channels_last(probe, model, in_channels)
        state = None if weights is None else _read(model, weights, in_channels)
        # on `meta` there is nothing to load weights into
        on_meta = torch.empty(0).is_meta
        self.network = (
            probe if on_meta else _create(model, options, pretrained=pretrained, state=state)
        )
        trained = pretrained or weights is not None
        self.normalise = trained if normalise is None else normalise
        if self.normalise:
            config = getattr(probe, "pretrained_cfg", None) or {}
            mean, std = config.get("mean", (0.5,)), config.get("std", (0.5,))
            if len(mean) != in_channels:  # not what it was trained on: a shade of grey for each
                mean = (sum(mean) / len(mean),) * in_channels
                std = (sum(std) / len(std),) * in_channels
            self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
            self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        self.frozen = frozen
        if frozen:
            self.network.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> TimmBackbone:
        """Training mode, of a frozen network too, but for its batch norms and dropout."""
        super().train(mode)
        if self.frozen:
            self.network.eval()
        return self

    def _are_channels_last(self, probe: nn.Module, model: str, in_channels: int) -> bool:
        """Whether the network returns (N, H, W, C). Raises ContractError for any other shape."""
        side = 4 * math.lcm(32, *self.strides)
        try:
            with torch.device("meta"):
                found = probe.eval()(torch.empty(1, in_channels, side, side))
        except Exception as error:
            raise ContractError(
                f"timm's {model} does not take images of {side}×{side}: {error}"
            ) from error
        probe.train()
        shapes = [
            (channels, side // stride, side // stride)
            for channels, stride in zip(self.out_channels, self.strides, strict=True)
        ]
        if [tuple(part.shape[1:]) for part in found] == shapes:
            return False
        if [tuple(part.shape[1:]) for part in found] == [(h, w, c) for c, h, w in shapes]:
            return True
        raise ContractError(
            f"timm's {model} makes features {[tuple(part.shape) for part in found]} of a "
            f"{side}×{side} image, expected {[(1, *shape) for shape in shapes]}"
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        if self.normalise:
            x = ((x + 1) / 2 - self.mean) / self.std
        found: list[Tensor] = self.network(x)
        return [part.permute(0, 3, 1, 2) for part in found] if self.channels_last else list(found)


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


def _create(
    model: str,
    options: dict[str, Any],
    *,
    pretrained: bool = False,
    state: dict[str, Tensor] | None = None,
) -> nn.Module:
    import timm

    given: dict[str, Any] = {}
    if state is not None:
        given["pretrained_cfg_overlay"] = {"state_dict": state, "source": ""}
    loads = pretrained or state is not None
    try:
        network: nn.Module = timm.create_model(model, pretrained=loads, **given, **options)
    except (OSError, RuntimeError, ValueError) as error:
        if loads:
            raise WeightsError(
                f"the pretrained weights of timm's {model} cannot be had: {error}. Put them "
                "into the Hugging Face cache, give a file of them (WEIGHTS), or set PRETRAINED: "
                "false."
            ) from error
        raise ContractError(f"timm cannot build {model} with features: {error}") from error
    return network


def _read(model: str, weights: str, in_channels: int) -> dict[str, Tensor]:
    """The tensors of a file. Raises WeightsError where they are not those of the whole network."""
    import timm

    found = find_weights(weights)
    state = read_state_dict(found.path)
    with torch.device("cpu"):
        whole = timm.create_model(model, num_classes=0, in_chans=in_channels).state_dict()
    absent = [key for key in whole if key not in state]
    if absent:
        shown = ", ".join(absent[:4]) + (f" and {len(absent) - 4} more" if absent[4:] else "")
        raise WeightsError(
            f"{found.path} does not hold the weights of timm's {model}: it lacks {shown}. Save the "
            "state dict of the whole network as timm names its tensors"
        )
    return state
