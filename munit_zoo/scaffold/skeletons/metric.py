"""A metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from munit_zoo.metrics import Report, Row, Translator

__all__ = ["PixelChange"]


class PixelChange:
    """Mean absolute difference between an image and its translation: 0 where nothing changes.

    count: test images a direction.
    """

    def __init__(self, *, count: int = 100) -> None:
        self.count = count

    def evaluate(
        self,
        translator: Translator,
        datasets: Mapping[str, Any],
        *,
        device: str = "cpu",
        progress: Callable[[str], None] | None = None,
    ) -> Report:
        """Scores on the test images of each domain that the translator can translate."""
        ways = [(s, t) for s in datasets for t in datasets if s != t]
        rows, scores = [], {}
        for source, target in ways:
            if (source, target) not in getattr(translator, "ways", ways):
                continue
            if progress:
                progress(f"translating {source.upper()} to {target.upper()}")
            change = self._change(translator, datasets[source], target, device)
            label = f"{source.upper()} → {target.upper()}"
            rows.append(Row(label, (f"{change:.3f}",), model=True))
            scores[f"{source}2{target}"] = {"model": {"change": change}}
        return Report("Pixel change", ("change",), tuple(rows), scores=scores)

    def _change(self, translator: Translator, dataset: Any, target: str, device: str) -> float:
        generator = torch.Generator().manual_seed(0)
        count = min(self.count, len(dataset))
        total = 0.0
        for index in range(count):
            x = dataset.test(index)[None].to(device)
            translated = translator.translate(x, target, generator=generator)[:, 0]
            total += float((translated - x).abs().mean())
        return total / count
