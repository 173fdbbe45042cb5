"""Datasets: images of one domain each, read with their measured values intact, and batches."""

from munit_zoo.data._protocol import Dataset

__all__ = ["Dataset"]
