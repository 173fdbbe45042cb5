"""Encoders, decoders, mapping and discriminator: shapes, structure, order of parameters, errors."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from munit_zoo.blocks import ResidualBlock, ResidualTrunk
from munit_zoo.blocks.activations import ReLU
from munit_zoo.blocks.content_encoders import ResnetContentEncoder
from munit_zoo.blocks.decoders import AdaINResnetDecoder, ResnetDecoder
from munit_zoo.blocks.discriminators import MultiscalePatchDiscriminator
from munit_zoo.blocks.mappings import MLP
from munit_zoo.blocks.norms import AdaIN, InstanceNorm
from munit_zoo.blocks.style_encoders import ConvStyleEncoder
from munit_zoo.errors import ContractError, GraphError
from munit_zoo.registry import DISCRIMINATORS, NORMS
from munit_zoo.testing.subjects import subject_of, tensors


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def parameters_of(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# Residual blocks


def test_residual_block_adds_without_a_last_activation():
    block = ResidualBlock(4, norm=InstanceNorm, activation=ReLU).double()
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    y = x
    for part, activated in ((block.first, True), (block.second, False)):
        y = F.conv2d(F.pad(y, (1,) * 4, mode="reflect"), part.conv.weight, part.conv.bias)
        y = InstanceNorm(4)(y)
        y = y.relu() if activated else y
    torch.testing.assert_close(block(x), x + y)


def test_trunk_hands_parameters_out_in_order():
    trunk = ResidualTrunk(4, 2, norm=AdaIN, activation=ReLU).double()
    assert trunk.num_parameters == 2 * 2 * 8
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    p = torch.randn(2, 32, dtype=torch.float64)
    y = x
    for i, block in enumerate(trunk.blocks):
        first, second = p[:, 16 * i : 16 * i + 8], p[:, 16 * i + 8 : 16 * i + 16]
        y = y + block.second(block.first(y, first), second)
    torch.testing.assert_close(trunk(x, p), y)


# Content encoder


def test_content_encoder_of_the_paper():
    with torch.device("meta"):
        encoder = ResnetContentEncoder(3)
        content = encoder(torch.empty(2, 3, 64, 96))
    assert (encoder.out_channels, encoder.stride) == (256, 4)
    assert content.shape == (2, 256, 16, 24)
    kernels = [m.kernel_size for m in encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert kernels == [(7, 7), (4, 4), (4, 4)] + [(3, 3)] * 8
    assert parameters_of(encoder) == (
        (3 * 49 * 64 + 64)
        + (64 * 16 * 128 + 128)
        + (128 * 16 * 256 + 256)
        + 8 * (256 * 9 * 256 + 256)
    )


@pytest.mark.parametrize("down_kernel_size", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("downsamples", [0, 1, 3])
def test_content_encoder_keeps_its_promise_of_size(down_kernel_size, downsamples):
    encoder = ResnetContentEncoder(
        1, dim=2, downsamples=downsamples, blocks=1, down_kernel_size=down_kernel_size
    )
    content = encoder(torch.zeros(1, 1, 32, 48))
    stride = 2**downsamples
    assert content.shape == (1, encoder.out_channels, 32 // stride, 48 // stride)
    assert (encoder.out_channels, encoder.stride) == (2 * stride, stride)


# Style encoder


def test_style_encoder_of_the_paper():
    with torch.device("meta"):
        encoder = ConvStyleEncoder(3, 8)
        style = encoder(torch.empty(2, 3, 64, 96))
    assert style.shape == (2, 8)
    widths = [m.out_channels for m in encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert widths == [64, 128, 256, 256, 256, 8]


def test_style_encoder_averages_over_space():
    encoder = ConvStyleEncoder(3, 5, dim=4, downsamples=2, doublings=1).double()
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    features = encoder.stem(x)
    for down in encoder.downs:
        features = down(features)
    assert features.shape == (2, 8, 4, 4)
    weight, bias = encoder.head.weight[:, :, 0, 0], encoder.head.bias
    torch.testing.assert_close(encoder(x), F.linear(features.mean((2, 3)), weight, bias))


# Mapping


def test_mlp_has_no_activation_after_the_last_layer():
    mlp = MLP(4, 6, dim=5).double()
    x = torch.randn(3, 4, dtype=torch.float64)
    first, second, third = mlp.linears
    torch.testing.assert_close(mlp(x), third(second(first(x).relu()).relu()))
    assert [tuple(layer.weight.shape) for layer in mlp.linears] == [(5, 4), (5, 5), (6, 5)]
    assert len(MLP(4, 6, layers=1).linears) == 1
    with pytest.raises(ContractError, match="LAYERS is 0"):
        MLP(4, 6, layers=0)


# Decoders


def test_decoder_of_the_paper():
    with torch.device("meta"):
        decoder = AdaINResnetDecoder(256, 3, 4, 8)
        image = decoder(torch.empty(2, 256, 16, 24), torch.empty(2, 8))
    assert image.shape == (2, 3, 64, 96)
    assert decoder.takes_style
    sizes = [tuple(layer.weight.shape) for layer in decoder.mapping.linears]
    assert sizes == [(256, 8), (256, 256), (4 * 2 * 2 * 256, 256)]


def test_decoder_is_a_function_of_its_inputs():
    decoder = AdaINResnetDecoder(8, 3, 2, 4, blocks=1).double()
    content = torch.randn(2, 8, 8, 8, dtype=torch.float64)
    styles = torch.randn(2, 4, dtype=torch.float64)
    together = decoder(content, styles)
    assert float(together.detach().abs().max()) <= 1
    alone = torch.cat([decoder(content[i : i + 1], styles[i : i + 1]) for i in (1, 0)])
    torch.testing.assert_close(together, alone.flip(0))
    assert not torch.allclose(decoder(content, -styles), together)


def test_decoder_splits_parameters_between_residual_and_upsampling_norms():
    decoder = AdaINResnetDecoder(8, 3, 4, 4, blocks=1, upsample_norm="adain").double()
    made = decoder.mapping.linears[-1].out_features
    assert made == 2 * (8 + 8) + 2 * 4 + 2 * 2
    content = torch.randn(1, 8, 8, 8, dtype=torch.float64)
    style = torch.randn(1, 4, dtype=torch.float64)
    p = decoder.mapping(style)
    x = decoder.trunk(content, p[:, :32])
    x = decoder.head.ups[0](x, p[:, 32:40])
    x = decoder.head.ups[1](x, p[:, 40:])
    torch.testing.assert_close(decoder(content, style), decoder.head.out(x))


def test_style_may_come_in_at_the_upsampling_alone():
    decoder = AdaINResnetDecoder(8, 3, 2, 4, blocks=1, norm="instance", upsample_norm="adain")
    assert decoder.mapping.linears[-1].out_features == 2 * 4
    assert decoder(torch.zeros(1, 8, 8, 8), torch.zeros(1, 4)).shape == (1, 3, 16, 16)


def test_decoder_without_style():
    decoder = ResnetDecoder(8, 1, 4, blocks=1)
    assert not decoder.takes_style
    assert decoder(torch.zeros(2, 8, 8, 6)).shape == (2, 1, 32, 24)


def test_decoder_that_does_not_enlarge():
    assert ResnetDecoder(8, 3, 1, blocks=1)(torch.zeros(1, 8, 8, 8)).shape == (1, 3, 8, 8)


@pytest.mark.parametrize("scale_factor", [0, 3, 6, -4])
def test_decoder_enlarges_by_powers_of_two(scale_factor):
    with pytest.raises(ContractError, match=f"power of two.*{scale_factor}"):
        ResnetDecoder(24, 3, scale_factor)
    with pytest.raises(ContractError, match=f"power of two.*{scale_factor}"):
        AdaINResnetDecoder(24, 3, scale_factor, 8)


def test_decoder_halves_channels():
    with pytest.raises(ContractError, match="multiple of 8"):
        ResnetDecoder(12, 3, 8)


def test_a_style_that_would_reach_nothing():
    with pytest.raises(ContractError, match="no style would reach the image"):
        AdaINResnetDecoder(8, 3, 2, 4, norm="instance")


# Discriminator


def test_discriminator_of_the_paper():
    with torch.device("meta"):
        discriminator = MultiscalePatchDiscriminator(3)
        logits = discriminator(torch.empty(2, 3, 64, 128))
    assert [tuple(scale.shape) for scale in logits] == [
        (2, 1, 4, 8),
        (2, 1, 2, 4),
        (2, 1, 1, 2),
    ]
    widths = [[layer.conv.out_channels for layer in scale[:-1]] for scale in discriminator.scales]
    assert widths == [[64, 128, 256, 512]] * 3


SMALLER = {
    "projected": {"model": "resnet10t", "levels": (0,)},
    **{name: {"dim": 8, "layers": 2} for name in ("residual", "residual_classes", "unet")},
}


@pytest.mark.parametrize("name", DISCRIMINATORS.list())
def test_logits_are_in_full_precision(name):
    subject = subject_of("discriminator", name, SMALLER.get(name, {}))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = torch.cat([found.flatten() for found in tensors(subject.output())])
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())


def test_a_spectral_norm_keeps_logits_in_full_precision():
    discriminator = MultiscalePatchDiscriminator(
        3, dim=4, layers=2, scales=1, weight_norm="spectral_legacy", weight_norm_ends=True
    )
    with torch.autocast("cpu", torch.bfloat16):
        (logits,) = discriminator(torch.randn(1, 3, 32, 32))
    assert logits.dtype == torch.float32


def test_discriminator_averages_between_scales_without_the_border():
    discriminator = MultiscalePatchDiscriminator(1, dim=2, layers=1, scales=2).double()
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    ones = F.pad(torch.ones_like(x), (1,) * 4)
    total = F.avg_pool2d(F.pad(x, (1,) * 4), 3, stride=2)
    smaller = total / F.avg_pool2d(ones, 3, stride=2)
    torch.testing.assert_close(discriminator(x)[1], discriminator.scales[1](smaller))


def test_discriminator_norms_and_weight_norms_spare_the_ends():
    discriminator = MultiscalePatchDiscriminator(
        3, dim=2, layers=2, scales=1, norm="layer", weight_norm="spectral_legacy"
    )
    names = list(discriminator.state_dict())
    assert [n for n in names if ".norm." in n] == ["scales.0.1.norm.weight", "scales.0.1.norm.bias"]
    assert [n for n in names if n.endswith(".u")] == ["scales.0.1.conv.u"]
    everywhere = MultiscalePatchDiscriminator(
        3, dim=2, layers=2, scales=1, weight_norm="spectral_legacy", weight_norm_ends=True
    )
    assert len([n for n in everywhere.state_dict() if n.endswith(".u")]) == 3


@pytest.mark.parametrize("pad_type", ["reflect", "replicate", "zero"])
@pytest.mark.parametrize(("layers", "scales"), [(1, 1), (2, 3), (3, 2), (4, 3)])
@pytest.mark.parametrize("kernel_size", [3, 4, 6])
def test_smallest_input_is_what_works(pad_type, layers, scales, kernel_size):
    with torch.device("meta"):
        discriminator = MultiscalePatchDiscriminator(
            1, dim=1, layers=layers, scales=scales, pad_type=pad_type, kernel_size=kernel_size
        )
        least = discriminator.smallest_input()
        discriminator(torch.empty(1, 1, least, least))
        discriminator(torch.empty(1, 1, least + 1, least + 7))
        with pytest.raises(GraphError, match=f"needs {least}×{least}"):
            discriminator(torch.empty(1, 1, least + 3, least - 1))
        # the arithmetic, not only the check that it feeds, finds the edge
        discriminator._smallest = 0
        with pytest.raises((GraphError, RuntimeError)):
            discriminator(torch.empty(1, 1, least - 1, least - 1))


def test_smallest_input_at_the_defaults():
    with torch.device("meta"):
        assert MultiscalePatchDiscriminator(3).smallest_input() <= 64


# All of them


BUILD = {
    "content_encoder": lambda **k: ResnetContentEncoder(3, dim=4, blocks=1, **k),
    "style_encoder": lambda **k: ConvStyleEncoder(3, 4, dim=4, downsamples=2, **k),
    "decoder": lambda **k: ResnetDecoder(8, 3, 2, blocks=1, **k),
    "discriminator": lambda **k: MultiscalePatchDiscriminator(3, dim=4, layers=2, scales=1, **k),
}


@pytest.mark.parametrize("kind", BUILD)
@pytest.mark.parametrize("norm", ["batch", "instance", "layer", "none"])
@pytest.mark.parametrize("weight_norm", ["none", "spectral", "spectral_legacy", "weight"])
def test_norms_and_weight_norms_combine(kind, norm, weight_norm):
    network = BUILD[kind](norm=norm, weight_norm=weight_norm).double()
    x = torch.randn(2, 8 if kind == "decoder" else 3, 16, 16, dtype=torch.float64)
    output = network(x)
    total = sum(part.square().sum() for part in (output if isinstance(output, list) else [output]))
    total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("kind", BUILD)
def test_a_norm_that_nothing_steers_is_refused(kind):
    with pytest.raises(ContractError, match="no style to make the parameters of AdaIN"):
        BUILD[kind](norm=NORMS.factory("adain"))


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("content_encoder", {"kernel_size": 6}, "KERNEL_SIZE is 6.*odd kernel, such as 5 or 7"),
        ("content_encoder", {"block_kernel_size": 4}, "BLOCK_KERNEL_SIZE is 4"),
        ("content_encoder", {"downsamples": -1}, "DOWNSAMPLES is -1, expected 0 or more"),
        ("style_encoder", {"doublings": -1}, "DOUBLINGS is -1"),
        ("style_encoder", {"kernel_size": 0}, "KERNEL_SIZE is 0"),
        ("decoder", {"upsample_kernel_size": 4}, "UPSAMPLE_KERNEL_SIZE is 4"),
        ("discriminator", {"kernel_size": 0}, "KERNEL_SIZE is 0, expected 1 or more"),
    ],
)
def test_settings_out_of_range(kind, settings, message):
    with pytest.raises(ContractError, match=message):
        BUILD[kind](**settings)


def test_scales_and_layers_out_of_range():
    for key in ("scales", "layers", "dim"):
        with pytest.raises(ContractError, match=f"{key.upper()} is 0"):
            MultiscalePatchDiscriminator(3, **{key: 0})


@pytest.mark.slow
def test_the_generators_compile_as_one_graph():
    class Translator(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = ResnetContentEncoder(3, dim=4, blocks=1)
            self.style = ConvStyleEncoder(3, 4, dim=4, downsamples=1)
            self.decoder = AdaINResnetDecoder(16, 3, 4, 4, blocks=1)
            self.critic = MultiscalePatchDiscriminator(3, dim=4, layers=2, scales=2)

        def forward(self, x):
            return self.critic(self.decoder(self.encoder(x), self.style(x)))

    model, x = Translator(), torch.randn(1, 3, 32, 32)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x))


def test_importing_blocks_loads_no_timm():
    code = (
        "import sys, pkgutil, importlib, munit_zoo.blocks as blocks\n"
        "for module in pkgutil.iter_modules(blocks.__path__):\n"
        "    importlib.import_module(f'munit_zoo.blocks.{module.name}')\n"
        "assert 'timm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
