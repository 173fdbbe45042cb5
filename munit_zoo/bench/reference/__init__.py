"""The bench's yardstick: MUNIT and UNIT the way the 2018 implementation computes them."""

from munit_zoo.bench.reference.settings import OF_2018, hyperparameters_of
from munit_zoo.bench.reference.trainer import ReferenceTrainer

__all__ = ["OF_2018", "ReferenceTrainer", "hyperparameters_of"]
