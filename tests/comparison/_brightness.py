"""A metric that takes no time: how bright translations are. Used as a local plug-in."""

from __future__ import annotations

from munit_zoo.metrics import Column, tabulated
from munit_zoo.metrics.report import COPIED, MODEL
from munit_zoo.metrics.sampling import Sampler, chosen_ways
from munit_zoo.registry import METRICS


@METRICS.register("brightness")
class Brightness:
    """Mean of translations. fail: raise. protocol: any number, to differ in."""

    def __init__(self, *, inputs: int = 2, fail: bool = False, protocol: int = 0, seed: int = 0):
        self.inputs, self.fail, self.protocol, self.seed = inputs, fail, protocol, seed

    def evaluate(self, translator, datasets, *, device="cpu", progress=None):
        """Scores in each direction."""
        if self.fail:
            raise RuntimeError("the lamp is broken")
        scores = {}
        for source, target in chosen_ways(translator, datasets):
            sampler = Sampler(translator, datasets, source, target, self.inputs, self.seed, device)
            made = [sampler.drawn(x, i, 2, "brightness") for i, x in sampler]
            copied = [x for _, x in sampler]
            scores[sampler.key] = {
                row: {"mean": float(sum(z.mean() for z in images) / len(images)), "count": 2.0}
                for row, images in ((MODEL, made), (COPIED, copied))
            }
        columns = [Column("mean", "brightness", "higher"), Column("count", "images")]
        protocol = {"inputs": self.inputs, "protocol": self.protocol}
        return tabulated("Brightness", columns, scores, protocol=protocol)
