"""The patch-wise contrastive loss (Park et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from munit_zoo.losses import NamedLoss

__all__ = ["PatchNCE"]


class PatchNCE(NamedLoss):
    """Multilayer, patch-wise InfoNCE (Park et al. 2020, eq. 3-5), with its projection heads.

    Reads lists of feature maps, one a layer: of the translation (`f_ab`) and of its input (`f_a`).
    At `patches` random places of each layer, two-layer heads project both to vectors of length 1;
    a translated patch must be told apart, by cosine similarity over `temperature`, as belonging to
    the input's patch at its place among the image's other patches. With `identity` the same is
    asked of target images and their reconstructions (`f_b`, `f_bb`), and the two are averaged.

    shapes: wired; of all names, of which the features' channels are read.
    patches: places a layer; all where a layer has fewer. dim: width of the heads.
    """

    reads = ("f_a", "f_ab")
    side = "generator"
    detaches = True  # the keys

    def __init__(
        self,
        shapes: Mapping[str, Any],
        *,
        identity: bool = True,
        patches: Annotated[int, Field(ge=2)] = 256,
        temperature: Annotated[float, Field(gt=0)] = 0.07,
        dim: Annotated[int, Field(ge=1)] = 256,
    ) -> None:
        super().__init__()
        self.pairs = (("f_ab", "f_a"), ("f_bb", "f_b")) if identity else (("f_ab", "f_a"),)
        self.reads = tuple(name for pair in self.pairs for name in pair)
        self.patches, self.temperature = patches, temperature
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(shape[1], dim), nn.ReLU(), nn.Linear(dim, dim))
            for shape in shapes["f_a"]
        )
        for layer in self.heads.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, names: Mapping[str, Any], critics: Mapping[str, Any]) -> Tensor:
        parts = [self._compared(names[query], names[key]) for query, key in self.pairs]
        return torch.stack(parts).mean()

    def _compared(self, queries: Sequence[Tensor], keys: Sequence[Tensor]) -> Tensor:
        losses = []
        for head, query, key in zip(self.heads, queries, keys, strict=True):
            count = query.shape[2] * query.shape[3]
            places = torch.randperm(count, device=query.device)[: self.patches]
            ours = self._projected(head, query, places)
            theirs = self._projected(head, key, places).detach()
            # one row a place: its similarity to every place of the same image
            logits = torch.bmm(ours, theirs.transpose(1, 2)) / self.temperature
            target = torch.arange(logits.shape[1], device=logits.device)
            losses.append(F.cross_entropy(logits.flatten(0, 1), target.repeat(len(logits))))
        return torch.stack(losses).mean()

    @staticmethod
    def _projected(head: nn.Module, features: Tensor, places: Tensor) -> Tensor:
        """(N, places, dim), each vector of length 1."""
        chosen = features.flatten(2)[:, :, places].transpose(1, 2)
        return F.normalize(head(chosen), dim=2)
