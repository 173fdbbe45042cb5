"""Metrics: scores of a translator, beside floors and ceilings."""

from munit_zoo.metrics.extractors import Extractor
from munit_zoo.metrics.protocol import FactoredDataset, Translator
from munit_zoo.metrics.report import Column, Report, Row, averaged, tabulated

__all__ = [
    "Column",
    "Extractor",
    "FactoredDataset",
    "Report",
    "Row",
    "Translator",
    "averaged",
    "tabulated",
]
