"""Losses: criteria of the two contracts, from which a config makes terms."""

from munit_zoo.losses.base import AdversarialLoss, NamesLoss

__all__ = ["AdversarialLoss", "NamesLoss"]
