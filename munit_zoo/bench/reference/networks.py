"""Networks of the benchmark's yardstick, as the 2018 implementation builds them.

Layers, generators, discriminator, VGG-16 and initialisation, in plain torch and with none of
`munit_zoo.blocks`. Parameters have the names of the 2018 implementation's checkpoints. A `gen` here
is what `reference_settings.completed` returns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from munit_zoo.errors import UsageError

__all__ = [
    "ACTIVATIONS",
    "GAN_LOSSES",
    "INITS",
    "PADS",
    "Discriminator",
    "MunitGenerator",
    "UnitGenerator",
    "Vgg16",
    "choose",
    "initialise",
]


# Layers


class _AdaIN(nn.Module):
    """Instance norm whose weight and bias, (N·C,) each, are assigned before every call."""

    weight: Tensor | None = None
    bias: Tensor | None = None
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("running_mean", torch.zeros(channels))  # its dummies: never updated
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        mean, var = self.running_mean.repeat(n), self.running_var.repeat(n)
        flat = x.contiguous().view(1, n * c, h, w)
        flat = F.batch_norm(flat, mean, var, self.weight, self.bias, True, 0.1, 1e-5)
        return flat.view(n, c, h, w)


class _LayerNorm(nn.Module):
    """(x - mean) / (unbiased std + 1e-5) over (C, H, W), then gamma and beta a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.contiguous().view(len(x), -1)
        mean, std = rows.mean(1).view(-1, 1, 1, 1), rows.std(1).view(-1, 1, 1, 1)
        x = (x - mean) / (std + 1e-5)
        return x * self.gamma.view(1, -1, 1, 1) + self.beta.view(1, -1, 1, 1)


class _SpectralConv(nn.Module):
    """A convolution of weight W/σ; each call takes one power iteration, v first, then u."""

    def __init__(self, conv: Any) -> None:
        super().__init__()
        weight = conv.weight.detach()
        del conv.weight
        conv.weight_bar = nn.Parameter(weight)
        for name, size in (("weight_u", len(weight)), ("weight_v", weight[0].numel())):
            conv.register_buffer(name, F.normalize(torch.randn(size), dim=0))
        self.module = conv

    def forward(self, x: Tensor) -> Tensor:
        conv = self.module
        matrix = conv.weight_bar.flatten(1)
        with torch.no_grad():
            v = matrix.t().mv(conv.weight_u)
            v = v / (v.norm() + 1e-12)
            u = matrix.mv(v)
            u = u / (u.norm() + 1e-12)
            conv.weight_u.copy_(u)
            conv.weight_v.copy_(v)
        conv.weight = conv.weight_bar / u.dot(matrix.mv(v))
        output: Tensor = conv(x)
        return output


# What hyperparameters choose from


PADS: dict[str, Callable[[int], nn.Module]] = {
    "reflect": nn.ReflectionPad2d,
    "replicate": nn.ReplicationPad2d,
    "zero": nn.ZeroPad2d,
}
_NORMS: dict[str, Callable[[int], nn.Module | None]] = {
    "none": lambda channels: None,
    "sn": lambda channels: None,  # its convolution is wrapped instead
    "in": nn.InstanceNorm2d,
    "bn": nn.BatchNorm2d,
    "ln": _LayerNorm,
    "adain": _AdaIN,
}
ACTIVATIONS: dict[str, Callable[[], nn.Module | None]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "lrelu": lambda: nn.LeakyReLU(0.2, inplace=True),
    "prelu": nn.PReLU,
    "selu": lambda: nn.SELU(inplace=True),
    "tanh": nn.Tanh,
    "none": lambda: None,
}
INITS: dict[str, Callable[[Tensor], object]] = {
    "kaiming": lambda w: nn.init.kaiming_normal_(w, a=0, mode="fan_in"),
    "xavier": lambda w: nn.init.xavier_normal_(w, gain=math.sqrt(2)),
    "orthogonal": lambda w: nn.init.orthogonal_(w, gain=math.sqrt(2)),
    "gaussian": lambda w: nn.init.normal_(w, 0.0, 0.02),
    "default": lambda w: None,
}
GAN_LOSSES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "lsgan": lambda x, target: ((x - target) ** 2).mean(),
    "nsgan": lambda x, target: F.binary_cross_entropy_with_logits(x, torch.full_like(x, target)),
}


def choose(table: Mapping[str, object], key: str, value: Any) -> Any:
    """The entry of a table. Raises UsageError that names the hyperparameter and its choices."""
    if value not in table:
        raise UsageError(
            f"the 2018 reference has no {key} {value!r}: choose one of {', '.join(table)}"
        )
    return table[value]


# Blocks


class _ConvBlock(nn.Module):
    """Pad, convolve, normalise, activate."""

    def __init__(
        self,
        channels: int,
        wider: int,
        kernel_size: int,
        stride: int = 1,
        *,
        norm: str,
        activ: str,
        pad_type: str,
    ) -> None:
        super().__init__()
        self.pad = choose(PADS, "pad_type", pad_type)((kernel_size - 1) // 2)
        conv = nn.Conv2d(channels, wider, kernel_size, stride)
        self.norm = choose(_NORMS, "norm", norm)(wider)
        self.activation = choose(ACTIVATIONS, "activ", activ)()
        self.conv = _SpectralConv(conv) if norm == "sn" else conv

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.pad(x))
        if self.norm is not None:
            x = self.norm(x)
        if self.activation is not None:
            x = self.activation(x)
        return x


class _LinearBlock(nn.Module):
    """Linear layer, then an activation."""

    def __init__(self, features: int, out: int, activ: str) -> None:
        super().__init__()
        self.fc = nn.Linear(features, out)
        self.activation = choose(ACTIVATIONS, "activ", activ)()

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(x)
        if self.activation is not None:
            x = self.activation(x)
        return x


class _Chain(nn.Module):
    """Layers in order, under the name `model`."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.model(x)
        return output


class _Residual(_Chain):
    """x + model(x)."""

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.model(x)
        output += x
        return output


# Networks


def _residuals(count: int, dim: int, norm: str, activ: str, pad: str) -> _Chain:
    return _Chain(
        _Residual(
            _ConvBlock(dim, dim, 3, norm=norm, activ=a, pad_type=pad) for a in (activ, "none")
        )
        for _ in range(count)
    )


def _content_encoder(channels: int, gen: Mapping[str, Any]) -> _Chain:
    dim, make = gen["dim"], {"norm": "in", "activ": gen["activ"], "pad_type": gen["pad_type"]}
    layers: list[nn.Module] = [_ConvBlock(channels, dim, gen["content_kernel_size"], **make)]
    for _ in range(gen["n_downsample"]):
        layers.append(_ConvBlock(dim, 2 * dim, 4, 2, **make))
        dim *= 2
    return _Chain([*layers, _residuals(gen["n_res"], dim, "in", gen["activ"], gen["pad_type"])])


def _style_encoder(channels: int, gen: Mapping[str, Any]) -> _Chain:
    dim, make = gen["style_width"], {"norm": "none", **{k: gen[k] for k in ("activ", "pad_type")}}
    layers: list[nn.Module] = [_ConvBlock(channels, dim, gen["style_kernel_size"], **make)]
    for index in range(gen["style_n_downsample"]):
        wider = 2 * dim if index < 2 else dim
        layers.append(_ConvBlock(dim, wider, 4, 2, **make))
        dim = wider
    return _Chain([*layers, nn.AdaptiveAvgPool2d(1), nn.Conv2d(dim, gen["style_dim"], 1)])


def _decoder(channels: int, gen: Mapping[str, Any], norm: str) -> _Chain:
    dim, activ, pad = gen["dim"] * 2 ** gen["n_downsample"], gen["activ"], gen["pad_type"]
    layers: list[nn.Module] = [_residuals(gen["decoder_n_res"], dim, norm, activ, pad)]
    for _ in range(gen["n_downsample"]):
        size = gen["up_kernel_size"]
        layers.append(nn.Upsample(scale_factor=2))
        layers.append(_ConvBlock(dim, dim // 2, size, norm="ln", activ=activ, pad_type=pad))
        dim //= 2
    size = gen["decoder_kernel_size"]
    return _Chain(
        [*layers, _ConvBlock(dim, channels, size, norm="none", activ="tanh", pad_type=pad)]
    )


class MunitGenerator(nn.Module):
    """One domain's encoders, decoder and style mapping."""

    def __init__(self, channels: int, gen: Mapping[str, Any]) -> None:
        super().__init__()
        self.enc_style = _style_encoder(channels, gen)
        self.enc_content = _content_encoder(channels, gen)
        self.dec = _decoder(channels, gen, "adain")
        count = sum(2 * layer.channels for layer in self._adains())
        dim, activ = gen["mlp_dim"], gen["activ"]
        self.mlp = _Chain(
            [
                _LinearBlock(gen["style_dim"], dim, activ),
                _LinearBlock(dim, dim, activ),
                _LinearBlock(dim, count, "none"),
            ]
        )

    def _adains(self) -> list[_AdaIN]:
        return [layer for layer in self.dec.modules() if isinstance(layer, _AdaIN)]

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Content code (N, C, h, w) and style code (N, S, 1, 1)."""
        style = self.enc_style(x)
        return self.enc_content(x), style

    def decode(self, content: Tensor, style: Tensor) -> Tensor:
        """The image; the style's parameters stay behind in the decoder's modules."""
        parameters = self.mlp(style.reshape(len(style), -1))
        for layer in self._adains():
            own, parameters = parameters.tensor_split([2 * layer.channels], dim=1)
            layer.bias = own[:, : layer.channels].contiguous().view(-1)
            layer.weight = own[:, layer.channels :].contiguous().view(-1)
        image: Tensor = self.dec(content)
        return image


class UnitGenerator(nn.Module):
    """One domain's encoder, to the mean of its latent, and decoder."""

    def __init__(self, channels: int, gen: Mapping[str, object]) -> None:
        super().__init__()
        self.enc = _content_encoder(channels, gen)
        self.dec = _decoder(channels, gen, "in")


class Discriminator(nn.Module):
    """Image to a list of logits (N, 1, h, w), one a scale, the finest first."""

    def __init__(self, channels: int, dis: Mapping[str, Any]) -> None:
        super().__init__()
        make = {"activ": dis.get("activ", "lrelu"), "pad_type": dis.get("pad_type", "reflect")}
        self.downsample = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        self.cnns = nn.ModuleList()
        for _ in range(dis.get("num_scales", 3)):
            width, dim, layers = channels, dis.get("dim", 64), nn.Sequential()
            for index in range(dis.get("n_layer", 4)):
                norm = dis.get("norm", "none") if index else "none"
                layers.append(_ConvBlock(width, dim, 4, 2, norm=norm, **make))
                width, dim = dim, 2 * dim
            self.cnns.append(layers.append(nn.Conv2d(width, 1, 1)))

    def forward(self, x: Tensor) -> list[Tensor]:
        logits = []
        for index, cnn in enumerate(self.cnns):
            if index:
                x = self.downsample(x)
            logits.append(cnn(x))
        return logits


class Vgg16(nn.Module):
    """relu5_3 of VGG-16, images in [-1, 1] to features at stride 8: none pooled before conv5_1."""

    # torchvision's numbers of its convolutions
    numbers = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    pooled = (2, 4, 7)  # convolutions, counted from 0, that follow a pooling
    means = (103.939, 116.779, 123.680)  # blue, green, red, in 0..255

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        for number in self.numbers:
            try:
                state = {key: weights[f"features.{number}.{key}"] for key in ("weight", "bias")}
            except KeyError as error:
                raise UsageError(f"vgg_weights has no {error}, as torchvision's VGG-16") from error
            out, channels = state["weight"].shape[:2]
            self.convs.append(nn.Conv2d(channels, out, 3, padding=1))
            self.convs[-1].load_state_dict(state)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        x = (x.flip(1) + 1) * 255 / 2
        means = torch.empty_like(x)
        for channel, mean in enumerate(self.means):
            means[:, channel] = mean
        x = x - means
        for index, conv in enumerate(self.convs):
            x = F.relu(conv(F.max_pool2d(x, 2) if index in self.pooled else x), inplace=True)
        return x


# Initialisation


def initialise(module: nn.Module, how: str) -> None:
    """Draw the weights of all convolutions and linear layers anew, their biases 0.

    how: a key of INITS; `default` keeps torch's draws. Raises UsageError for another.
    """
    draw = choose(INITS, "init", how)
    for layer in module.modules():
        # a spectral convolution has no `weight` before its first call: left as torch draws it
        if isinstance(layer, nn.Conv2d | nn.Linear) and hasattr(layer, "weight"):
            draw(layer.weight)
            if layer.bias is not None and how != "default":
                nn.init.zeros_(layer.bias)
