"""Losses of a classifier's logits."""

from __future__ import annotations

import torch

from munit_zoo.losses.classification import AttributeBCE, CrossEntropy


def test_attributes_are_summed_and_images_averaged():
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    labels = (torch.arange(20).reshape(4, 5) % 3 == 0).float()
    likelihoods = torch.where(labels > 0, logits.sigmoid(), 1 - logits.sigmoid())
    expected = -likelihoods.log().sum() / 4
    torch.testing.assert_close(AttributeBCE()(logits, labels), expected)
    torch.testing.assert_close(AttributeBCE()(logits, labels.long()), expected)


def test_classes_are_numbers():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 2, 1, 1])
    expected = -logits.log_softmax(dim=1)[torch.arange(4), labels].mean()
    torch.testing.assert_close(CrossEntropy()(logits, labels), expected)
