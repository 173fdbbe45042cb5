"""Discriminators of the improved MUNIT, and what they are shown."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from munit_zoo.blocks.augmentations import augmented, numbers_of
from munit_zoo.blocks.imaginaire import (
    ImaginaireResidualDiscriminator,
    PyramidPatchDiscriminator,
    shifted,
)
from munit_zoo.errors import GraphError


def images(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_scales_are_halved_bilinearly_and_may_share_their_network():
    x = images(1, 3, 18, 20)
    small = F.interpolate(x, (9, 10), mode="bilinear", align_corners=True)
    for shared in (True, False):
        judge = (
            PyramidPatchDiscriminator(3, dim=2, layers=1, scales=2, shared=shared).double().eval()
        )
        assert len(judge.scales) == (1 if shared else 2)
        torch.testing.assert_close(judge(x)[1], judge.scales[-1](small))
    with pytest.raises(GraphError, match="8×16 are too small .* needs 16"):
        PyramidPatchDiscriminator(3, dim=2, layers=3, scales=5)(torch.zeros(1, 3, 8, 16))


def test_one_logit_an_image_of_the_size_that_fits():
    judge = ImaginaireResidualDiscriminator(3, dim=2, layers=2)
    assert judge.input_size == 16
    (logits,) = judge(torch.zeros(2, 3, 16, 16))
    assert logits.shape == (2, 1)
    with pytest.raises(GraphError, match=r"of 2 LAYERS takes 16×16.*AGGREGATION: pool"):
        judge(torch.zeros(1, 3, 32, 16))
    anywhere = ImaginaireResidualDiscriminator(
        3, dim=2, layers=2, aggregation="pool", anti_aliased=True
    )
    assert anywhere(torch.zeros(1, 3, 20, 12))[0].shape == (1, 1)
    with pytest.raises(GraphError, match="too small .* needs 4×4"):
        anywhere(torch.zeros(1, 3, 3, 12))


def test_anti_aliasing_keeps_the_mean_of_a_map():
    judge = ImaginaireResidualDiscriminator(
        3, dim=2, layers=1, aggregation="pool", anti_aliased=True
    )
    halved = judge.halve(torch.ones(1, 2, 8, 8))
    assert halved.shape == (1, 2, 4, 4)
    torch.testing.assert_close(halved[:, :, 1:-1, 1:-1], torch.ones(1, 2, 2, 2))


def test_colors_change_as_the_paper_has_it():
    x, u = images(2, 3, 4, 4), torch.rand(2, 3, dtype=torch.float64)
    found = augmented(x, u, ("color",))
    for row, (brightness, saturation, contrast) in enumerate(u):
        y = x[row] + brightness - 0.5
        grey = y.mean(0, keepdim=True)
        y = grey + (y - grey) * 2 * saturation
        y = y.mean() + (y - y.mean()) * (contrast + 0.5)
        torch.testing.assert_close(found[row], y)


def test_translations_reach_an_eighth_and_leave_zeros():
    x = images(3, 2, 16, 8)
    steps = [(-2, 1), (0, 0), (2, -1)]  # r is 2 of 16 and 1 of 8
    u = torch.tensor([[(h + 2.5) / 5, (w + 1.5) / 3] for h, w in steps], dtype=torch.float64)
    found = augmented(x, u, ("translation",))
    for row, (h, w) in enumerate(steps):
        for i in range(16):
            for j in range(8):
                inside = 0 <= i + h < 16 and 0 <= j + w < 8
                expected = x[row, :, i + h, j + w] if inside else torch.zeros(2).double()
                torch.testing.assert_close(found[row, :, i, j], expected)
    ends = augmented(x, torch.tensor([[0.0, 0.999]] * 3).double(), ("translation",))
    torch.testing.assert_close(ends[:, :, 2:, :-1], x[:, :, :-2, 1:])


def test_cutouts_are_half_as_large_and_may_leave_the_image():
    x = torch.ones(2, 1, 8, 6, dtype=torch.float64)
    u = torch.tensor([[0.0, 0.999], [0.5, 0.5]], dtype=torch.float64)
    found = augmented(x, u, ("cutout",))
    expected = torch.ones(2, 1, 8, 6, dtype=torch.float64)
    expected[0, :, :2, 4:] = 0  # rows -2 to 1, columns 4 to 6
    expected[1, :, 2:6, 2:5] = 0
    torch.testing.assert_close(found, expected)


def test_changes_take_turns_and_let_gradients_through():
    policy = ("translation", "color", "cutout")
    x = images(2, 3, 8, 8).requires_grad_()
    u = torch.rand(2, numbers_of(policy), dtype=torch.float64)
    found = augmented(x, u, policy)
    moved = augmented(augmented(x, u[:, :2], ["translation"]), u[:, 2:5], ["color"])
    torch.testing.assert_close(found, augmented(moved, u[:, 5:], ["cutout"]))
    found.square().sum().backward()
    assert x.grad.abs().sum() > 0
    assert augmented(x, torch.empty(2, 0), ()) is x


def test_a_shift_mirrors_and_moves():
    x = images(1, 2, 10, 10)
    torch.testing.assert_close(shifted(x, torch.full((1, 2), 0.5)), x.flip(3))
    # 0.2 of the half width are a pixel of 10
    moved = shifted(x, torch.tensor([[1.0, 0.5]]), most=0.2)
    torch.testing.assert_close(moved[..., :-1], x.flip(3)[..., 1:])
    torch.testing.assert_close(moved[..., -1], x.flip(3)[..., -1])
