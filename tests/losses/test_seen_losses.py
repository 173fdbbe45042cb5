"""Losses on what trained networks see: LPIPS, self-similarity. On stand-ins for weights."""

from __future__ import annotations

import pytest
import torch
from _metrics import stand_ins
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from munit_zoo.config import load_config
from munit_zoo.errors import ConfigError, ContractError, WeightsError
from munit_zoo.losses.lpips import LPIPSLoss
from munit_zoo.losses.self_similarity import SelfSimilarity
from munit_zoo.pretrained.lpips import LPIPS
from munit_zoo.testing import check_component


@pytest.fixture(scope="module")
def vgg(tmp_path_factory) -> str:
    """VGG-16's first stage, random."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = {"0": nn.Conv2d(3, 64, 3), "2": nn.Conv2d(64, 64, 3)}
    path = tmp_path_factory.mktemp("vgg") / "vgg.safetensors"
    state = nn.ModuleDict(layers).state_dict()
    save_file({f"features.{name}": value for name, value in state.items()}, path)
    return str(path)


def images(seed: int = 0, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, channels, 64, 64, generator=generator) * 2 - 1


def test_lpips_is_the_metrics_distance(tmp_path, monkeypatch):
    x, y = images(), images(1)
    with stand_ins(tmp_path, monkeypatch):
        loss = LPIPSLoss(net="alex")
        torch.testing.assert_close(loss(x, y), LPIPS("alex")(x, y).mean())
        assert float(loss(x, x)) == 0
        gray = x[:, :1]
        torch.testing.assert_close(loss(gray, y), loss(gray.expand(-1, 3, -1, -1), y))
        with pytest.raises(ContractError, match=r"sees 1 or 3 channels, the image has 4"):
            loss(images(channels=4), y)
        five = images(channels=5)
        chosen = LPIPSLoss(net="alex", channels=(2, 1, 4))
        torch.testing.assert_close(chosen(five, y), loss(five[:, [2, 1, 4]], y))


def test_lpips_without_weights_says_where_they_go(tmp_path, monkeypatch):
    monkeypatch.setenv("MUNIT_ZOO_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="AlexNet"):
        LPIPSLoss(net="alex")


@pytest.mark.slow
def test_they_keep_their_contract(tmp_path, monkeypatch, vgg):
    check_component("loss", "self_similarity", weights=vgg, layers=("relu1_2",))
    check_component("loss", "self_similarity", weights=vgg, layers=("relu1_2",), window=3)
    with stand_ins(tmp_path, monkeypatch):
        check_component("loss", "lpips", net="alex")


def test_self_similarity_among_all_places(vgg):
    x, y = images()[:, :, :8, :8], images(1)[:, :, :8, :8]
    loss = SelfSimilarity(layers=("relu1_2",), weights=vgg)

    def similar(image: torch.Tensor) -> torch.Tensor:
        flat = loss.vgg(image)["relu1_2"].flatten(2)
        return F.cosine_similarity(flat[:, :, :, None], flat[:, :, None], dim=1)

    expected = (similar(x) - similar(y)).abs().mean()
    torch.testing.assert_close(loss(x, y), expected, rtol=1e-4, atol=1e-6)
    normalized = SelfSimilarity(layers=("relu1_2",), weights=vgg, normalized=True)
    distances = [(1 - similar(image)) for image in (x, y)]
    one, other = (d / d.sum(dim=-1, keepdim=True) for d in distances)
    torch.testing.assert_close(normalized(x, y), (one - other).abs().mean(), rtol=1e-3, atol=1e-6)
    assert float(loss(x, x)) == 0


def test_self_similarity_of_neighbours(vgg):
    x, y = images()[:, :, :8, :8], images(1)[:, :, :8, :8]
    loss = SelfSimilarity(layers=("relu1_2",), weights=vgg, window=3, compare="cosine")

    def similar(image: torch.Tensor) -> torch.Tensor:
        unit = F.normalize(loss.vgg(image)["relu1_2"], dim=1)
        around = F.unfold(unit, 3, padding=1).unflatten(1, (unit.shape[1], 9))
        return (around * unit.flatten(2)[:, :, None]).sum(dim=1).mT

    expected = 1 - F.cosine_similarity(similar(x), similar(y), dim=-1).mean()
    torch.testing.assert_close(loss(x, y), expected, rtol=1e-3, atol=1e-5)


def test_places_are_thinned(vgg):
    loss = SelfSimilarity(layers=("relu1_2",), weights=vgg, places=16)
    assert loss._similar(torch.rand(2, 5, 16, 16)).shape == (2, 16, 16)


def test_a_window_has_a_middle(tiny):
    term = "LOSSES.SELF={NAME: self_similarity, WINDOW: 4, PAIRS: [[x_ab, x_a]]}"
    with pytest.raises(ConfigError, match="odd side, such as 5"):
        load_config("munit/shapes", *tiny, term)
