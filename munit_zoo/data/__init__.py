"""Datasets: images of one domain each, read with their measured values intact, and batches."""

from munit_zoo.data._protocol import Dataset, Labelled, Paired

__all__ = ["Dataset", "Labelled", "Paired"]
