"""timm backbones as encoders: a CNN, a ViT, Swin; layout, levels, errors. Nothing is downloaded."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from munit_zoo.blocks.timm_encoders import TimmContentEncoder, TimmStyleEncoder
from munit_zoo.errors import ContractError, WeightsError

timm = pytest.importorskip("timm")

# model, out_index, channels, stride
NETWORKS = [
    ("resnet18", -1, 512, 32),
    ("resnet18", 2, 128, 8),
    ("resnet18", -4, 64, 4),
    ("convnext_atto", 0, 40, 4),
    ("efficientnet_b0", 2, 40, 8),
    ("vit_tiny_patch16_224", -1, 192, 16),
    ("vit_tiny_patch16_224", 0, 192, 16),
    ("vit_small_patch14_dinov2", -1, 384, 14),
    ("swin_tiny_patch4_window7_224", 1, 192, 8),
    ("swinv2_tiny_window8_256", 0, 96, 4),
    ("vgg11", 0, 64, 1),
]


@pytest.mark.parametrize(("model", "out_index", "channels", "stride"), NETWORKS)
def test_shapes(model, out_index, channels, stride):
    with torch.device("meta"):
        encoder = TimmContentEncoder(3, model=model, out_index=out_index).eval()
        assert (encoder.out_channels, encoder.stride) == (channels, stride)
        for height, width in ((8, 8), (8, 12)):
            x = torch.empty(2, 3, height * stride, width * stride)
            assert encoder(x).shape == (2, channels, height, width)


@pytest.mark.parametrize("model", ["resnet18", "vit_tiny_patch16_224"])
def test_channels_and_double_precision(model):
    x = torch.randn(1, 5, 64, 64, dtype=torch.float64)
    encoder = TimmContentEncoder(5, model=model, out_index=0).double().eval()
    content = encoder(x)
    assert content.dtype == torch.float64
    assert content.shape == (1, encoder.out_channels, 64 // encoder.stride, 64 // encoder.stride)
    assert content.isfinite().all()


def test_channels_last_features_are_permuted():
    encoder = TimmContentEncoder(3, model="swin_tiny_patch4_window7_224", out_index=0).eval()
    assert encoder.backbone.channels_last
    x = torch.randn(1, 3, 64, 96)
    (features,) = encoder.backbone.network(x)
    assert features.shape == (1, 16, 24, 96)
    torch.testing.assert_close(encoder(x), features.permute(0, 3, 1, 2))


def test_a_level_has_what_the_whole_network_has_there():
    """Cutting the network at the level changes nothing of it, and leaves out what follows."""
    torch.manual_seed(0)
    cut = TimmContentEncoder(3, model="resnet18", out_index=1).eval()
    whole = timm.create_model("resnet18", features_only=True).eval()
    missing, _ = cut.backbone.network.load_state_dict(whole.state_dict(), strict=False)
    assert not missing
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(cut(x), whole(x)[1])
    sizes = [sum(p.numel() for p in network.parameters()) for network in (cut, whole)]
    assert sizes[0] < sizes[1] / 50


def test_every_parameter_is_used():
    encoder = TimmStyleEncoder(3, 4, model="resnet18", out_index=1)
    encoder(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


def test_style_is_pooled_and_projected():
    encoder = TimmStyleEncoder(3, 7, model="resnet18", out_index=1).eval()
    x = torch.randn(2, 3, 64, 32)
    style = encoder(x)
    assert style.shape == (2, 7)
    torch.testing.assert_close(style, encoder.head(encoder.backbone(x)[0].mean((2, 3))))
    with torch.device("meta"):
        swin = TimmStyleEncoder(3, 7, model="swin_tiny_patch4_window7_224")
        assert swin(torch.empty(2, 3, 64, 64)).shape == (2, 7)


def test_normalise_maps_to_the_range_of_the_weights():
    encoder = TimmContentEncoder(3, model="resnet18", out_index=0, normalise=True).eval()
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    expected = encoder.backbone.network(((x + 1) / 2 - mean) / std)[0]
    torch.testing.assert_close(encoder(x), expected)
    plain = TimmContentEncoder(3, model="resnet18", out_index=0)
    assert not plain.backbone.normalise
    grey = TimmContentEncoder(1, model="resnet18", out_index=0, normalise=True).eval()
    assert grey(torch.zeros(1, 1, 32, 32)).shape == (1, 64, 16, 16)


def test_unknown_model():
    with pytest.raises(ContractError, match=r"no MODEL 'resnet5o'\. Did you mean 'resnet50"):
        TimmContentEncoder(3, model="resnet5o")


@pytest.mark.parametrize("out_index", [5, -6])
def test_level_that_does_not_exist(out_index):
    message = rf"OUT_INDEX {out_index}: resnet18 has the feature maps 0: 64 channels, stride 2; 1:"
    with pytest.raises(ContractError, match=message):
        TimmContentEncoder(3, model="resnet18", out_index=out_index)


def test_network_of_one_image_size():
    with pytest.raises(ContractError, match=r"maxvit_tiny_rw_224 does not take images of 128×128"):
        TimmContentEncoder(3, model="maxvit_tiny_rw_224")


def test_pretrained_weights_that_cannot_be_had(monkeypatch):
    create = timm.create_model

    def offline(name, pretrained=False, **options):
        if pretrained:
            raise OSError("no route to host")
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(WeightsError, match=r"resnet18 cannot be had: no route to host.*PRETRAINED"):
        TimmContentEncoder(3, model="resnet18", pretrained=True)
    with torch.device("meta"):  # nothing to load weights into
        encoder = TimmContentEncoder(3, model="resnet18", pretrained=True)
    assert encoder.backbone.normalise


# Frozen networks, and weights from files


@pytest.mark.parametrize("model", ["resnet10t", "vit_tiny_patch16_224"])
def test_a_frozen_network_stays_as_it_is_and_lets_the_gradient_through(model):
    torch.manual_seed(0)
    encoder = TimmStyleEncoder(3, 4, model=model, out_index=0, frozen=True).train()
    assert {n.partition(".")[0] for n, p in encoder.named_parameters() if p.requires_grad} == {
        "head"
    }
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    x = torch.randn(2, 3, 32, 32, requires_grad=True)
    encoder(x).square().sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().sum()) > 0
    torch.testing.assert_close(encoder.state_dict(), before)  # running statistics, too
    assert encoder.training
    assert not any(m.training for m in encoder.backbone.network.modules())
    trained = TimmStyleEncoder(3, 4, model=model, out_index=0)
    assert all(p.requires_grad for p in trained.parameters())


@pytest.mark.parametrize(
    ("model", "kind"), [("resnet10t", ".safetensors"), ("vit_tiny_patch16_224", ".pth")]
)
def test_weights_of_a_file(model, kind, tmp_path):
    torch.manual_seed(0)
    whole = timm.create_model(model, num_classes=7).eval()
    path = str(tmp_path / f"weights{kind}")
    if kind == ".pth":
        torch.save(whole.state_dict(), path)
    else:
        save_file(whole.state_dict(), path)
    encoder = TimmContentEncoder(3, model=model, weights=path, out_index=0).eval()
    assert encoder.backbone.normalise
    x = torch.rand(1, 3, 224, 224) * 2 - 1
    mean, std = (torch.tensor(whole.pretrained_cfg[k])[:, None, None] for k in ("mean", "std"))
    expected = whole.forward_intermediates(
        ((x + 1) / 2 - mean) / std, intermediates_only=True, norm=False
    )
    found = encoder(x)
    levels = [level for level in expected if level.shape == found.shape]
    assert any(torch.allclose(found, level, atol=1e-5) for level in levels)


def test_a_file_of_another_network_is_refused(tmp_path):
    path = str(tmp_path / "other.safetensors")
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    with pytest.raises(WeightsError, match="not hold the weights of timm's resnet10t: it lack"):
        TimmContentEncoder(3, model="resnet10t", weights=path)
    with torch.device("meta"), pytest.raises(WeightsError, match="it lacks"):
        TimmContentEncoder(3, model="resnet10t", weights=path)
    with pytest.raises(WeightsError, match="neither a file of weights"):
        TimmContentEncoder(3, model="resnet10t", weights="nowhere.pth")
