"""The scores on shapes: an oracle is near the ceiling, a cheat on the floor."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from munit_zoo.data.shapes import Factors, Shapes
from munit_zoo.domains import Domain
from munit_zoo.errors import UsageError
from munit_zoo.metrics import FactoredDataset
from munit_zoo.metrics.judges import JudgeSettings, train_judge
from munit_zoo.metrics.shapes import ShapesMetric

SETTINGS = {"inputs": 40, "styles": 8, "judge_images": 4000, "judge_epochs": 6}


@pytest.fixture(scope="module")
def datasets() -> dict[str, Shapes]:
    return {name: Shapes(Domain(name), "test", size=32, test_count=200) for name in "ab"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("judges")


class Fake:
    """A translator that knows the inputs' factors, because it can look them up."""

    style_dim = 4

    def __init__(self, datasets: dict[str, Shapes]) -> None:
        self.datasets = datasets
        self.generator = np.random.default_rng(0)

    def source(self, to: str) -> Shapes:
        return self.datasets["b" if to == "a" else "a"]

    def translate(self, x, to, styles=1, *, paired=False, generator=None):
        raise NotImplementedError


class Oracle(Fake):
    """Renders the input's content in random styles, or in the example's."""

    def translate(self, x, to, styles=1, *, paired=False, generator=None):
        target, count = self.datasets[to], len(x)
        content = self.source(to).factors(range(count))
        if isinstance(styles, int):
            picks = self.generator.integers(len(target), size=count * styles)
            style, kinds = target.factors(picks), styles
        else:
            style, kinds = self.find(target, styles), 1
        rows = np.repeat(np.arange(count), kinds)
        drawn = target.render(content[rows].with_style_of(style, target.style_factors))
        return drawn.unflatten(0, (count, kinds))

    def find(self, target: Shapes, examples: torch.Tensor) -> Factors:
        """Factors of examples, found among the test images."""
        images = target.render(target.factors(range(len(target))))
        nearest = torch.cdist(examples.flatten(1), images.flatten(1)).argmin(1)
        return target.factors(nearest.tolist())


class OneStyle(Fake):
    """A translator that has collapsed to one image."""

    def translate(self, x, to, styles=1, *, paired=False, generator=None):
        kinds = styles if isinstance(styles, int) else 1
        one = self.datasets[to].test(0)
        return one.expand(len(x), kinds, *one.shape)


@pytest.fixture(scope="module")
def reports(datasets, cache):
    metric = ShapesMetric(**SETTINGS, cache=str(cache))
    return {kind.__name__: metric.evaluate(kind(datasets), datasets) for kind in (Oracle, OneStyle)}


def test_shapes_keep_the_protocol(datasets):
    assert all(isinstance(dataset, FactoredDataset) for dataset in datasets.values())


def test_an_oracle_scores_like_the_ceiling(reports):
    scores = reports["Oracle"].scores
    for way, styles in (("a2b", ("hue", "background")), ("b2a", ("width", "ink"))):
        model, ceiling = scores[way]["model"], scores[way]["ceiling: oracle renderer"]
        assert ceiling["shape"] > 0.85
        assert model["shape"] == pytest.approx(ceiling["shape"], abs=0.05)
        assert model["position"] == pytest.approx(ceiling["position"], abs=0.2)
        for style in styles:
            assert model[f"coverage_{style}"] == pytest.approx(1, abs=0.06)
            assert model[f"coverage_per_input_{style}"] == pytest.approx(1, abs=0.1)
            assert model[f"swap_{style}"] > 0.85


def test_a_collapsed_translator_is_seen_through(reports):
    for way, styles in (("a2b", ("hue", "background")), ("b2a", ("width", "ink"))):
        model = reports["OneStyle"].scores[way]["model"]
        assert model["shape"] < 0.45
        for style in styles:
            assert model[f"coverage_{style}"] == 0
            assert model[f"coverage_per_input_{style}"] == 0
            assert model[f"swap_{style}"] < 0.6


def test_floors_are_floors(reports):
    rows = reports["Oracle"].scores["a2b"]
    unrelated, copied = rows["floor: unrelated real image"], rows["floor: input copied"]
    assert unrelated["shape"] < 0.4
    assert unrelated["coverage_hue"] > 0.9
    assert unrelated["swap_hue"] < 0.4
    assert copied["coverage_per_input_hue"] == 0
    assert copied["position"] < unrelated["position"]


def test_judges_accuracies_stand_in_the_report(reports):
    report = reports["Oracle"]
    assert report.details["judges"]["b"]["hue"] > 0.9
    assert any("held-out real renders" in note for note in report.notes)
    confusion = torch.tensor(report.details["confusion"]["a2b"])
    assert confusion.sum() == 40 * 8
    assert confusion.trace() / confusion.sum() > 0.8


def test_a_report_is_json_and_markdown(reports):
    report = reports["Oracle"]
    assert json.loads(report.to_json())["scores"]["a2b"]["model"]["shape"] > 0.5
    lines = report.markdown().splitlines()
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


def test_judges_are_cached_and_reproducible(datasets, tmp_path):
    settings = JudgeSettings(images=128, epochs=1, held_out=32)
    before = torch.get_rng_state()
    first, accuracy = train_judge(datasets["a"], settings, cache=tmp_path)
    assert torch.equal(before, torch.get_rng_state())
    again, cached = train_judge(datasets["a"], settings, cache=tmp_path)
    afresh, _ = train_judge(datasets["a"], settings, cache=None)
    assert cached == accuracy
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        assert torch.equal(value, afresh.state_dict()[name])
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    train_judge(datasets["b"], settings, cache=tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_a_damaged_judge_is_trained_again(datasets, tmp_path):
    settings = JudgeSettings(images=128, epochs=1, held_out=32)
    train_judge(datasets["a"], settings, cache=tmp_path)
    file = next(tmp_path.glob("*.safetensors"))
    file.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="cannot be used"):
        _, accuracy = train_judge(datasets["a"], settings, cache=tmp_path)
    assert accuracy["shape"] >= 0


def test_other_data_is_refused(datasets):
    class Folder:
        """Not a dataset with factors."""

    with pytest.raises(UsageError, match="domain A is Folder"):
        ShapesMetric().evaluate(Oracle(datasets), {"a": Folder(), "b": Folder()})
