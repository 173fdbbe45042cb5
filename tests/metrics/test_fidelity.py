"""Extractors, and the fidelity measured with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from _metrics import Images, Tinter, stand_in
from torch import nn

from munit_zoo.errors import ContractError, UsageError, WeightsError
from munit_zoo.metrics.extractors import (
    Extractor,
    InceptionExtractor,
    TorchvisionExtractor,
    resized,
)
from munit_zoo.metrics.features import Moments, frechet_distance
from munit_zoo.metrics.fidelity import Fidelity
from munit_zoo.metrics.report import COPIED, MODEL, REAL, UNRELATED
from munit_zoo.metrics.sampling import Sampler
from munit_zoo.metrics.timm_networks import TimmExtractor

DATA = {"a": Images(24, seed=3, range_=0.1), "b": Images(40, seed=1)}


class Corner(Extractor):
    """Features by hand: the means and deviations of the channels."""

    size = 16

    def build(self) -> nn.Module:
        class Network(nn.Module):
            def forward(self, x):
                return torch.cat([x.mean((2, 3)), x.std((2, 3))], 1)

        return Network()


def images(count: int = 3, side: int = 40) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_without_a_prior_styles_are_those_of_real_images():
    class Follower(Tinter):
        draws_styles = False

    sampler = Sampler(Follower(), DATA, "a", "b", None, 0, "cpu")
    x = DATA["a"].test(0)[None]
    examples = sampler.real(sampler.reals("test", 0, 3))
    assert torch.equal(sampler.drawn(x, 0, 3, "test"), sampler.guided(x, examples))


def test_what_cannot_encode_examples_is_scored_in_drawn_styles_instead():
    class Deaf(Tinter):
        encodes_styles = False

        def translate(self, x, to, styles=1, **named):
            assert isinstance(styles, int)
            return super().translate(x, to, styles, **named)

    sampler = Sampler(Deaf(), DATA, "a", "b", None, 0, "cpu")
    x = DATA["a"].test(0)[None]
    examples = sampler.real(sampler.reals("test", 0, 3))
    found = sampler.guided(x, examples)
    assert found.shape[0] == len({float(image.mean()) for image in found}) == 3
    assert torch.equal(found, sampler.guided(x, examples))


def test_legacy_resizing_is_tensorflow_1s():
    theirs = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    pixels = torch.rand(2, 3, 20, 37, generator=torch.Generator().manual_seed(0)) * 255
    expected = theirs.interpolate_bilinear_2d_like_tensorflow1x(
        pixels, size=(33, 33), align_corners=False
    )
    torch.testing.assert_close(resized(pixels, 33, "legacy"), expected)


def test_clean_resizing_is_pillows():
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (50, 64)).astype(np.float32)
    expected = Image.fromarray(pixels, "F").resize((20, 20), Image.Resampling.BICUBIC)
    found = resized(torch.from_numpy(pixels)[None, None], 20, "clean")[0, 0]
    assert np.abs(found.numpy() - np.asarray(expected).clip(0, 255)).max() < 0.01


def test_inception_is_torch_fidelitys(tmp_path):
    """On the same random weights, legacy resizing and all: the same features."""
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda *a: None)
        patch.setattr(module, "load_state_dict_from_url", lambda *a, **k: None)
        empty = module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    path = stand_in(empty, tmp_path / "random.pth")
    theirs = module.FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
    )
    ours = InceptionExtractor(weights=str(path), resize="legacy")
    ours.load("cpu")
    x = images(2, 32)
    pixels = ((x + 1) * 127.5).round().to(torch.uint8)
    torch.testing.assert_close(ours.features(x), theirs(pixels)[0])
    clean = InceptionExtractor(weights=str(path))
    clean.load("cpu")
    assert not torch.allclose(clean.features(x), ours.features(x), rtol=1e-2)
    assert clean.describe()["resize"] == "clean 299"
    assert len(clean.describe()["weights"][0]["sha256"]) == 64
    torch.save({"w": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="holds no such Inception-v3"):
        InceptionExtractor(weights=str(path)).load("cpu")


def test_torchvisions_networks(tmp_path):
    from torchvision.models import alexnet

    with torch.random.fork_rng():
        network = alexnet().eval()
    torch.save(network.state_dict(), tmp_path / "whole.pth")
    extractor = TorchvisionExtractor(model="alexnet", weights=str(tmp_path / "whole.pth"), size=64)
    extractor.load("cpu")
    x = images(2, 64)
    pixels = ((x + 1) * 127.5).round() / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in (extractor.mean, extractor.std))
    expected = network.features((pixels - mean) / std).mean((2, 3))
    torch.testing.assert_close(extractor.features(x), expected.detach())
    assert extractor.features(images(2, 100)).shape == (2, 256)
    with pytest.raises(WeightsError, match="do not fit"):
        TorchvisionExtractor(model="vgg16", weights=str(tmp_path / "whole.pth")).load("cpu")


def test_timms_networks(tmp_path):
    import timm
    from safetensors.torch import save_file

    with torch.random.fork_rng():
        network = timm.create_model("resnet10t", num_classes=7).eval()
    save_file(network.state_dict(), tmp_path / "own.safetensors")
    extractor = TimmExtractor(model="resnet10t", weights=str(tmp_path / "own.safetensors"), size=32)
    extractor.load("cpu")
    x = images(2, 32)
    mean, std = (torch.tensor(v)[:, None, None] for v in (extractor.mean, extractor.std))
    pixels = ((x + 1) * 127.5).round() / 255
    expected = network.forward_head(
        network.forward_features((pixels - mean) / std), pre_logits=True
    ).detach()
    torch.testing.assert_close(extractor.features(x), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(WeightsError, match="allow timm to fetch its own with --download"):
        TimmExtractor(model="resnet10t").load("cpu")
    with pytest.raises(ContractError, match="no MODEL 'resnet10x'. Did you mean"):
        TimmExtractor(model="resnet10x").load("cpu")


def test_transformers_take_other_sizes(tmp_path):
    import timm

    with torch.random.fork_rng():
        network = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    torch.save(network.state_dict(), tmp_path / "vit.pth")
    extractor = TimmExtractor(
        model="vit_tiny_patch16_224", weights=str(tmp_path / "vit.pth"), size=48
    )
    extractor.load("cpu")
    assert extractor.features(images(2, 32)).shape == (2, 192)
    assert extractor.describe()["resize"] == "clean 48"


def test_an_extractor_is_loaded_first_and_gives_vectors():
    with pytest.raises(ContractError, match="loaded before it is used"):
        Corner().features(images())

    class Maps(Corner):
        def build(self):
            return nn.Identity()

    extractor = Maps()
    extractor.load("cpu")
    with pytest.raises(ContractError, match=r"gives \(3, 3, 16, 16\) for 3 images"):
        extractor.features(images())


def fidelity(**settings) -> Fidelity:
    return Fidelity(extractor=Corner, **{"styles": 3, **settings})


def test_scores_are_those_of_the_translations():
    """FID recomputed from what the translator makes."""
    report = fidelity(batch=7).evaluate(Tinter(), DATA)
    extractor = Corner()
    extractor.load("cpu")
    real, fake = Moments(), Moments()
    real.add(extractor.features(torch.stack([DATA["b"].test(i) for i in range(40)])))
    metric = fidelity()
    sampler = Sampler(Tinter(), DATA, "a", "b", None, metric.seed, "cpu")
    for index, x in sampler:
        fake.add(extractor.features(sampler.drawn(x, index, 3, "fidelity")))
    assert report.scores["a2b"][MODEL]["fid"] == pytest.approx(frechet_distance(real, fake))
    assert report.protocol["n"]["a2b"] == {"inputs": 24, "fake": 72, "real": 40}


class Copier(Tinter):
    """Makes real images of b: the best there is."""

    def translate(self, x, to, styles=1, *, paired=False, generator=None):
        picks = torch.randint(40, (styles,), generator=generator)
        return torch.stack([DATA["b"].test(int(i)) for i in picks])[None]


def test_floors_and_ceiling_lie_where_they_belong():
    rows = fidelity().evaluate(Copier(), DATA).scores["a2b"]
    assert rows[MODEL]["fid"] < rows[COPIED]["fid"]
    assert rows[REAL]["fid"] < rows[COPIED]["fid"]
    assert set(rows) == {MODEL, COPIED, UNRELATED, REAL}
    assert rows[MODEL]["precision"] == 1


def test_the_same_numbers_for_the_same_seed_whatever_the_batches():
    first = fidelity(seed=1, keep=20).evaluate(Tinter(), DATA)
    again = fidelity(seed=1, keep=20, batch=5).evaluate(Tinter(), DATA)
    other = fidelity(seed=2, keep=20).evaluate(Tinter(), DATA)
    for row, found in first.scores["a2b"].items():
        assert again.scores["a2b"][row] == pytest.approx(found, rel=1e-4, nan_ok=True)
    assert other.scores != first.scores
    assert other.protocol == first.protocol


def test_few_images_are_noted():
    report = fidelity().evaluate(Tinter(), DATA)
    assert any("fewer than 2,000" in note for note in report.notes)


def test_absent_weights_are_said_before_anything_is_translated(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("MUNIT_ZOO_WEIGHTS", raising=False)
    translator = Tinter()
    with pytest.raises(WeightsError, match=r"weights-inception-2015-12-05-6726825d\.pth"):
        Fidelity().evaluate(translator, DATA)
    assert not translator.calls


class Three(Tinter):
    """Translates between three domains."""

    ways = tuple((s, t) for s in "abc" for t in "abc" if s != t)

    def translate(self, x, to, styles=1, *, source=None, **options):
        assert source is not None  # several lead to each
        return super().translate(x, to, styles, **options)


def test_many_domains_are_scored_pair_by_pair_and_on_the_mean():
    """As Choi et al. 2020: every ordered pair against training images, and their mean."""
    test = {name: Images(6, seed=i) for i, name in enumerate("abc")}
    training = {name: Images(20, seed=10 + i) for i, name in enumerate("abc")}
    metric = fidelity(real="train")
    assert metric.needs_training_images
    report = metric.evaluate(Three(), test, training=training)
    assert list(report.scores) == ["a2b", "a2c", "b2a", "b2c", "c2a", "c2b", "mean"]
    ways = [rows[MODEL]["fid"] for way, rows in report.scores.items() if way != "mean"]
    assert report.scores["mean"][MODEL]["fid"] == pytest.approx(sum(ways) / 6)
    assert [r.name for r in report.rows if r.heading][-1] == "mean over all directions"
    assert report.protocol["n"]["a2b"] == {"inputs": 6, "fake": 18, "real": 20}
    assert (report.protocol["real"], report.protocol["styled"]) == ("train", "drawn")
    against_test = fidelity().evaluate(Three(), test)
    assert against_test.scores["a2b"][MODEL]["fid"] != report.scores["a2b"][MODEL]["fid"]
    guided = fidelity(real="train", styled="example")
    by_example = guided.evaluate(Three(), test, training=training)
    assert by_example.scores["a2b"][MODEL]["fid"] != report.scores["a2b"][MODEL]["fid"]
    with pytest.raises(UsageError, match="REAL: train"):
        metric.evaluate(Three(), test)


def test_a_translator_without_styles_is_given_none():
    """UNIT and CycleGAN refuse styles and examples: they have one translation."""

    class Plain:
        style_dim = 0

        def translate(self, x, to, styles=1):
            assert styles == 1
            return -x[:, None]

    for how in ("drawn", "example"):
        report = fidelity(styled=how).evaluate(Plain(), DATA)
        assert report.protocol["n"]["a2b"]["fake"] == 72
