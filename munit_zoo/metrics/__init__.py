"""Metrics: scores of a translator, beside floors and ceilings."""

from munit_zoo.metrics.protocol import FactoredDataset, Translator
from munit_zoo.metrics.report import Report, Row

__all__ = ["FactoredDataset", "Report", "Row", "Translator"]
