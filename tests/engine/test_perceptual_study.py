"""The study of what instance norm does to VGG-16's distances."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from _golden import stand_in_vgg
from _metrics import TRAINED
from safetensors.torch import save_file

from munit_zoo.cli import main
from munit_zoo.data.images import write_image
from munit_zoo.engine.perceptual_study import _study, perceptual_study
from munit_zoo.errors import UsageError
from munit_zoo.weights import looking_in

SIDE = 64


def scene(seed: int) -> np.ndarray:
    """Blobs and bars: a layout of its own."""
    rng = np.random.default_rng(seed)
    image = np.full((3, SIDE, SIDE), 0.6)
    y, x = np.mgrid[:SIDE, :SIDE]
    for _ in range(6):
        centre, radius = rng.uniform(8, SIDE - 8, 2), rng.uniform(4, 14)
        inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
        image[:, inside] = rng.uniform(0.2, 1, 3)[:, None]
    return image


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Six scenes by day (A), and dark and blue (B)."""
    root = tmp_path_factory.mktemp("scenes")
    lines = ["file,scene"]
    for index in range(6):
        day = scene(index)
        night = day * np.array([0.25, 0.3, 0.5])[:, None, None]
        for letter, image in (("A", day), ("B", night)):
            (root / letter).mkdir(exist_ok=True)
            write_image(root / letter / f"{index}.png", (image * 255).astype(np.uint8))
            lines.append(f"{letter}/{index}.png,place {index}")
    (root / "scenes.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    """The first two stages, at random."""
    path = tmp_path_factory.mktemp("vgg") / "vgg.safetensors"
    state = dict(itertools.islice(stand_in_vgg().items(), 8))
    save_file({name: value.float() for name, value in state.items()}, path)
    return str(path)


def test_distances_and_pairs(folders, weights, tmp_path):
    study = perceptual_study(
        folders / "A",
        folders / "B",
        folders / "scenes.csv",
        tmp_path,
        layers=("relu1_2", "relu2_2"),
        weights=weights,
        device="cpu",
    )
    assert study.about["pairs"] == {"same_scene": 6, "same_domain": 2 * 15}
    assert [(layer.layer, layer.normalised) for layer in study.layers] == [
        ("relu1_2", False),
        ("relu1_2", True),
        ("relu2_2", False),
        ("relu2_2", True),
    ]
    plain, normalised = study.layers[:2]
    assert normalised.auc > plain.auc
    assert sum(normalised.histogram_scene) == pytest.approx(1)
    written = json.loads((tmp_path / "study.json").read_text())
    assert written["layers"][1]["auc"] == normalised.auc
    assert len(written["weights"]["sha256"]) == 64
    page = (tmp_path / "index.html").read_text()
    assert f"<td>{normalised.auc:.3f}</td>" in page
    assert page.count("<svg") == 4
    assert study.markdown().splitlines()[2].startswith("| relu1_2 | ")


def test_separation_counts_ties_half():
    scene_, domain = torch.tensor([1.0, 2, 3]).double(), torch.tensor([2.0, 4]).double()
    assert _study("x", False, scene_, domain).auc == pytest.approx((2 + 1.5 + 1) / 6)
    assert _study("x", False, domain, scene_).auc == pytest.approx((1.5 + 0) / 6)


def test_on_trained_weights(folders, tmp_path):
    """As measured on photographs: most at relu4_3, hardly at relu5_3."""
    if not (TRAINED / "vgg16_features.safetensors").is_file():
        pytest.skip(f"no trained weights in {TRAINED} (set MUNIT_ZOO_WEIGHTS)")
    with looking_in(TRAINED):
        study = perceptual_study(
            folders / "A",
            folders / "B",
            folders / "scenes.csv",
            tmp_path,
            layers=("relu4_3", "relu5_3"),
            device="cpu",
        )
    auc = {(layer.layer, layer.normalised): layer.auc for layer in study.layers}
    assert auc["relu4_3", True] > 0.9
    assert auc["relu4_3", True] > auc["relu4_3", False]
    assert auc["relu4_3", True] >= auc["relu5_3", True]
    assert study.about["weights"]["name"] == "vgg16"
    assert study.about["normalize"] == "imagenet"


def test_the_command(folders, weights, tmp_path, capsys):
    words = [str(folders / "A"), str(folders / "B"), "--scenes", str(folders / "scenes.csv")]
    more = ["--layers", "relu1_2", "--vgg", weights, "--out", str(tmp_path / "s"), "--size", "32"]
    assert main(["perceptual-study", *words, *more, "32", "--device", "cpu"]) == 0
    assert "| relu1_2 | " in capsys.readouterr().out
    assert json.loads((tmp_path / "s" / "study.json").read_text())["size"] == [32, 32]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,place\n0.png,x\n", "needs the columns file and scene; it has name, place"),
        ("file,scene\nA/9.png,x\n", r"line 2: no image 'A/9.png'"),
        ("file,scene\nA/0.png,x\nA/0.png,y\n", "line 3: .* is of the scene 'x' already"),
        ("file,scene\nA/0.png,x\nA/1.png,y\n", "0 pairs of one scene in both domains"),
    ],
)
def test_tables_that_do_not_fit(folders, tmp_path, text, message):
    (tmp_path / "scenes.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        perceptual_study(folders / "A", folders / "B", tmp_path / "scenes.csv", tmp_path)
