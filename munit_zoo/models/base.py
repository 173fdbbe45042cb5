"""The contract of a recipe: a graph of named tensors over networks, and updates that train them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from munit_zoo.domains import Domain
from munit_zoo.errors import GraphError
from munit_zoo.inputs import Draw, Input
from munit_zoo.models.graph import Graph
from munit_zoo.models.placing import place_term
from munit_zoo.models.recipe import Translation, Update
from munit_zoo.models.translation import Translator
from munit_zoo.registry import TermUse

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["TranslationModel"]

_DECLARED = ("inputs", "mirror", "updates", "translations", "once")
"""What a graph is read from."""


class TranslationModel(nn.Module):
    """Base of every recipe.

    A recipe declares, as class attributes (or in its constructor, where a setting decides),
    inputs: what it is fed: images, labels, random numbers (`munit_zoo.inputs`);
    mirror: two words, for recipes that treat two domains, or two ways, alike: everything also
        exists with them exchanged;
    updates: what an iteration does, in turn;
    translations: per (source, target) how an image is translated; `(ANY, ANY)` for K domains;
    averaged: names of the networks that have a moving average; None for those that translate;
    fixed: names of networks that are used as they are and never trained;
    once: tensors that are computed once in an iteration by the recipe's own definition, even where
        networks draw random numbers or keep state (pix2pix judges the image that it trains on);
    and defines the tensors by methods marked `@tensor`, in which `self.generator` or
    `self.a.decoder` are its networks, `self.frozen.…` the same without a gradient into them.
    Its constructor assigns the networks: modules, or one ModuleDict a domain under its letter.

    Images are (N, C, H, W) in [-1, 1], style codes (N, style_dim). Domains are the user's, mapped
    onto the recipe's letters in order.
    """

    inputs: Mapping[str, Input] = {}
    mirror: ClassVar[tuple[str, str] | None] = None
    updates: Sequence[Update] = ()
    translations: Mapping[tuple[str, str], Translation] = {}
    averaged: Sequence[str] | None = None
    fixed: Sequence[str] = ()
    once: Sequence[str] = ()

    style_dim: int = 0
    stride: int = 1
    """Image sides are padded to a multiple of this for translation."""
    smallest: int = 0
    """The least side to which they are padded; 0 for twice `stride`, as mirroring borders needs."""
    trains_from: int = 0
    """The least side of images to train on, where a recipe knows of one."""

    def __init__(self, domains: tuple[Domain, ...]) -> None:
        super().__init__()
        for _, message in self.check_config(tuple(domain.name for domain in domains), {}):
            raise GraphError(message)
        self.domains = domains
        self._graph: Graph | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _DECLARED:  # a constructor may have looked at the graph before it chose these
            self.__dict__["_graph"] = None
        super().__setattr__(name, value)

    # The graph

    def graph(self) -> Graph:
        """The recipe's named tensors, updates and translations.

        Raises GraphError where the recipe is inconsistent.
        """
        if self._graph is None:
            self._graph = Graph(self)
        return self._graph

    def take_graph(self, graph: Graph) -> None:
        """Compute what a graph of this recipe says, which may have been added to."""
        self._graph = graph

    @property
    def letters(self) -> dict[str, Domain]:
        """The domains by the recipe's letters for them."""
        return dict(zip(self.graph().letters, self.domains, strict=False))

    @classmethod
    def check_config(
        cls, domains: tuple[str, ...], terms: Mapping[str, TermUse]
    ) -> Iterator[tuple[str, str]]:
        """What is wrong with domains and loss terms, as (dotted path, message).

        domains: their names. terms: per name its criterion's class, and what the config says of it.
        """
        graph = Graph(cls)
        letters = graph.letters
        have = ", ".join(name.upper() for name in domains) or "none"
        if letters and len(domains) != len(letters):
            yield (
                "DOMAINS",
                f"{cls.__name__} translates between {len(letters)} domains; the config has "
                f"{len(domains)}: {have}",
            )
        if not letters and len(domains) < 2:
            yield "DOMAINS", f"{cls.__name__} translates between 2 or more domains; it has {have}"
        for name, use in terms.items():
            _, problems = place_term(graph, name, use.criterion, use.pairs, use.updates)
            for key, message in problems:
                yield f"LOSSES.{name.upper()}.{key}", message

    @property
    def frozen(self) -> Self:
        """The recipe with networks that let gradients through and take none, in tensor methods."""
        raise GraphError("self.frozen is for methods marked @tensor, which see the recipe so")

    def networks(self) -> dict[str, nn.Module]:
        """The networks by their paths: `generator`, or `a.decoder` for a domain's own."""
        found: dict[str, nn.Module] = {}
        for name, child in self.named_children():
            if isinstance(child, nn.ModuleDict):
                found |= {f"{name}.{part}": network for part, network in child.items()}
            else:
                found[name] = child
        return found

    def shape_of_draw(self, spec: Draw) -> tuple[int, ...]:
        """Shape of one sample of a random input whose `shape` is written in attributes' names."""
        return tuple(
            int(getattr(self, part)) if isinstance(part, str) else part for part in spec.shape
        )

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What its parameters are in."""
        return next(self.parameters()).dtype

    # Translation

    @property
    def ways(self) -> tuple[tuple[str, str], ...]:
        """The (source, target) domains between which it translates."""
        return tuple((w.source.name, w.target.name) for w in Translator(self).ways())

    @property
    def draws_styles(self) -> bool:
        """Whether its styles have a prior; where not, they are those of example images."""
        translator = Translator(self)
        return all(translator.has_prior(way) for way in translator.ways())

    @property
    def encodes_styles(self) -> bool:
        """Whether example images have styles that it can take over."""
        return all(way.translation.encoded is not None for way in Translator(self).ways())

    def translate(
        self,
        x: Tensor,
        to: str,
        styles: int | Tensor = 1,
        *,
        latents: Tensor | None = None,
        source: str | None = None,
        paired: bool = False,
        generator: torch.Generator | None = None,
        chunk: int | None = None,
        grad: bool = False,
    ) -> Tensor:
        """Translations of images into the domain `to`.

        x: (N, C, H, W) in [-1, 1], any size: padded and cropped back.
        styles: a number K of styles drawn afresh for each image; style codes (K, S) used for every
        image, or (N, K, S); or example images (K, C, H, W) of the target domain, encoded by its
        style encoder and used for every image (`paired`: one example an image, K = N).
        latents: instead of styles, vectors (K, L) or (N, K, L) of the prior that the recipe makes
        style codes from; for recipes that draw style codes themselves, these.
        source: the images' domain, where several could be meant.
        generator: draws the styles (on CPU); the global one where none is given.
        chunk: images computed at once; None for what suits the device.
        grad: let gradients through, to optimise a style or an image.

        Returns (N, K, C, H, W). Of a recipe without styles K is 1, whatever number was asked for.
        Raises UsageError for a domain, shape, channel count or range that does not fit.
        """
        translator = Translator(self)
        with nullcontext() if grad else torch.no_grad():
            return translator.translate(
                x,
                translator.way(to, source),
                styles,
                latents=latents,
                paired=paired,
                generator=generator,
                chunk=chunk,
            )

    @torch.no_grad()
    def reconstruct(self, x: Tensor, domain: str) -> Tensor:
        """Images of a domain, encoded and decoded by their own networks: (N, C, H, W)."""
        translator = Translator(self)
        return translator.reconstruct(x, translator.domain(domain))

    @torch.no_grad()
    def encode_style(self, x: Tensor, domain: str) -> Tensor:
        """Style codes (N, S) of images of a domain."""
        translator = Translator(self)
        return translator.encoded(x, translator.way_into(domain))

    @torch.no_grad()
    def sample_styles(
        self, count: int, generator: torch.Generator | None = None, *, to: str | None = None
    ) -> Tensor:
        """Style codes (count, S) of the prior, on the CPU.

        to: the target domain, for recipes whose styles belong to one; the first by default.
        Raises UsageError for an unknown domain, or a recipe that draws no styles.
        """
        translator = Translator(self)
        way = translator.ways()[0] if to is None else translator.way_into(to)
        return translator.drawn(count, way, generator).cpu()
