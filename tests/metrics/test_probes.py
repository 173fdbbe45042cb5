"""What a probe reads from codes."""

from __future__ import annotations

import math

import torch

from munit_zoo.metrics.probes import probe_accuracy


def test_a_probe_finds_what_is_there_and_not_what_is_not():
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(300, 6, generator=generator)
    inside = (codes[:, 0] > 0).long()
    ring = (codes[:, :2].norm(dim=1) > 1.2).long()  # no line tells this
    nothing = torch.randint(2, (300,), generator=generator)
    assert probe_accuracy(codes, inside, 2) > 0.85
    assert probe_accuracy(codes, ring, 2) > 0.75
    assert probe_accuracy(codes, nothing, 2) < 0.65
    assert probe_accuracy(codes * 1e6 + 5, inside, 2) == probe_accuracy(codes, inside, 2)


def test_codes_that_never_change():
    classes = torch.tensor([0, 1, 0, 0, 0, 1])
    assert probe_accuracy(torch.ones(6, 3), classes, 2) == 1 / 3
    assert math.isnan(probe_accuracy(torch.ones(3, 3), classes[:3], 2))
