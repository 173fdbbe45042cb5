"""The bench's yardstick: MUNIT and UNIT the way the 2018 implementation computes them."""

from munit_zoo.bench.reference.settings import hyperparameters_of
from munit_zoo.bench.reference.trainer import ReferenceTrainer

__all__ = ["ReferenceTrainer", "hyperparameters_of"]
