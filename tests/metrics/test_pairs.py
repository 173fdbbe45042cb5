"""Distances to the truth of a pair."""

from __future__ import annotations

import pytest
import torch
from _metrics import Images, Tinter, stand_ins

from munit_zoo.errors import UsageError
from munit_zoo.metrics.pairs import TRUTH, Pairs, ssim
from munit_zoo.metrics.report import COPIED, MODEL, UNRELATED


class Darker(Images):
    """Each image of another domain, darker: the pair of the one with its name."""

    def test(self, index):
        return super().test(index) - 0.1


DATA = {"a": Images(12), "b": Darker(12)}


class Exact(Tinter):
    """One of its samples is the truth."""

    def translate(self, x, to, styles=1, *, paired=False, generator=None):
        shifts = torch.tensor([-0.1 if to == "b" else 0.1, *[0.3] * (styles - 1)])
        return x[:, None] + shifts[None, :, None, None, None]


def test_ssim_is_torchmetrics():
    theirs = pytest.importorskip("torchmetrics.functional.image")
    x, y = torch.rand(2, 3, 3, 40, 33, generator=torch.Generator().manual_seed(0)) * 2 - 1
    y = 0.5 * x + 0.5 * y
    _, whole = theirs.structural_similarity_index_measure(
        (x + 1) / 2, (y + 1) / 2, data_range=1.0, reduction="none", return_full_image=True
    )
    expected = whole[..., 5:-5, 5:-5].mean((1, 2, 3))  # where the window fits in whole
    torch.testing.assert_close(ssim(x, y).float(), expected, rtol=1e-4, atol=1e-5)
    assert ssim(x, x).tolist() == pytest.approx([1] * 3)
    with pytest.raises(UsageError, match="11 pixels"):
        ssim(x[..., :8, :8], y[..., :8, :8])


def test_best_and_mean():
    report = Pairs(net="none", styles=4).evaluate(Exact(), DATA)
    rows = report.scores["a2b"]
    assert rows[MODEL]["l1_best"] == pytest.approx(0, abs=1e-6)
    assert rows[MODEL]["ssim_best"] == pytest.approx(1, abs=1e-4)
    assert rows[MODEL]["l1_mean"] == pytest.approx(3 / 4 * 0.4 / 2, abs=0.01)
    assert rows[COPIED]["l1_best"] == pytest.approx(0.05, abs=1e-6)
    assert rows[TRUTH] == pytest.approx(
        {"l1_best": 0, "l1_mean": 0, "ssim_best": 1, "ssim_mean": 1}
    )
    assert rows[UNRELATED]["l1_mean"] > rows[UNRELATED]["l1_best"] > 0.05


def test_lpips_of_pairs(tmp_path, monkeypatch):
    with stand_ins(tmp_path, monkeypatch):
        report = Pairs(styles=2, inputs=4).evaluate(Exact(), DATA)
    rows = report.scores["b2a"]
    assert rows[MODEL]["lpips_best"] == pytest.approx(0, abs=1e-5)
    assert rows[MODEL]["lpips_mean"] > rows[MODEL]["lpips_best"]
    assert report.protocol["pairs"] == {"a2b": 4, "b2a": 4}
    assert report.columns[0] == "LPIPS best ↓"


def test_names_decide_whatever_their_suffix():
    class Renamed(Darker):
        def name(self, index):
            return f"{index + 10:04d}.jpg"

    report = Pairs(net="none", styles=1).evaluate(Exact(), {"a": Images(12), "b": Renamed(12)})
    assert report.protocol["pairs"] == {"a2b": 2, "b2a": 2}


def test_no_pairs():
    class Unpaired(Darker):
        def name(self, index):
            return f"other{index}.png"

    with pytest.raises(UsageError, match=r"no test images share one .* 0000\.png and other0\.png"):
        Pairs(net="none").evaluate(Exact(), {"a": Images(4), "b": Unpaired(4)})


def test_a_drawing_of_one_channel_against_a_colour_image():
    data = {"a": Images(6, channels=1), "b": Images(6, seed=1)}

    class Coloured(Tinter):
        def translate(self, x, to, styles=1, *, paired=False, generator=None):
            channels = 3 if to == "b" else 1
            return x[:, None, :1].expand(-1, styles, channels, -1, -1)

    rows = Pairs(net="none", styles=2).evaluate(Coloured(), data).scores
    assert rows["a2b"][COPIED]["l1_best"] == pytest.approx(rows["a2b"][MODEL]["l1_best"])
    assert rows["b2a"][COPIED]["l1_best"] > 0
