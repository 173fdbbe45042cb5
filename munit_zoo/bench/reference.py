"""The benchmark's yardstick: MUNIT and UNIT computed the way the 2018 implementation does it.

Plain eager torch with networks of its own, so that work on `munit_zoo.blocks` never moves it. The
habits that cost time or memory are kept on purpose: padding as a module before each convolution,
AdaIN parameters assigned to modules, nearest upsampling before a full convolution, no code shared
between the two updates, generators' graphs built for the discriminators' update, discriminators'
gradients computed in the generators' update, Adam one tensor at a time. Written from the paper
(Huang, Liu, Belongie, Kautz, ECCV 2018, arXiv 1804.04732) and recorded numbers; parameters have the
names of its checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from munit_zoo.config import Config, resolve_data
from munit_zoo.errors import UsageError
from munit_zoo.interop import nvlabs
from munit_zoo.models import TranslationModel

__all__ = ["Kind", "ReferenceTrainer", "hyperparameters_of"]

Kind = Literal["munit", "unit"]

WAYS = (("a", "b"), ("b", "a"))


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


_PADS: dict[str, Callable[[int], nn.Module]] = {
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
_ACTIVATIONS: dict[str, Callable[[], nn.Module | None]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "lrelu": lambda: nn.LeakyReLU(0.2, inplace=True),
    "prelu": nn.PReLU,
    "selu": lambda: nn.SELU(inplace=True),
    "tanh": nn.Tanh,
    "none": lambda: None,
}
_INITS: dict[str, Callable[[Tensor], Any]] = {
    "kaiming": lambda w: nn.init.kaiming_normal_(w, a=0, mode="fan_in"),
    "xavier": lambda w: nn.init.xavier_normal_(w, gain=math.sqrt(2)),
    "orthogonal": lambda w: nn.init.orthogonal_(w, gain=math.sqrt(2)),
    "gaussian": lambda w: nn.init.normal_(w, 0.0, 0.02),
    "default": lambda w: None,
}
_GAN_LOSSES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "lsgan": lambda x, target: ((x - target) ** 2).mean(),
    "nsgan": lambda x, target: F.binary_cross_entropy_with_logits(x, torch.full_like(x, target)),
}


def _choose(table: Mapping[str, Any], key: str, value: Any) -> Any:
    """The entry of a table. Raises UsageError that names the hyperparameter and its choices."""
    if value not in table:
        raise UsageError(
            f"the 2018 reference has no {key} {value!r}: choose one of {', '.join(table)}"
        )
    return table[value]


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
        self.pad = _choose(_PADS, "pad_type", pad_type)((kernel_size - 1) // 2)
        conv = nn.Conv2d(channels, wider, kernel_size, stride)
        self.norm = _choose(_NORMS, "norm", norm)(wider)
        self.activation = _choose(_ACTIVATIONS, "activ", activ)()
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
        self.activation = _choose(_ACTIVATIONS, "activ", activ)()

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


class _MunitGenerator(nn.Module):
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
        return self.dec(content)


class _UnitGenerator(nn.Module):
    """One domain's encoder, to the mean of its latent, and decoder."""

    def __init__(self, channels: int, gen: Mapping[str, Any]) -> None:
        super().__init__()
        self.enc = _content_encoder(channels, gen)
        self.dec = _decoder(channels, gen, "in")


class _Discriminator(nn.Module):
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


class _Vgg16(nn.Module):
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


def _initialise(module: nn.Module, how: str) -> None:
    draw = _choose(_INITS, "init", how)
    for layer in module.modules():
        # a spectral convolution has no `weight` before its first call: left as torch draws it
        if isinstance(layer, nn.Conv2d | nn.Linear) and hasattr(layer, "weight"):
            draw(layer.weight)
            if layer.bias is not None and how != "default":
                nn.init.zeros_(layer.bias)


# Training


_WEIGHTS = {
    "loss_gen_adv": "gan_w",
    "loss_gen_recon_x": "recon_x_w",
    "loss_gen_recon_s": "recon_s_w",
    "loss_gen_recon_c": "recon_c_w",
    "loss_gen_recon_kl": "recon_kl_w",
    "loss_gen_recon_kl_cyc": "recon_kl_cyc_w",
    "loss_gen_cycrecon_x": "recon_x_cyc_w",
    "loss_gen_cyc_x": "recon_x_cyc_w",
    "loss_gen_vgg": "vgg_w",
}


def _l1(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).abs().mean()


class ReferenceTrainer(nn.Module):
    """Two domains' networks with their optimizers, trained and used as in 2018.

    hyper: the reference's YAML as a dict. Read are `input_dim_a`, `input_dim_b`, `gen` (dim,
    mlp_dim, style_dim, activ, n_downsample, n_res, pad_type), `dis` (dim, norm, activ, n_layer,
    gan_type, num_scales, pad_type), `init`, `lr` (kept constant), `beta1`, `beta2`, `weight_decay`,
    each with the reference's default, and the weights `gan_w`, `recon_x_w`, `recon_s_w`,
    `recon_c_w`, `recon_x_cyc_w`, `recon_kl_w`, `recon_kl_cyc_w`, `vgg_w`, 0 where left out.
    Keys of `gen` that generalise it, left out for what the reference has: content_kernel_size,
    style_kernel_size (first convolutions, 7), decoder_kernel_size (last one, 7), up_kernel_size
    (5), style_width (the style encoder's channels after its first convolution, dim),
    style_n_downsample (4), decoder_n_res (n_res).

    kind: `munit` or `unit`. vgg_weights: torchvision's state dict of VGG-16 (`features.0.weight`),
    for a `vgg_w` above 0.

    Attributes: gen_a, gen_b, dis_a, dis_b, whose state dicts have the names of the reference's
    checkpoints; gen_opt, dis_opt.

    Raises UsageError for a value that the reference does not know, and where VGG weights are
    missing.
    """

    def __init__(
        self,
        hyper: Mapping[str, Any],
        kind: Kind,
        *,
        vgg_weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        make = _choose({"munit": _MunitGenerator, "unit": _UnitGenerator}, "kind", kind)
        gen, dis = _completed(hyper.get("gen", {})), hyper.get("dis", {})
        self.hyper, self.gen, self.kind = dict(hyper), gen, kind
        self._gan = _choose(_GAN_LOSSES, "gan_type", dis.get("gan_type", "lsgan"))
        channels = [hyper.get(f"input_dim_{domain}", 3) for domain in "ab"]
        self.gen_a, self.gen_b = (make(c, gen) for c in channels)
        self.dis_a, self.dis_b = (_Discriminator(c, dis) for c in channels)
        for domain in "ab":
            _initialise(self._gen(domain), hyper.get("init", "kaiming"))
            _initialise(self._dis(domain), "gaussian")
        self.vgg: _Vgg16 | None = None
        if self._weight("vgg_w") > 0:
            if vgg_weights is None:
                raise UsageError("vgg_w is above 0: give vgg_weights, torchvision's of VGG-16")
            self.vgg, self.instance_norm = _Vgg16(vgg_weights), nn.InstanceNorm2d(512)
        self.gen_opt = self._adam(self.gen_a, self.gen_b)
        self.dis_opt = self._adam(self.dis_a, self.dis_b)

    def step(
        self, x_a: Tensor, x_b: Tensor, noise: Mapping[str, Sequence[Tensor]] | None = None
    ) -> dict[str, Tensor]:
        """One iteration: discriminators' update, generators' update.

        x_a, x_b: images (N, C, H, W) in [-1, 1]. noise: `dis` and `gen`, each the draws in the
        order of `update_discriminators` and `update_generators`; drawn where left out.
        Returns the losses by the reference's names, unweighted, detached; the totals weighted.
        """
        noise = noise or {}
        losses = self.update_discriminators(x_a, x_b, noise.get("dis"))
        return losses | self.update_generators(x_a, x_b, noise.get("gen"))

    def update_discriminators(
        self, x_a: Tensor, x_b: Tensor, noise: Sequence[Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The discriminators' update; their gradients stay.

        noise: styles (N, S) or (N, S, 1, 1) for a, b; in UNIT the noise of the latents of a, b.
        """
        self.dis_opt.zero_grad()
        x, fakes, losses = {"a": x_a, "b": x_b}, {}, {}
        if self.kind == "munit":
            z = self._styles(x_a, noise)
            codes = {d: self._gen(d).encode(x[d]) for d in "ab"}  # nothing reads the styles
            for d, other in WAYS:
                fakes[other] = self._gen(other).decode(codes[d][0], z[other])
        else:
            h = {d: self._gen(d).enc(x[d]) for d in "ab"}
            n = {d: self._noise(h[d], noise, index) for index, d in enumerate("ab")}
            for d, other in WAYS:
                fakes[other] = self._gen(other).dec(h[d] + n[d])
        for d in "ab":
            false, real = self._dis(d)(fakes[d].detach()), self._dis(d)(x[d])
            losses[f"loss_dis_{d}"] = self._gans(false, 0.0) + self._gans(real, 1.0)
        total = self._weight("gan_w") * (losses["loss_dis_a"] + losses["loss_dis_b"])
        total.backward()
        self.dis_opt.step()
        return {name: loss.detach() for name, loss in {**losses, "loss_dis_total": total}.items()}

    def update_generators(
        self, x_a: Tensor, x_b: Tensor, noise: Sequence[Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The generators' update; their gradients stay, and it adds to the discriminators' too.

        noise: styles for a, b; in UNIT the noise of the latents of a, b, x_ba, x_ab.
        """
        self.gen_opt.zero_grad()
        compute = self._munit_losses if self.kind == "munit" else self._unit_losses
        losses = compute({"a": x_a, "b": x_b}, noise)
        parts = [self._weight(_WEIGHTS[k.rpartition("_")[0]]) * v for k, v in losses.items()]
        total = torch.stack(parts).sum()
        total.backward()
        self.gen_opt.step()
        return {name: loss.detach() for name, loss in {**losses, "loss_gen_total": total}.items()}

    def _munit_losses(
        self, x: Mapping[str, Tensor], noise: Sequence[Tensor] | None
    ) -> dict[str, Tensor]:
        z = self._styles(x["a"], noise)
        codes, losses = {d: self._gen(d).encode(x[d]) for d in "ab"}, {}
        for a, b in WAYS:
            (c_a, s_a), own, other = codes[a], self._gen(a), self._gen(b)
            x_aa, x_ab = own.decode(c_a, s_a), other.decode(c_a, z[b])
            c_ab, s_ab = other.encode(x_ab)
            losses[f"loss_gen_recon_x_{a}"] = _l1(x_aa, x[a])
            losses[f"loss_gen_recon_s_{b}"] = _l1(s_ab, z[b])
            losses[f"loss_gen_recon_c_{a}"] = _l1(c_ab, c_a)
            if self._weight("recon_x_cyc_w") > 0:
                losses[f"loss_gen_cycrecon_x_{a}"] = _l1(own.decode(c_ab, s_a), x[a])
            losses |= self._judged(b, x_ab, x[a])
        return losses

    def _unit_losses(
        self, x: Mapping[str, Tensor], noise: Sequence[Tensor] | None
    ) -> dict[str, Tensor]:
        h, losses = {d: self._gen(d).enc(x[d]) for d in "ab"}, {}
        n = {d: self._noise(h[d], noise, index) for index, d in enumerate("ab")}
        for index, (a, b) in enumerate(WAYS):
            own, other, latent = self._gen(a), self._gen(b), h[a] + n[a]
            x_aa, x_ab = own.dec(latent), other.dec(latent)
            h_ab = other.enc(x_ab)
            n_ab = self._noise(h_ab, noise, 3 - index)
            losses[f"loss_gen_recon_x_{a}"] = _l1(x_aa, x[a])
            losses[f"loss_gen_recon_kl_{a}"] = (h[a] ** 2).mean()
            losses[f"loss_gen_recon_kl_cyc_{a}{b}{a}"] = (h_ab**2).mean()
            if self._weight("recon_x_cyc_w") > 0:
                losses[f"loss_gen_cyc_x_{a}"] = _l1(own.dec(h_ab + n_ab), x[a])
            losses |= self._judged(b, x_ab, x[a])
        return losses

    def _judged(self, domain: str, fake: Tensor, source: Tensor) -> dict[str, Tensor]:
        """Losses of a translation into a domain: adversarial, and perceptual where wanted."""
        losses = {f"loss_gen_adv_{domain}": self._gans(self._dis(domain)(fake), 1.0)}
        if self.vgg is not None:
            ours, theirs = (self.instance_norm(self.vgg(image)) for image in (fake, source))
            losses[f"loss_gen_vgg_{domain}"] = ((ours - theirs) ** 2).mean()
        return losses

    # Use

    @torch.no_grad()
    def translate(
        self, x: Tensor, way: Literal["a2b", "b2a"], styles: Tensor | None = None
    ) -> Tensor:
        """Translations, one style decoded after the other.

        x: (N, C, H, W) in [-1, 1], sides multiples of the encoder's stride. styles: (K, S), each
        used for every image; UNIT takes none and has K = 1. Returns (N, K, C, H, W) in [-1, 1].
        Raises UsageError for another way, and where MUNIT is given no styles.
        """
        source, target = _choose({"a2b": "ab", "b2a": "ba"}, "way", way)
        if self.kind == "unit":
            return self._gen(target).dec(self._gen(source).enc(x))[:, None]
        if styles is None:
            raise UsageError("MUNIT translates in styles: give codes (K, S)")
        content, _ = self._gen(source).encode(x)  # the style too, as its test script does
        images = [
            self._gen(target).decode(content, style.reshape(1, -1).expand(len(x), -1))
            for style in styles
        ]
        return torch.stack(images, dim=1)

    def load_from(self, model: TranslationModel) -> None:
        """Take over the weights of one of our models, of the config that `hyper` comes from."""
        pairs = (("gen", model.generators), ("dis", model.discriminators))
        for part, networks in pairs:
            for domain in "ab":
                network = getattr(self, f"{part}_{domain}")
                targets = nvlabs._targets(networks[domain], self.kind, self.gen["n_downsample"])
                state = network.state_dict()  # with AdaIN's dummies, which ours lacks
                for name, value in networks[domain].state_dict().items():
                    target = targets[name]
                    if name.startswith("style_encoder.head."):
                        place, leaf = self.gen["style_n_downsample"] + 2, name.rpartition(".")[2]
                        target = f"enc_style.model.{place}.{leaf}"
                    state[target] = value
                network.load_state_dict(state)

    # Parts

    def _gen(self, domain: str) -> Any:
        return self.gen_a if domain == "a" else self.gen_b

    def _dis(self, domain: str) -> Any:
        return self.dis_a if domain == "a" else self.dis_b

    def _weight(self, key: str) -> float:
        return float(self.hyper.get(key, 0))

    def _gans(self, logits: Sequence[Tensor], target: float) -> Tensor:
        """The adversarial loss, summed over scales."""
        return torch.stack([self._gan(part, target) for part in logits]).sum()

    def _styles(self, x: Tensor, noise: Sequence[Tensor] | None) -> dict[str, Tensor]:
        shape = (len(x), self.gen["style_dim"], 1, 1)
        if noise is None:
            noise = [torch.randn(shape, device=x.device, dtype=x.dtype) for _ in "ab"]
        return {domain: z.reshape(shape) for domain, z in zip("ab", noise, strict=True)}

    def _noise(self, h: Tensor, noise: Sequence[Tensor] | None, index: int) -> Tensor:
        return torch.randn_like(h) if noise is None else noise[index]

    def _adam(self, *networks: nn.Module) -> torch.optim.Adam:
        lr = float(self.hyper.get("lr", 1e-4))
        betas = (float(self.hyper.get("beta1", 0.5)), float(self.hyper.get("beta2", 0.999)))
        decay = float(self.hyper.get("weight_decay", 1e-4))
        parameters = [p for network in networks for p in network.parameters()]
        return torch.optim.Adam(
            parameters, lr=lr, betas=betas, weight_decay=decay, foreach=False, fused=False
        )


def _completed(gen: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters of the generators with all defaults."""
    full = {"dim": 64, "mlp_dim": 256, "style_dim": 8, "activ": "relu", "n_downsample": 2}
    full |= {"n_res": 4, "pad_type": "reflect", "up_kernel_size": 5, "style_n_downsample": 4}
    full |= {f"{part}_kernel_size": 7 for part in ("content", "style", "decoder")}
    full |= gen
    return {"style_width": full["dim"], "decoder_n_res": full["n_res"], **full}


# Configs

# Where our configs have the reference's hyperparameters
_KEYS = {
    "DOMAINS.A.CHANNELS": "input_dim_a",
    "DOMAINS.B.CHANNELS": "input_dim_b",
    "MODEL.STYLE_DIM": "gen.style_dim",
    "MODEL.CONTENT_ENCODER.DIM": "gen.dim",
    "MODEL.CONTENT_ENCODER.DOWNSAMPLES": "gen.n_downsample",
    "MODEL.CONTENT_ENCODER.BLOCKS": "gen.n_res",
    "MODEL.CONTENT_ENCODER.ACTIVATION.NAME": "gen.activ",
    "MODEL.CONTENT_ENCODER.PAD_TYPE": "gen.pad_type",
    "MODEL.CONTENT_ENCODER.INIT": "init",
    "MODEL.DECODER.MAPPING.DIM": "gen.mlp_dim",
    "MODEL.DISCRIMINATOR.DIM": "dis.dim",
    "MODEL.DISCRIMINATOR.LAYERS": "dis.n_layer",
    "MODEL.DISCRIMINATOR.SCALES": "dis.num_scales",
    "MODEL.DISCRIMINATOR.NORM.NAME": "dis.norm",
    "MODEL.DISCRIMINATOR.WEIGHT_NORM": "dis.norm",
    "MODEL.DISCRIMINATOR.ACTIVATION.NAME": "dis.activ",
    "MODEL.DISCRIMINATOR.PAD_TYPE": "dis.pad_type",
    "LOSSES.ADVERSARIAL.NAME": "dis.gan_type",
    "LOSSES.ADVERSARIAL.WEIGHT": "gan_w",
    "LOSSES.IMAGE_RECON.WEIGHT": "recon_x_w",
    "LOSSES.STYLE_RECON.WEIGHT": "recon_s_w",
    "LOSSES.CONTENT_RECON.WEIGHT": "recon_c_w",
    "LOSSES.CYCLE_RECON.WEIGHT": "recon_x_cyc_w",
    "LOSSES.KL.WEIGHT": "recon_kl_w",
    "LOSSES.CYCLE_KL.WEIGHT": "recon_kl_cyc_w",
    "LOSSES.PERCEPTUAL.WEIGHT": "vgg_w",
    "OPTIM.GENERATOR.LR": "lr",
    "OPTIM.GENERATOR.WEIGHT_DECAY": "weight_decay",
}
# What it calls our values; other values of these keys it does not have
_VALUES: dict[str, Mapping[str, Any]] = {
    "activ": {name: name for name in _ACTIVATIONS},
    "pad_type": {name: name for name in _PADS},
    "init": {name: name for name in _INITS},
    "gan_type": {name: name for name in _GAN_LOSSES},
    "norm": {"instance": "in", "batch": "bn", "layer": "ln", "spectral_legacy": "sn"},
}
_GENERALISED = {
    "MODEL.CONTENT_ENCODER.KERNEL_SIZE": "content_kernel_size",
    "MODEL.STYLE_ENCODER.KERNEL_SIZE": "style_kernel_size",
    "MODEL.STYLE_ENCODER.DIM": "style_width",
    "MODEL.STYLE_ENCODER.DOWNSAMPLES": "style_n_downsample",
    "MODEL.DECODER.KERNEL_SIZE": "decoder_kernel_size",
    "MODEL.DECODER.UPSAMPLE_KERNEL_SIZE": "up_kernel_size",
    "MODEL.DECODER.BLOCKS": "decoder_n_res",
}
_COMPONENTS = (
    "MODEL.CONTENT_ENCODER.NAME",
    "MODEL.STYLE_ENCODER.NAME",
    "MODEL.DECODER.NAME",
    "MODEL.DECODER.MAPPING.NAME",
    "MODEL.DISCRIMINATOR.NAME",
)
_COMPARED = ("MODEL.", "LOSSES.", "OPTIM.GENERATOR.", "OPTIM.DISCRIMINATOR.")
# Where weights lie and how Adam runs is no part of the mathematics
_FREE = frozenset(
    [f"LOSSES.PERCEPTUAL.{key}" for key in ("WEIGHTS", "DOWNLOAD", "CHANNELS")]
    + [f"OPTIM.{side}.FUSED" for side in ("GENERATOR", "DISCRIMINATOR")]
)


def hyperparameters_of(config: Config) -> tuple[dict[str, Any], Kind]:
    """The reference's hyperparameters of a resolved config, and its kind.

    The inverse of `nvlabs.config_from_hyperparameters`, with the keys that generalise (see
    ReferenceTrainer) where the config has other than the reference's values there. Data, engine and
    the schedule are left out: an iteration costs the same with any.

    Raises UsageError for the first key, in the config's order, whose value the 2018 implementation
    does not have.
    """
    kind = config.MODEL.NAME
    if kind not in ("munit", "unit"):
        raise _foreign("MODEL.NAME", kind, "munit")
    leaves, its = dict(_leaves(config)), _described({}, kind)
    for path in _COMPONENTS:
        if path in its and leaves[path] != its[path]:
            raise _foreign(path, leaves[path], its[path])
    hyper: dict[str, Any] = {"gen": {}, "dis": {}}
    for path, key in _KEYS.items():
        section, _, name = key.rpartition(".")
        known = _VALUES.get(name)
        if path in leaves and (known is None or leaves[path] in known):
            into = hyper[section] if section else hyper
            into[name] = known[leaves[path]] if known else leaves[path]
    if "OPTIM.GENERATOR.BETAS" in leaves:
        hyper["beta1"], hyper["beta2"] = leaves["OPTIM.GENERATOR.BETAS"]
    its = _described(hyper, kind)  # wherever the config differs, the reference does not have it
    for path, value in leaves.items():
        ignored = path in _FREE or not path.startswith(_COMPARED)
        if ignored or (path.startswith("LOSSES.") and not _weight_of(leaves, path)):
            continue
        if path not in its:
            raise _foreign(path, value)
        if value != its[path] and path not in _GENERALISED:
            raise _foreign(path, value, its[path])
        if value != its[path]:
            hyper["gen"][_GENERALISED[path]] = value
    for path in ("DOMAINS.A.CHANNELS", "DOMAINS.B.CHANNELS"):
        if hyper.get("vgg_w") and leaves[path] not in (1, 3):
            raise _foreign(path, leaves[path], 3)
    return hyper, kind


def _described(hyper: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Leaves of the config that hyperparameters stand for."""
    tree = nvlabs.config_from_hyperparameters(hyper, kind, source="the 2018 reference")
    return dict(_leaves(resolve_data(tree, origin="the 2018 reference").config))


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted paths and values, in order."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _weight_of(leaves: Mapping[str, Any], path: str) -> float:
    """Weight of the loss term that a path belongs to."""
    return float(leaves[".".join([*path.split(".")[:2], "WEIGHT"])])


def _foreign(path: str, value: Any, default: Any = None) -> UsageError:
    needed = "it left out" if default is None else f"the default there ({default!r})"
    return UsageError(
        f"{path} is {value!r}, which the 2018 implementation does not have: the reference arm "
        f"needs {needed}"
    )
