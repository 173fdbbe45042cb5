"""Training a classifier of a folder's classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from munit_zoo.data.images import write_image
from munit_zoo.engine.classifier import ClassifierSettings, train_classifier
from munit_zoo.errors import DataError, UsageError
from munit_zoo.metrics.timm_networks import Classifier

QUICK = ClassifierSettings(model="resnet10t", size=32, epochs=3, batch=8, rate=3e-3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Red images and blue ones."""
    root = tmp_path_factory.mktemp("classes")
    generator = np.random.default_rng(0)
    for channel, name in ((0, "red"), (2, "blue")):
        (root / name).mkdir()
        for index in range(16):
            pixels = generator.integers(0, 80, (3, 40, 36)).astype(np.uint8)
            pixels[channel] += 150
            write_image(root / name / f"{index}.png", pixels)
    return root


def test_it_learns_and_is_the_same_twice(folder, tmp_path):
    told: list[str] = []
    first = train_classifier(
        folder, tmp_path / "one.safetensors", QUICK, device="cpu", progress=told.append
    )
    again = train_classifier(folder, tmp_path / "two.safetensors", QUICK, device="cpu")
    assert first.accuracy == 1
    assert first.classes == {"blue": 16, "red": 16}
    assert first.sha256 == again.sha256
    assert len(told) == 3
    classifier, _ = Classifier.open(str(first.file))
    assert classifier.card.classes == ("blue", "red")
    assert classifier.card.accuracy == 1
    assert classifier.card.trained["held_out"] == 6
    tuned = ClassifierSettings(
        model="resnet10t", weights=str(first.file), size=32, epochs=1, head_only=True
    )
    after = train_classifier(folder, tmp_path / "three.safetensors", tuned, device="cpu")
    kept, _ = Classifier.open(str(after.file))
    for name, value in classifier.network.state_dict().items():
        assert name.startswith("fc.") or value.equal(kept.network.state_dict()[name])


def test_what_cannot_be_trained_on(folder, tmp_path):
    out = tmp_path / "x.safetensors"
    with pytest.raises(DataError, match="there is no folder"):
        train_classifier(tmp_path / "none", out, QUICK)
    with pytest.raises(UsageError, match=r"a folder each; .* has 0 folders: none"):
        train_classifier(folder / "red", out, QUICK)
    with pytest.raises(UsageError, match="written as .safetensors"):
        train_classifier(folder, tmp_path / "x.pth", QUICK)
    out.write_bytes(b"")
    with pytest.raises(UsageError, match="exists; give another --out"):
        train_classifier(folder, out, QUICK)
