"""LPIPS against the package of its authors, and the diversity measured with it."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from _metrics import TRAINED, Images, Tinter, stand_ins

from munit_zoo.errors import UsageError, WeightsError
from munit_zoo.metrics.lpips import LPIPSDiversity
from munit_zoo.metrics.report import COPIED, MODEL, REAL
from munit_zoo.metrics.sampling import Sampler, large_enough
from munit_zoo.pretrained.lpips import LPIPS
from munit_zoo.weights import looking_in

RECORDED = {"alex": 0.409913, "vgg": 0.517032}
DATA = {"a": Images(12), "b": Images(10, seed=1)}
SMALL = {"inputs": 4, "styles": 2, "outputs": 3}


@pytest.fixture
def weights(tmp_path, monkeypatch):
    with stand_ins(tmp_path, monkeypatch) as folder:
        yield folder


@pytest.fixture
def trained(monkeypatch):
    if not (TRAINED / "alexnet_features.safetensors").is_file():
        pytest.skip(f"no trained weights in {TRAINED} (set MUNIT_ZOO_WEIGHTS)")
    with looking_in(TRAINED):
        yield


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_it_is_what_the_lpips_package_computes(trained, net):
    lpips = pytest.importorskip("lpips")
    ours = LPIPS(net)
    with pytest.warns(UserWarning, match="deprecated"):  # torchvision's, of how it is called
        theirs = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    for level in range(1, 6):
        for index, layer in getattr(theirs.net, f"slice{level}").named_children():
            layer.load_state_dict(ours.network[int(index)].state_dict())
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 3, 3, 64, 80, generator=generator) * 2 - 1
    torch.testing.assert_close(ours(x, y), theirs(x, y).flatten().detach(), atol=1e-6, rtol=0)


def test_recorded_distances(trained):
    """Of the authors' package, 0.1.4, on these weights."""
    ramp = torch.linspace(-1, 1, 64).expand(1, 3, 64, 64).contiguous()
    assert float(LPIPS("alex")(ramp, ramp.flip(3))) == pytest.approx(RECORDED["alex"], abs=1e-5)
    assert float(LPIPS("vgg")(ramp, ramp.mT)) == pytest.approx(RECORDED["vgg"], abs=1e-5)


def test_protocols(weights):
    """Each is the mean over the pairs that it is named after, whatever the batches."""
    report = LPIPSDiversity(**SMALL).evaluate(Tinter(), DATA)
    small = LPIPSDiversity(**SMALL, batch=2).evaluate(Tinter(), DATA)
    found = report.scores["a2b"][MODEL]
    assert small.scores["a2b"][MODEL] == pytest.approx(found, abs=1e-6)
    distance = LPIPS()
    sampler = Sampler(Tinter(), DATA, "a", "b", 4, 0, "cpu")
    munit, latent, example = [], [], []
    for index, x in sampler:
        images = sampler.drawn(x, index, 4, "lpips munit")
        munit += [distance(images[[0]], images[[1]]), distance(images[[2]], images[[3]])]
        drawn = sampler.drawn(x, index, 3, "lpips latent")
        guided = sampler.guided(x, sampler.real(sampler.reals("lpips examples", index, 3)))
        for one, other in combinations(range(3), 2):
            latent.append(distance(drawn[[one]], drawn[[other]]))
            example.append(distance(guided[[one]], guided[[other]]))
    expected = {"munit": munit, "starganv2_latent": latent, "starganv2_example": example}
    for name, parts in expected.items():
        assert found[f"lpips_{name}"] == pytest.approx(float(torch.cat(parts).mean()), abs=1e-6)


def test_floor_ceiling_and_protocol(weights):
    report = LPIPSDiversity(**SMALL).evaluate(Tinter(), DATA)
    rows = report.scores["b2a"]
    assert set(rows[COPIED].values()) == {0.0}
    assert rows[REAL]["lpips_munit"] > rows[MODEL]["lpips_munit"] > 0
    assert report.protocol["inputs"] == {"a2b": 4, "b2a": 4}
    assert report.protocol["extractor"] == "lpips-alex-v0.1"
    assert all(len(file["sha256"]) == 64 for file in report.protocol["weights"])
    assert report.columns[0] == "LPIPS (MUNIT)"


def test_the_same_numbers_for_the_same_seed(weights):
    first, again, other = (
        LPIPSDiversity(**SMALL, seed=seed).evaluate(Tinter(), DATA) for seed in (1, 1, 2)
    )
    assert first == again
    assert first.scores != other.scores
    assert first.protocol == other.protocol


def test_one_direction_and_other_sizes(weights):
    report = LPIPSDiversity(**SMALL, ways=("A2B",), resize=64).evaluate(Tinter(), DATA)
    assert list(report.scores) == ["a2b"]
    with pytest.raises(UsageError, match="there is no 'a2c'; the model translates a2b, b2a"):
        LPIPSDiversity(**SMALL, ways=("a2c",)).evaluate(Tinter(), DATA)


def test_other_channels(weights):
    many = {"a": Images(4, channels=5), "b": Images(4, channels=5)}
    with pytest.raises(UsageError, match="have 5 channels"):
        LPIPSDiversity(**SMALL, protocols=("munit",)).evaluate(Same(), many)
    chosen = LPIPSDiversity(**SMALL, protocols=("munit",), channels=(4, 1, 0))
    assert chosen.evaluate(Same(), many).scores["a2b"][MODEL] == {"lpips_munit": 0}
    grey = {"a": Images(4, channels=1), "b": Images(4, channels=1)}
    LPIPSDiversity(**SMALL, protocols=("munit",)).evaluate(Same(), grey)


class Same(Tinter):
    """A model without styles: one translation, whatever is asked for."""

    def translate(self, x, to, styles=1, *, paired=False, generator=None):
        return x[:, None]


def test_absent_weights_are_said_before_anything_is_translated(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("MUNIT_ZOO_WEIGHTS", raising=False)
    translator = Tinter()
    with pytest.raises(WeightsError, match=r"alexnet-owt-7be5be79\.pth .* is not on disk"):
        LPIPSDiversity().evaluate(translator, DATA)
    assert not translator.calls


class Small(Images):
    """Too small for AlexNet by a pixel."""

    side = 30

    def test(self, index):
        return super().test(index)[:, : self.side, : self.side]


class Least(Small):
    side = 31


def test_images_too_small_for_the_network_are_told_so(weights):
    small = {"a": Small(4), "b": Small(4)}
    with pytest.raises(UsageError, match="31×31 pixels at least, these have 30×30: METRICS.LPIPS"):
        LPIPSDiversity(**SMALL, protocols=("munit",)).evaluate(Tinter(), small)
    least = {"a": Least(4), "b": Least(4)}
    assert LPIPSDiversity(**SMALL, protocols=("munit",)).evaluate(Tinter(), least).scores


@pytest.mark.parametrize(("net", "side", "layers"), [("alex", 31, 12), ("vgg", 16, 30)])
def test_the_smallest_side_is_what_the_network_takes(net, side, layers):
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        network = {"alex": models.alexnet, "vgg": models.vgg16}[net]().features[:layers]
        least, less = torch.zeros(1, 3, side, side + 1), torch.zeros(1, 3, side + 1, side - 1)
    network(large_enough(least, net, ""))
    with pytest.raises(UsageError, match=f"LPIPS .{net}. needs images of {side}×{side} "):
        large_enough(less, net, "")
    with pytest.raises(RuntimeError):
        network(less)
