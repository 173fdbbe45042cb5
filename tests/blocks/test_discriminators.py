"""Residual, U-Net, class-indexed and projected discriminators; what they see of a batch."""

from __future__ import annotations

import pytest
import torch

from munit_zoo.blocks.bicyclegan import MultiscalePatchGAN
from munit_zoo.blocks.discriminators import (
    MultiscalePatchDiscriminator,
    PatchClassDiscriminator,
    PatchDiscriminator,
    PixelDiscriminator,
)
from munit_zoo.blocks.funit import FunitDiscriminator
from munit_zoo.blocks.minibatch import MinibatchStd
from munit_zoo.blocks.projected import ProjectedDiscriminator
from munit_zoo.blocks.residual_discriminators import (
    ResidualClassDiscriminator,
    ResidualDiscriminator,
    UnetDiscriminator,
)
from munit_zoo.blocks.stargan import StarGANDiscriminator
from munit_zoo.blocks.starganv2 import StarGANv2Discriminator
from munit_zoo.errors import ContractError, GraphError

SMALL = {"dim": 4, "layers": 3, "max_dim": 8}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


# Minibatch standard deviation


def test_minibatch_std_is_one_number_a_group():
    x = torch.randn(6, 3, 4, 5, dtype=torch.double)
    found = MinibatchStd(3)(x)
    torch.testing.assert_close(found[:, :3], x)
    for group in (slice(0, 3), slice(3, 6)):
        deviation = (x[group].var(dim=0, correction=0) + 1e-8).sqrt().mean()
        torch.testing.assert_close(found[group, 3], deviation.expand(3, 4, 5))
    assert torch.equal(MinibatchStd(4)(x), found)  # the largest divisor of 6 up to 4
    assert not torch.allclose(MinibatchStd(6)(x), found)


def test_a_batch_of_one_has_no_deviation_and_a_gradient():
    x = torch.randn(1, 2, 3, 3, requires_grad=True)
    found = MinibatchStd(4)(x)
    assert float(found[:, 2].detach().max()) < 1e-3
    found.sum().backward()
    torch.testing.assert_close(x.grad, torch.ones_like(x))


# All of them

BUILD = {
    "multiscale_patch": lambda **k: MultiscalePatchDiscriminator(3, dim=4, layers=2, **k),
    "multiscale_patchgan": lambda **k: MultiscalePatchGAN(3, dim=4, layers=2, **k),
    "patch": lambda **k: PatchDiscriminator(3, dim=4, **k),
    "patch_classes": lambda **k: PatchClassDiscriminator(3, 4, dim=4, **k),
    "pixel": lambda **k: PixelDiscriminator(3, dim=4, **k),
    "residual": lambda **k: ResidualDiscriminator(3, **SMALL, **k),
    "residual_classes": lambda **k: ResidualClassDiscriminator(3, 4, **SMALL, **k),
    "unet": lambda **k: UnetDiscriminator(3, **SMALL, **k),
    "funit": lambda **k: FunitDiscriminator(3, 4, dim=4, blocks=2, **k),
    "stargan": lambda **k: StarGANDiscriminator(3, size=32, dim=4, layers=3, **k),
    "starganv2": lambda **k: StarGANv2Discriminator(
        3, 4, size=32, channel_budget=128, max_dim=8, **k
    ),
}
TOLD = ("patch_classes", "residual_classes", "funit", "starganv2")


def judge(name: str, network: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    y = torch.arange(len(x)) % 4
    return network(x, y) if name in TOLD else network(x)


@pytest.mark.parametrize("weight_norm", ["spectral", "spectral_legacy", "weight"])
@pytest.mark.parametrize("name", BUILD)
def test_each_takes_norms_weight_norms_and_activations(name, weight_norm):
    network = BUILD[name](weight_norm=weight_norm, norm="layer", activation="silu")
    kinds = [type(module).__name__ for module in network.modules()]
    assert "LayerNorm" in kinds
    assert "SiLU" in kinds
    if weight_norm == "spectral_legacy":
        assert any(key.endswith(".u") for key in network.state_dict())
    else:
        assert any("parametrizations" in key for key in network.state_dict())
    logits = judge(name, network, torch.randn(2, 3, 32, 32))
    sum(part.square().sum() for part in logits).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("name", [n for n in BUILD if n not in ("funit", "stargan")])
def test_samples_may_be_compared(name):
    alone, together = BUILD[name](), BUILD[name](minibatch_std=4)
    x = torch.randn(4, 3, 32, 32)
    for network, depends in ((alone, False), (together, True)):
        network.eval()
        both = torch.cat([part[:1].flatten() for part in judge(name, network, x)])
        x2 = torch.cat([x[:1], x[:1].expand(3, -1, -1, -1)])
        other = torch.cat([part[:1].flatten() for part in judge(name, network, x2)])
        assert torch.allclose(both, other, atol=1e-5) != depends


# Residual discriminators


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_heads_judge_the_deepest_levels(heads):
    network = ResidualDiscriminator(3, **SMALL, heads=heads)
    logits = network(torch.randn(2, 3, 32, 24))
    expected = [(2, 1, 32, 24), (2, 1, 16, 12), (2, 1, 8, 6), (2, 1)][-heads:]
    assert [tuple(part.shape) for part in logits] == expected
    with pytest.raises(ContractError, match=r"HEADS is 5: there are 4 levels"):
        ResidualDiscriminator(3, **SMALL, heads=5)


@pytest.mark.parametrize("build", [ResidualDiscriminator, UnetDiscriminator])
def test_a_residual_discriminators_smallest_image(build):
    network = build(3, **SMALL)
    assert all(part.isfinite().all() for part in network(torch.randn(1, 3, 8, 8)))
    with pytest.raises(GraphError, match="needs 8×8|multiples of 8"):
        network(torch.randn(1, 3, 8, 7))


@pytest.mark.parametrize("name", ["residual_classes", "patch_classes"])
def test_the_logits_of_a_class(name):
    network, x = BUILD[name]().eval(), torch.randn(4, 3, 32, 32)
    y = torch.tensor([3, 0, 2, 0])
    (together,) = network(x, y)
    (apart,) = network.logits(network.features(x), y)
    assert torch.equal(together, apart)
    for index in range(4):
        (each,) = network(x, torch.full((4,), index))
        same = y == index
        torch.testing.assert_close(together[same], each[same])
        assert not torch.allclose(together[~same], each[~same])


def test_a_unet_judges_each_pixel_and_the_whole():
    network = UnetDiscriminator(3, **SMALL).eval()
    x = torch.randn(2, 3, 32, 24, requires_grad=True)
    pixels, whole = network(x)
    assert (pixels.shape, whole.shape) == ((2, 1, 32, 24), (2, 1))
    # a pixel's logit sees its own neighbourhood most, a third of the image
    (gradient,) = torch.autograd.grad(pixels[0, 0, 16, 12], x)
    near = gradient[0, :, 8:25, 4:21].abs().sum()
    assert float(near) > 0.6 * float(gradient[0].abs().sum())
    with torch.no_grad():  # nothing comes from below: what is left went across
        for up in network.ups:
            for p in up.parameters():
                p.zero_()
    assert network(x)[0].std() > 0


# Projected features

PROJECTED = {"model": "resnet10t", "levels": (1, 2, 3), "mix_dim": 4, "dim": 4}


def test_heads_on_frozen_features():
    pytest.importorskip("timm")
    network = ProjectedDiscriminator(3, **PROJECTED).train()
    logits = network(torch.randn(2, 3, 64, 64))
    assert [tuple(part.shape) for part in logits] == [(2, 1, 4, 4)] * 3
    trained = {n.partition(".")[0] for n, p in network.named_parameters() if p.requires_grad}
    assert trained == {"heads"}
    before = {n: v.clone() for n, v in network.state_dict().items() if not n.startswith("heads")}
    sum(part.sum() for part in logits).backward()
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    x = torch.randn(1, 3, 64, 64, requires_grad=True)
    sum(part.sum() for part in network(x)).backward()
    assert float(x.grad.abs().sum()) > 0
    network.eval()
    for judged, layers in zip(network(x), network.activations(x), strict=True):
        assert torch.equal(judged, layers[-1])


def test_mixing_goes_from_the_deepest_map_up():
    pytest.importorskip("timm")
    network = ProjectedDiscriminator(3, **PROJECTED)
    mixing = network.mixing
    features = [torch.randn(1, c, s, s) for c, s in ((64, 8), (128, 4), (256, 2))]
    changed = [features[0], features[1], features[2] + 1]
    one, other = mixing(features), mixing(changed)
    assert [tuple(part.shape) for part in one] == [(1, 4, 8, 8), (1, 8, 4, 4), (1, 16, 2, 2)]
    assert all(not torch.allclose(a, b) for a, b in zip(one, other, strict=True))
    finest = mixing([features[0] + 1, *features[1:]])
    assert torch.equal(finest[1], one[1])
    assert torch.equal(finest[2], one[2])
    apart = ProjectedDiscriminator(3, **PROJECTED, mixing="channels").mixing
    assert torch.equal(apart(features)[0], apart(changed)[0])
    assert ProjectedDiscriminator(3, **PROJECTED, mixing="none").mixing is None


def test_a_transformers_maps_are_all_of_one_size():
    pytest.importorskip("timm")
    with torch.device("meta"):
        network = ProjectedDiscriminator(
            3, model="vit_tiny_patch16_224", levels=(0, 1, 2), size=224, layers=1
        ).eval()
        shapes = [tuple(part.shape) for part in network(torch.empty(1, 3, 64, 64))]
    assert shapes == [(1, 1, 7, 7)] * 3


def test_what_projected_features_cannot_be():
    pytest.importorskip("timm")
    network = ProjectedDiscriminator(3, **PROJECTED)
    with pytest.raises(GraphError, match="needs 16×16"):
        network(torch.randn(1, 3, 12, 16))
    with pytest.raises(ContractError, match="name each map once, finest first"):
        ProjectedDiscriminator(3, **PROJECTED | {"levels": (2, 1)})
