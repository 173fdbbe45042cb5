"""What discriminators see through."""

from __future__ import annotations

import pytest
import torch

from munit_zoo.blocks.augmentations import AdaptiveDiffAugment, DiffAugment
from munit_zoo.errors import ContractError


def image(*shape: int) -> torch.Tensor:
    return (
        torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    )


def numbers(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_colours():
    x, (b, s, c) = image(1, 3, 4, 5), (0.9, 0.2, 0.7)
    found = DiffAugment(policies=("color",))(x, numbers((0.0, b, s, c)))
    y = x + (b - 0.5)
    y = (y - y.mean(1, keepdim=True)) * 2 * s + y.mean(1, keepdim=True)
    y = (y - y.mean()) * (c + 0.5) + y.mean()
    torch.testing.assert_close(found, y)


def test_translation_moves_each_image_its_own_way_and_leaves_zeros():
    x = image(3, 2, 8, 16)
    augment = DiffAugment(policies=("translation",), shift=0.25)  # by 2 rows, 4 columns at most
    found = augment(x, numbers((0, 0, 0.999), (0, 0.5, 0.5), (0, 0.999, 0)))
    expected = torch.zeros_like(x)
    expected[0, :, 2:, :12] = x[0, :, :6, 4:]  # what was 2 rows above and 4 columns to the right
    expected[1] = x[1]
    expected[2, :, :6, 4:] = x[2, :, 2:, :12]
    assert torch.equal(found, expected)


def test_cutout_leaves_a_rectangle_of_zeros():
    x = image(2, 1, 8, 8).abs() + 1
    found = DiffAugment(policies=("cutout",))(x, numbers((0, 0.5, 0.5), (0, 0, 0.999)))
    cut = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    cut[0, :, 2:6, 2:6] = True
    cut[1, :, :2, 6:] = True  # half of it lies outside
    assert torch.equal(found == 0, cut)
    assert torch.equal(found[~cut], x[~cut])


def test_policies_are_applied_with_their_probability():
    augment = DiffAugment(probability=0.5)
    assert augment.numbers == 10
    x = image(2, 3, 8, 8)
    on, off = (0.4, 0.9, 0.9, 0.9, 0.4, 0.9, 0.9, 0.4, 0.9, 0.9), (0.6, *([0.9] * 3), 0.6, 0.9, 0.9)
    found = augment(x, numbers(on, (*off, 0.6, 0.9, 0.9)))
    assert torch.equal(found[1], x[1])
    assert not torch.equal(found[0], x[0])
    with pytest.raises(ContractError, match="names one twice"):
        DiffAugment(policies=("color", "color"))


def test_half_precision_stays():
    x = image(1, 3, 8, 8).bfloat16()
    assert DiffAugment()(x, torch.full((1, 10), 0.3)).dtype == torch.bfloat16


def test_the_probability_follows_what_is_said_of_reals():
    augment = AdaptiveDiffAugment(target=0.5, every=2, images=20, most=0.45)
    history = []
    for verdicts in ([1, 1, 1, 1], [1, 1, 1, -1], *([[1] * 4] * 6), *([[1, -1, -1, -1]] * 2)):
        logits = torch.tensor(verdicts, dtype=torch.float32).view(4, 1, 1, 1).expand(4, 1, 2, 2)
        augment.observe([3 * logits, logits[:, :, :1, :1]])
        augment.adapt()
        history.append(round(float(augment.probability), 4))
    # 8 images in 2 iterations: 0.4 a step, up to `most`, and down again
    assert history == [0, 0.4, 0.4, 0.45, 0.45, 0.45, 0.45, 0.45, 0.45, 0.05]


def test_nobody_judged_nothing_changes():
    augment = AdaptiveDiffAugment(start=0.3, every=1)
    augment.adapt()
    assert float(augment.probability) == pytest.approx(0.3)
    with pytest.raises(ContractError, match="above MOST"):
        AdaptiveDiffAugment(start=0.5, most=0.4)


def test_its_state_is_saved():
    one, other = (AdaptiveDiffAugment(images=10, every=3) for _ in range(2))
    one.observe([torch.ones(4, 1)])
    one.adapt()
    other.load_state_dict(one.state_dict())
    for augment in (one, other):
        augment.observe([torch.ones(4, 1)])
        augment.adapt()
        augment.adapt()
    assert float(one.probability) == float(other.probability) == pytest.approx(0.8)
