"""CIS and IS, by hand and with a classifier."""

from __future__ import annotations

import math

import pytest
import torch
from _metrics import Images, Tinter
from torch import nn

from munit_zoo.errors import UsageError
from munit_zoo.metrics.classes import ClassScores, ClassSums
from munit_zoo.metrics.report import COPIED, MODEL, REAL
from munit_zoo.metrics.timm_networks import Classifier, ClassifierCard, timm_network
from munit_zoo.weights import looking_in


def scored(*inputs: list[list[float]]) -> dict[str, float]:
    sums = ClassSums(len(inputs[0][0]))
    for probabilities in inputs:
        sums.add(torch.tensor(probabilities))
    return sums.scores()


def test_every_class_for_each_input():
    found = scored(*[[[1.0, 0], [0, 1]]] * 3)
    assert found["cis"] == pytest.approx(math.log(2))
    assert (found["cis_fraction"], found["is_fraction"]) == pytest.approx((1, 1))
    assert found["is_exp"] == pytest.approx(2)


def test_one_class_for_each_input():
    """Inputs differ, samples do not: IS sees classes, CIS none."""
    found = scored([[1.0, 0], [1, 0]], [[0, 1], [0, 1]])
    assert found["cis"] == pytest.approx(0)
    assert found["is"] == pytest.approx(math.log(2))


def test_nothing_is_clear():
    found = scored(*[[[0.5, 0.5], [0.5, 0.5]]] * 2)
    assert (found["cis"], found["is"]) == pytest.approx((0, 0), abs=1e-12)


def test_a_case_by_the_formula():
    p = torch.rand(4, 5, 3, generator=torch.Generator().manual_seed(0)).double()
    p = p / p.sum(-1, keepdim=True)
    sums = ClassSums(3)
    for part in p:
        sums.add(part)
    cis = (p * (p / p.mean(1, keepdim=True)).log()).sum(-1).mean()
    inception = (p * (p / p.mean((0, 1), keepdim=True)).log()).sum(-1).mean()
    assert sums.scores()["cis"] == pytest.approx(float(cis))
    assert sums.scores()["is"] == pytest.approx(float(inception))


class Sign(nn.Module):
    """Two classes: is the first channel bright?"""

    def forward(self, x):
        bright = x[:, 0].mean((1, 2)) * 50
        return torch.stack([-bright, bright], 1)


class Both(Tinter):
    """Every other style is bright."""

    def translate(self, x, to, styles=1, *, paired=False, generator=None):
        signs = torch.tensor([1.0, -1.0]).repeat(styles)[:styles]
        return (x[:, None] * 0.1 + 0.6 * signs[None, :, None, None, None]).clamp(-1, 1)


@pytest.fixture
def classifier(monkeypatch, tmp_path):
    card = ClassifierCard("sign", ("dark", "bright"), 16, (0.5,) * 3, (0.5,) * 3, 1.0, {})
    (tmp_path / "sign.safetensors").write_bytes(b"sign")
    monkeypatch.setattr(
        Classifier,
        "open",
        classmethod(lambda cls, name: (Classifier(Sign(), card), found(tmp_path, name))),
    )


def found(folder, name):
    from munit_zoo.weights import find_weights

    return find_weights(str(folder / name))


DATA = {"a": Images(8), "b": Images(10, seed=1)}


def test_scores_of_a_translator(classifier):
    metric = ClassScores(classifier="sign.safetensors", inputs=6, styles=8, batch=3)
    report = metric.evaluate(Both(), DATA)
    rows = report.scores["a2b"]
    assert rows[MODEL]["cis_fraction"] == pytest.approx(1, abs=1e-3)
    assert rows[COPIED]["cis"] == pytest.approx(0, abs=1e-9)
    assert 0.3 < rows[REAL]["cis_fraction"] < 1
    assert report.protocol["weights"][0]["name"] == "classifier"
    assert report.details["classifiers"]["sign.safetensors"]["classes"] == ["dark", "bright"]


def test_classifiers_by_target(classifier):
    metric = ClassScores(classifier={"B": "sign.safetensors"}, inputs=2, styles=2)
    assert list(metric.evaluate(Both(), DATA).scores) == ["a2b"]
    with pytest.raises(UsageError, match="munit-zoo classifier train"):
        ClassScores().evaluate(Both(), DATA)


def test_a_classifiers_file(tmp_path):
    network, _, _ = timm_network("resnet10t", None, classes=2, chance=True)
    card = ClassifierCard("resnet10t", ("cat", "dog"), 32, (0.5,) * 3, (0.2,) * 3, 0.5, {"x": 1})
    classifier = Classifier(network, card).eval()
    classifier.save(tmp_path / "own.safetensors")
    with looking_in(tmp_path):
        again, file = Classifier.open("own.safetensors")
    x = torch.rand(2, 3, 40, 40) * 2 - 1
    torch.testing.assert_close(again(x), classifier(x).detach())
    assert again.card == card
    assert len(file.sha256) == 64
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match="is no classifier: `munit-zoo classifier train"):
        Classifier.open(str(tmp_path / "other.safetensors"))
