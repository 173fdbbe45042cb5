"""Ways for a style to reach an image: offsets, projections by layer, maps, weights, skips."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from munit_zoo.blocks.activations import LeakyReLU
from munit_zoo.blocks.content_encoders import PreActivationContentEncoder, ResnetContentEncoder
from munit_zoo.blocks.decoders import AdaINResnetDecoder, SpadeResnetDecoder
from munit_zoo.blocks.modulated import ModulatedConv, ModulatedResnetDecoder
from munit_zoo.blocks.norms import AdaIN, InstanceNorm
from munit_zoo.blocks.style_encoders import ConvStyleEncoder
from munit_zoo.blocks.unet_codes import UnetContentEncoder, UnetDecoder
from munit_zoo.errors import ContractError
from munit_zoo.registry import slot


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def double(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.double)


# AdaIN


def test_an_offset_makes_no_parameters_plain_instance_norm():
    x = double(2, 3, 5, 4)
    torch.testing.assert_close(AdaIN(3, offset=1.0)(x, x.new_zeros(2, 6)), InstanceNorm(3)(x))
    p = double(2, 6)
    shifted = p + torch.cat([p.new_zeros(3), p.new_ones(3)])
    torch.testing.assert_close(AdaIN(3, offset=1.0)(x, p), AdaIN(3)(x, shifted))


def test_maps_of_parameters_modulate_place_by_place():
    norm, x, p = AdaIN(3, offset=1.0), double(2, 3, 6, 4), double(2, 6)
    constant = p[:, :, None, None]
    torch.testing.assert_close(norm(x, constant.expand(2, 6, 6, 4)), norm(x, p))
    torch.testing.assert_close(norm(x, constant.expand(2, 6, 3, 2)), norm(x, p))
    maps = double(2, 6, 6, 4)
    bias, weight = maps.split(3, dim=1)
    torch.testing.assert_close(norm(x, maps), InstanceNorm(3)(x) * (1 + weight) + bias)


# Projections of the style


def test_each_layer_may_have_a_projection_of_its_own():
    linear = slot("mlp", layers=1)
    decoder = AdaINResnetDecoder(
        8, 3, 2, 4, blocks=1, projection="per_layer", mapping=linear, upsample_norm="adain"
    )
    widths = [mapping.linears[0].out_features for mapping in decoder.mapping.mappings]
    assert widths == [16, 16, 8]
    style = torch.randn(2, 4)
    parts = [mapping(style) for mapping in decoder.mapping.mappings]
    torch.testing.assert_close(decoder.mapping(style), torch.cat(parts, dim=1))
    plain = AdaINResnetDecoder(8, 3, 2, 4, blocks=1, projection="per_layer")
    assert len(plain.mapping.mappings) == 2  # layer norms take no parameters


# Spatial modulation


def test_spade_modulates_by_content_and_style():
    decoder = SpadeResnetDecoder(8, 3, 2, 4, blocks=1, dim=6, style_channels=3).double()
    content, style = double(2, 8, 6, 5), double(2, 4)
    made = decoder(content, style)
    assert made.shape == (2, 3, 12, 10)
    assert float(made.detach().abs().max()) <= 1
    assert not torch.allclose(decoder(content, -style), made)
    tiled = decoder.style(style)[:, :, None, None].expand(-1, -1, 6, 5)
    maps = decoder.maps(decoder.hidden(torch.cat([content, tiled], dim=1)))
    assert maps.shape == (2, 2 * 16 + 8, 6, 5)
    y = decoder.head(decoder.trunk(content, maps[:, :32]), maps[:, 32:])
    torch.testing.assert_close(made, y)


def test_spade_refuses_what_takes_no_maps():
    class Vector(torch.nn.Module):
        def __init__(self, num_features: int) -> None:
            super().__init__()
            self.num_parameters = num_features

    with pytest.raises(ContractError, match="which Vector does not take: choose NORM"):
        SpadeResnetDecoder(8, 3, 2, 4, norm=Vector)
    with pytest.raises(ContractError, match="no style would reach the image"):
        SpadeResnetDecoder(8, 3, 2, 4, norm="instance", upsample_norm="layer")


# Modulated convolutions


@pytest.mark.parametrize("demodulate", [True, False])
def test_scaling_the_map_is_scaling_the_weight(demodulate):
    layer = ModulatedConv(
        3, 4, 3, demodulate=demodulate, activation=LeakyReLU, gain=2.0, pad_type="zero"
    ).double()
    torch.nn.init.normal_(layer.bias)
    x, scales = double(2, 3, 5, 6), double(2, 3)
    weight = layer.block.conv.weight * (1 + scales)[:, None, :, None, None]
    if demodulate:
        weight = weight / weight.square().sum(dim=(2, 3, 4), keepdim=True).add(1e-8).sqrt()
        assert torch.allclose(weight.flatten(2).norm(dim=2), torch.ones(2, 4).double())
    own = [F.conv2d(x[i : i + 1], weight[i], layer.bias, padding=1) for i in range(2)]
    torch.testing.assert_close(layer(x, scales), 2 * F.leaky_relu(torch.cat(own), 0.2))


@pytest.mark.parametrize("upsample", ["nearest", "bilinear", "blur", "pixel_shuffle", "transposed"])
def test_demodulation_knows_the_layout_of_every_upsampling(upsample):
    layer = ModulatedConv(3, 4, 3, upsample=upsample, activation=None).double()
    scales = double(2, 3)
    weight = layer.block.conv.weight
    if upsample == "transposed":
        weight = weight.transpose(0, 1)
    scaled = (weight * (1 + scales)[:, None, :, None, None]).square().sum(dim=(2, 3, 4))
    if upsample == "pixel_shuffle":
        scaled = scaled.unflatten(1, (4, 4)).mean(dim=2)
    torch.testing.assert_close(layer._demodulation(1 + scales), 1 / (scaled + 1e-8).sqrt())
    assert layer(double(2, 3, 4, 5), scales).shape == (2, 4, 8, 10)


def test_a_modulated_decoder_hands_scales_out_in_order():
    decoder = ModulatedResnetDecoder(8, 3, 2, 4, blocks=1, kernel_size=3).double()
    assert decoder._sizes == [8, 8, 8, 4]
    content, style = double(2, 8, 6, 6), double(2, 4)
    one, two, up, out = decoder.mapping(style).split([8, 8, 8, 4], dim=1)
    y = decoder.blocks[1](decoder.blocks[0](content, one), two)
    y = decoder.ups[0]((content + y) / math.sqrt(2), up)
    torch.testing.assert_close(decoder(content, style), decoder.out(y, out))
    assert not decoder.out.demodulate
    with pytest.raises(ContractError, match="multiple of 8"):
        ModulatedResnetDecoder(12, 3, 8, 4)


# A code with skips


def test_a_code_with_skips_holds_every_level():
    encoder = UnetContentEncoder(3, dim=4, downsamples=2, blocks=1).double()
    assert (encoder.out_channels, encoder.stride) == (64, 4)
    x = double(1, 3, 16, 24)
    code = encoder(x)
    assert code.shape == (1, 64, 4, 6)
    stem, down, _, deepest = encoder.down.stages(x)
    torch.testing.assert_close(code[:, :16], deepest)
    torch.testing.assert_close(F.pixel_shuffle(code[:, 16:32], 2), encoder.across[0](down))
    torch.testing.assert_close(F.pixel_shuffle(code[:, 32:], 4), encoder.across[1](stem))


def test_the_way_up_sees_every_level_in_its_place():
    decoder = UnetDecoder(64, 3, 4, 5, blocks=1).double()
    code, style = double(1, 64, 4, 6), double(1, 5)
    made = decoder(code, style)
    assert made.shape == (1, 3, 16, 24)
    for part in (slice(0, 16), slice(16, 32), slice(32, 64)):
        changed = code.clone()
        changed[:, part] += double(1, part.stop - part.start, 4, 6)
        assert not torch.allclose(decoder(changed, style), made)
    seen: list[torch.Tensor] = []
    decoder.joins[1].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    decoder(code, style)
    torch.testing.assert_close(seen[0][:, 4:], F.pixel_shuffle(code[:, 32:], 4))


def test_a_code_without_skips_is_refused_where_it_cannot_be_divided():
    with pytest.raises(ContractError, match="finds no larger maps in a code of 48 channels"):
        UnetDecoder(48, 3, 4, 8)
    with pytest.raises(ContractError, match="no style would reach"):
        UnetDecoder(64, 3, 4, 8, norm="instance", upsample_norm="instance")
    with pytest.raises(ContractError, match="DIM is 5"):
        UnetContentEncoder(3, dim=5)
    assert UnetDecoder(10, 3, 1, 4, blocks=1)(torch.zeros(1, 10, 4, 4), torch.zeros(1, 4)).shape


# Encoders


def test_a_preactivation_encoder_ends_with_its_norm():
    encoder = PreActivationContentEncoder(3, dim=4, downsamples=2, blocks=1).double()
    assert (encoder.out_channels, encoder.stride) == (16, 4)
    code = encoder(double(2, 3, 16, 24))
    assert code.shape == (2, 16, 4, 6)
    torch.testing.assert_close(code.mean(dim=(2, 3)), torch.zeros(2, 16).double())


@pytest.mark.parametrize("down_kernel_size", [3, 4, 5])
def test_blurred_encoders_keep_their_promise_of_size_and_shift_less(down_kernel_size):
    sharp, soft = (
        ResnetContentEncoder(
            1,
            dim=4,
            downsamples=2,
            blocks=0,
            norm="none",
            down_kernel_size=down_kernel_size,
            downsample=downsample,
        )
        for downsample in ("strided", "blur")
    )
    soft.load_state_dict(
        sharp.state_dict()
        | {
            name.replace(".conv", ".0.conv"): value
            for name, value in sharp.state_dict().items()
            if name.startswith("downs")
        },
        strict=False,
    )
    noise = torch.randn(1, 1, 32, 36)
    x, moved = noise[..., :32], noise[..., 1:33]

    def changes(encoder) -> float:
        here, there = encoder(x), encoder(moved)
        assert here.shape == (1, 16, 8, 8)
        return float((here - there)[..., 1:-1, 1:-1].norm() / here[..., 1:-1, 1:-1].norm())

    with torch.no_grad():
        assert changes(soft) < 0.9 * changes(sharp)


def test_a_blurred_style_encoder():
    encoder = ConvStyleEncoder(3, 5, dim=4, downsamples=3, downsample="blur")
    assert encoder(torch.randn(2, 3, 32, 24)).shape == (2, 5)
