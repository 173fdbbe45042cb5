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

SETTINGS = {"inputs": 40, "styles": 8, "judge_images": 3000, "judge_epochs": 6}


@pytest.fixture(scope="module")
def datasets() -> dict[str, Shapes]:
    return {name: Shapes(Domain(name), "test", size=32, test_count=200) for name in "ab"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("judges")


class Fake:
    """A translator that knows the factors of the test images, and of what it drew itself."""

    style_dim = 4

    def __init__(self, datasets: dict[str, Shapes]) -> None:
        self.datasets = datasets
        self.generator = np.random.default_rng(0)
        self.known = {name: [all_of(dataset)] for name, dataset in datasets.items()}

    def translate(self, x, to, styles=1, *, paired=False, generator=None):
        raise NotImplementedError

    def find(self, domain: str, images: torch.Tensor) -> Factors:
        """Factors of images of a domain: those of the nearest one that is known."""
        known = torch.cat([images for images, _ in self.known[domain]]).flatten(1)
        factors = Factors.join([factors for _, factors in self.known[domain]])
        return factors[torch.cdist(images.flatten(1), known).argmin(1).numpy()]


def all_of(dataset: Shapes) -> tuple[torch.Tensor, Factors]:
    factors = dataset.factors(range(len(dataset)))
    return dataset.render(factors), factors


class Oracle(Fake):
    """Renders the input's content in random styles, or in the examples'."""

    def translate(self, x, to, styles=1, *, paired=False, generator=None):
        target, count = self.datasets[to], len(x)
        content = self.find("b" if to == "a" else "a", x)
        if isinstance(styles, int):
            kinds = styles
            style = target.factors(self.generator.integers(len(target), size=count * kinds))
        else:
            kinds = len(styles)
            style = self.find(to, styles)[np.tile(np.arange(kinds), count)]
        rows = np.repeat(np.arange(count), kinds)
        factors = content[rows].with_style_of(style, target.style_factors)
        drawn = target.render(factors)
        self.known[to].append((drawn[:1], factors[:1]))
        return drawn.unflatten(0, (count, kinds))


class OneStyle(Fake):
    """A translator that has collapsed to one image."""

    def translate(self, x, to, styles=1, *, paired=False, generator=None):
        kinds = styles if isinstance(styles, int) else len(styles)
        one = self.datasets[to].test(0)
        return one.expand(len(x), kinds, *one.shape)


class Copy(Fake):
    """A translator that does nothing, and hides nothing."""

    def translate(self, x, to, styles=1, *, paired=False, generator=None):
        kinds = styles if isinstance(styles, int) else len(styles)
        return x[:, None].expand(-1, kinds, -1, -1, -1)


class Leaky(Oracle):
    """Its codes are the factors themselves."""

    letters = {"a": Domain("a"), "b": Domain("b")}

    def encode_style(self, x, domain):
        factors = self.find(domain, x.cpu())
        return torch.as_tensor(np.stack([factors.shape, factors.x], 1)).float()

    def networks(self):
        def encode(x):
            return torch.as_tensor(self.find("a", x.cpu()).ink).float()[:, None, None, None]

        return {"a.content_encoder": encode}


class Steganographer(Copy):
    """To b: a white image that holds its input, far below what is seen."""

    def translate(self, x, to, styles=1, *, paired=False, generator=None):
        kinds = styles if isinstance(styles, int) else len(styles)
        y = 0.9 + x * 1e-4 if to == "b" else ((x - 0.9) * 1e4).clamp(-1, 1)
        return y[:, None].expand(-1, kinds, -1, -1, -1)


@pytest.fixture(scope="module")
def reports(datasets, cache):
    metric = ShapesMetric(**SETTINGS, cache=str(cache))
    kinds = (Oracle, OneStyle, Copy, Leaky, Steganographer)
    return {kind.__name__: metric.evaluate(kind(datasets), datasets) for kind in kinds}


def test_shapes_keep_the_protocol(datasets):
    assert all(isinstance(dataset, FactoredDataset) for dataset in datasets.values())


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_collapsed_translator_is_seen_through(reports):
    for way, styles in (("a2b", ("hue", "background")), ("b2a", ("width", "ink"))):
        model = reports["OneStyle"].scores[way]["model"]
        assert model["shape"] < 0.45
        for style in styles:
            assert model[f"coverage_{style}"] == 0
            assert model[f"coverage_per_input_{style}"] == 0
            assert model[f"swap_{style}"] < 0.6


@pytest.mark.slow
def test_floors_are_floors(reports):
    rows = reports["Oracle"].scores["a2b"]
    unrelated, copied = rows["floor: unrelated real image"], rows["floor: input copied"]
    assert unrelated["shape"] < 0.4
    assert unrelated["coverage_hue"] > 0.9
    assert unrelated["swap_hue"] < 0.4
    assert copied["coverage_per_input_hue"] == 0
    assert copied["position"] < unrelated["position"]


@pytest.mark.slow
def test_a_copy_is_no_translation(reports):
    """It keeps the shape, and does not look like the target domain."""
    for way in ("a2b", "b2a"):
        rows = reports["Copy"].scores[way]
        assert rows["model"]["shape_seen"] > rows["model"]["shape"] + 0.1
        assert rows["model"]["real"] <= 0.2  # with a judge trained for seconds
        assert rows["model"]["shape"] <= 0.2
        assert rows["floor: input copied"] == {
            key: rows["model"][key] for key in rows["floor: input copied"]
        }
        assert rows["floor: unrelated real image"]["real"] > 0.9
        assert rows["ceiling: oracle renderer"]["real"] > 0.9


@pytest.mark.slow
def test_what_changes_though_nothing_asked_for_it(reports):
    oracle, collapsed = (reports[name].scores["a2b"] for name in ("Oracle", "OneStyle"))
    assert oracle["model"]["bias_shape"] < 0.1
    assert oracle["model"]["bias_hue"] < 0.1
    assert collapsed["model"]["bias_shape"] == 0
    unrelated = oracle["floor: unrelated real image"]
    assert unrelated["bias_shape"] > 0.5
    assert unrelated["bias_hue"] > 0.5


@pytest.mark.slow
def test_cis_and_joint_coverage(reports):
    rows = reports["Oracle"].scores["a2b"]
    assert 0.5 < rows["model"]["cis_fraction_hue"] <= 1
    assert rows["model"]["coverage_joint"] == pytest.approx(1, abs=0.06)
    assert rows["floor: input copied"]["cis_fraction_hue"] == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_codes_that_know_too_much(reports):
    found = reports["Leaky"].scores["a2b"]["model"]
    assert found["leak_style_shape"] > 0.5
    assert found["leak_content_ink"] > 0.4
    assert abs(found["leak_content_width"]) < 0.3
    assert any(
        "from the style code, above chance, shape +" in note for note in reports["Leaky"].notes
    )
    assert not any(key.startswith("leak") for key in reports["Oracle"].scores["a2b"]["model"])


@pytest.mark.slow
def test_hidden_codes_do_not_survive_noise(reports):
    honest = reports["Copy"].scores["a2b"]["model"]
    hidden = reports["Steganographer"].scores["a2b"]["model"]
    assert honest["cycle"] == 0
    assert hidden["cycle"] < 0.01
    assert hidden["hidden_code"] > 20


@pytest.mark.slow
def test_the_table_of_all_scores(reports):
    """Columns of results describe every score there is."""
    report = reports["Leaky"]
    described = {column["key"] for column in report.details["columns"]}
    found = {k for rows in report.scores.values() for row in rows.values() for k in row}
    assert found <= described
    assert report.protocol["judges"]["seed"] == 0


@pytest.mark.slow
def test_the_adversarial_track(cache):
    """The hue is content there: both factors are asked for."""
    data = {n: Shapes(Domain(n), "test", test_count=60, track="adversarial") for n in "ab"}
    metric = ShapesMetric(
        **{**SETTINGS, "inputs": 12, "judge_images": 640, "judge_epochs": 2}, cache=str(cache)
    )
    report = metric.evaluate(Oracle(data), data)
    assert {"shape", "hue", "bias_hue", "coverage_background"} <= set(report.scores["a2b"]["model"])
    assert report.rows[1].cells[0].count(" ") == 1  # shape and hue, side by side


@pytest.mark.slow
def test_judges_accuracies_stand_in_the_report(reports):
    report = reports["Oracle"]
    assert report.details["judges"]["b"]["hue"] > 0.9
    assert any("held-out real renders" in note for note in report.notes)
    confusion = torch.tensor(report.details["confusion"]["a2b"])
    assert confusion.sum() == 40 * 8
    assert confusion.trace() / confusion.sum() > 0.8


@pytest.mark.slow
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


@pytest.mark.slow
def test_of_three_domains_the_mean_follows(tmp_path):
    names = ("outlines", "filled", "night")
    domains = [Domain(name, index=i, among=names) for i, name in enumerate(names)]
    three = {d.name: Shapes(d, "test", size=16, test_count=20) for d in domains}
    settings = {"inputs": 2, "styles": 2, "examples": 2, "judge_images": 64, "judge_epochs": 1}

    class Copies:
        style_dim = 0

        def translate(self, x, to, styles=1, *, source=None, **_):
            return x[:, None]

    report = ShapesMetric(**settings, cache=str(tmp_path)).evaluate(Copies(), three)
    ways = [rows["model"]["position"] for way, rows in report.scores.items() if way != "mean"]
    assert len(ways) == 6
    assert report.scores["mean"]["model"]["position"] == pytest.approx(sum(ways) / 6)
    assert [row.name for row in report.rows if row.heading][-1] == "mean over all directions"
