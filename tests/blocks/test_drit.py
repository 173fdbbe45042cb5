"""DRIT's networks: what each setting does."""

from __future__ import annotations

import pytest
import torch

from munit_zoo.blocks.bicyclegan import BicycleResnetEncoder
from munit_zoo.blocks.conv import Padding, conv2d
from munit_zoo.blocks.drit import ContentDiscriminator, DritContentEncoder, ResidualEncoder
from munit_zoo.blocks.drit_decoders import DritDecoder, DritFeaturewiseDecoder
from munit_zoo.errors import ContractError, GraphError


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_widths_are_the_published_ones():
    with torch.device("meta"):
        decoder = DritDecoder(256, 3, 4, 8)
        featurewise = DritFeaturewiseDecoder(256, 3, 4, 8)
        judge = ContentDiscriminator(256)
    assert [tuple(up.conv.weight.shape[:2]) for up in decoder.ups] == [(272, 136), (144, 72)]
    assert tuple(decoder.out.weight.shape) == (80, 3, 1, 1)
    assert [linear.out_features for linear in featurewise.mapping.linears] == [256, 256, 1024]
    assert tuple(featurewise.blocks[0].first_mix[0].weight.shape[:2]) == (512, 512)
    assert judge(torch.empty(1, 256, 54, 54, device="meta"))[0].shape == (1, 1, 1, 1)
    assert judge(torch.empty(1, 256, 53, 53, device="meta"))[0].shape == (1, 1, 1, 1)
    with pytest.raises(GraphError, match=r"52×60 are too small .* needs 53×53"):
        judge(torch.empty(1, 256, 52, 60, device="meta"))


@pytest.mark.parametrize("decoder", [DritDecoder, DritFeaturewiseDecoder])
def test_decoders_are_told_the_style_and_enlarge(decoder):
    network = decoder(8, 3, 4, 5, blocks=2)
    content, style = torch.randn(2, 8, 6, 5), torch.randn(2, 5)
    image = network(content, style)
    assert image.shape == (2, 3, 24, 20)
    assert not torch.allclose(image, network(content, style + 1))
    with pytest.raises(ContractError, match="a power of two, the content encoder's stride is 3"):
        decoder(8, 3, 3, 5)
    with pytest.raises(ContractError, match="AdaIN"):
        decoder(8, 3, 4, 5, norm="adain")


def test_a_featurewise_decoder_halves_whole_channels():
    with pytest.raises(ContractError, match="must be a multiple of 4"):
        DritFeaturewiseDecoder(6, 3, 4, 5)


def test_legacy_leaves_the_contents_norms_out():
    x = torch.randn(1, 4, 16, 16)
    settings = {"layers": 1, "kernel_size": 3}
    sound = ContentDiscriminator(4, **settings)
    legacy = ContentDiscriminator(4, legacy=True, **settings)
    legacy.load_state_dict(sound.state_dict())
    normed = sound.layers[0].conv(sound.layers[0].pad(x))
    normed = torch.nn.functional.leaky_relu(torch.nn.functional.instance_norm(normed), 0.01)
    torch.testing.assert_close(sound(x)[0], sound.head(sound.final(normed)))
    plain = torch.nn.functional.leaky_relu(sound.layers[0].conv(sound.layers[0].pad(x)), 0.01)
    torch.testing.assert_close(legacy(x)[0], sound.head(sound.final(plain)))


def test_the_first_convolution_has_no_norm():
    encoder = DritContentEncoder(3, dim=4, blocks=0, downsamples=0)
    x = torch.randn(1, 3, 12, 12)
    expected = torch.nn.functional.leaky_relu(encoder.stem.conv(encoder.stem.pad(x)), 0.01)
    torch.testing.assert_close(encoder(x), expected)


def test_what_is_shared_keeps_shapes_and_may_be_nothing():
    x = torch.randn(2, 6, 5, 4)
    assert ResidualEncoder(6)(x).shape == x.shape
    assert torch.equal(ResidualEncoder(6, blocks=0)(x), x)


def test_a_convolution_may_reflect_by_itself():
    convolution = conv2d(3, 4, 3, padding=1, pad_type="reflect")
    x = torch.randn(1, 3, 6, 5)
    inside = torch.nn.functional.conv2d(Padding(1, "reflect")(x), convolution.weight)
    torch.testing.assert_close(convolution(x), inside + convolution.bias[:, None, None])


def test_a_mean_of_all_features_takes_any_size():
    encoder = BicycleResnetEncoder(3, 6, halvings=2, dim=2, mean="all", norm="none")
    x = torch.randn(2, 3, 20, 52)
    features = encoder.layers(x).mean(dim=(2, 3))
    torch.testing.assert_close(encoder(x), encoder.heads[0](features))
    assert not hasattr(encoder, "input_size")
