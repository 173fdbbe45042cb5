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

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from munit_zoo.bench.reference.networks import (
    GAN_LOSSES,
    Discriminator,
    MunitGenerator,
    UnitGenerator,
    Vgg16,
    choose,
    initialise,
)
from munit_zoo.bench.reference.settings import Kind, completed
from munit_zoo.errors import UsageError
from munit_zoo.interop import nvlabs

__all__ = ["ReferenceTrainer"]

WAYS = (("a", "b"), ("b", "a"))
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
        make = choose({"munit": MunitGenerator, "unit": UnitGenerator}, "kind", kind)
        gen, dis = completed(hyper.get("gen", {})), hyper.get("dis", {})
        self.hyper, self.gen, self.kind = dict(hyper), gen, kind
        self._gan = choose(GAN_LOSSES, "gan_type", dis.get("gan_type", "lsgan"))
        channels = [hyper.get(f"input_dim_{domain}", 3) for domain in "ab"]
        self.gen_a, self.gen_b = (make(c, gen) for c in channels)
        self.dis_a, self.dis_b = (Discriminator(c, dis) for c in channels)
        for domain in "ab":
            initialise(self._gen(domain), hyper.get("init", "kaiming"))
            initialise(self._dis(domain), "gaussian")
        self.vgg: Vgg16 | None = None
        if self._weight("vgg_w") > 0:
            if vgg_weights is None:
                raise UsageError("vgg_w is above 0: give vgg_weights, torchvision's of VGG-16")
            self.vgg, self.instance_norm = Vgg16(vgg_weights), nn.InstanceNorm2d(512)
        self.gen_opt = self._adam(self.gen_a, self.gen_b)
        self.dis_opt = self._adam(self.dis_a, self.dis_b)

    # Training

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
        source, target = choose({"a2b": "ab", "b2a": "ba"}, "way", way)
        if self.kind == "unit":
            image: Tensor = self._gen(target).dec(self._gen(source).enc(x))
            return image[:, None]
        if styles is None:
            raise UsageError("MUNIT translates in styles: give codes (K, S)")
        content, _ = self._gen(source).encode(x)  # the style too, as its test script does
        images = [
            self._gen(target).decode(content, style.reshape(1, -1).expand(len(x), -1))
            for style in styles
        ]
        return torch.stack(images, dim=1)

    def load_from(self, model: Any) -> None:
        """Take over the weights of one of our models, of the config that `hyper` comes from."""
        for part, domain in itertools.product(("gen", "dis"), "ab"):
            network = getattr(self, f"{part}_{domain}")
            _, ours = nvlabs.part_of(model, domain, part)
            targets = nvlabs.targets_of(ours, self.kind, self.gen["n_downsample"])
            state = network.state_dict()  # with AdaIN's dummies, which ours lacks
            for name, value in ours.state_dict().items():
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
