"""Losses: criteria of the three contracts, from which a config makes terms."""

from munit_zoo.losses._contracts import AdversarialLoss, NamedLoss, PairLoss, call_named

__all__ = ["AdversarialLoss", "NamedLoss", "PairLoss", "call_named"]
