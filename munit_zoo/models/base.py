"""The contract of a recipe: a graph of named tensors over the networks of its domains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from munit_zoo.domains import Domain
from munit_zoo.errors import GraphError, UsageError
from munit_zoo.models.graph import Critic, Graph, Translation
from munit_zoo.registry import TermUse

__all__ = ["TranslationModel"]


class TranslationModel(nn.Module):
    """Base of every recipe.

    A recipe declares, as class attributes,
    inputs: names that come from outside: images `x_<domain>`, and whatever is random;
    redrawn: the random ones that are drawn anew for the discriminators' fakes;
    mirror: two domains, for recipes that treat both alike: everything also exists exchanged;
    terms: the loss terms it knows, each a list of tuples of names that a criterion reads;
    critics: per domain what its discriminator tells apart;
    translations: per pair of domains how an image is translated;
    and defines the tensors by methods marked `@tensor`, in which `self.<domain>` are the networks
    of a domain. Its constructor fills `self.generators` (per domain a ModuleDict of networks) and
    `self.discriminators`.

    Images are (N, C, H, W) in [-1, 1], style codes (N, style_dim).
    """

    inputs: ClassVar[tuple[str, ...]] = ()
    redrawn: ClassVar[tuple[str, ...]] = ()
    mirror: ClassVar[tuple[str, str] | None] = None
    terms: ClassVar[Mapping[str, Sequence[Sequence[str]]]] = {}
    critics: ClassVar[Mapping[str, Critic]] = {}
    translations: ClassVar[Mapping[tuple[str, str], Translation]] = {}

    style_dim: int = 0
    stride: int = 1
    """Image sides are padded to a multiple of this for translation."""

    def __init__(self, domains: tuple[Domain, ...]) -> None:
        super().__init__()
        for _, message in self.check_config(tuple(domain.name for domain in domains), {}):
            raise GraphError(message)
        self.domains = domains
        self.generators = nn.ModuleDict()
        self.discriminators = nn.ModuleDict()

    # The graph

    @classmethod
    def graph(cls) -> Graph:
        """The recipe's named tensors. Raises GraphError where the recipe is inconsistent."""
        return _graph(cls)  # type: ignore[arg-type]  # mypy #6910: classes do hash

    @classmethod
    def check_config(
        cls,
        domains: tuple[str, ...],
        terms: Mapping[str, TermUse],
    ) -> Iterator[tuple[str, str]]:
        """What is wrong with domains and loss terms, as (dotted path, message).

        terms: per name how the config uses it.
        """
        graph = cls.graph()
        shown = [name[2:] for name in graph.inputs if name.startswith("x_")]
        if sorted(domains) != sorted(shown):
            want = " and ".join(name.upper() for name in shown)
            have = ", ".join(name.upper() for name in domains) or "none"
            yield "DOMAINS", f"{cls.__name__} translates between {want}; the config has {have}"
        for name, use in terms.items():
            path = f"LOSSES.{name.upper()}"
            for key, message in _term_problems(graph, name, use.criterion, use.pairs):
                yield f"{path}.{key}", message

    def views(self) -> tuple[Any, Any]:
        """The model as tensor methods see it: as it is, and with its domains exchanged."""
        plain = dict(self.generators.items())
        exchanged = dict(plain)
        if self.mirror is not None:
            a, b = self.mirror
            exchanged[a], exchanged[b] = plain[b], plain[a]
        return _View(self, plain), _View(self, exchanged)

    def noise_shape(self, name: str, sizes: Mapping[str, tuple[int, int]]) -> tuple[int, ...]:
        """Shape of one sample of a random input.

        name: as in `inputs`. sizes: per domain (h, w) of its images.
        """
        raise GraphError(
            f"{type(self).__name__} does not say how {name!r} is drawn: define "
            "noise_shape(name, sizes), which returns the shape of one sample"
        )

    def is_noise(self, name: str) -> bool:
        """Whether an input is drawn, not an image."""
        return not name.startswith("x_")

    # Translation

    @property
    def ways(self) -> tuple[tuple[str, str], ...]:
        """The (source, target) domains between which it translates."""
        return tuple(self.graph().translations)

    @torch.no_grad()
    def translate(
        self,
        x: Tensor,
        to: str,
        styles: int | Tensor = 1,
        *,
        source: str | None = None,
        paired: bool = False,
        generator: torch.Generator | None = None,
        chunk: int | None = None,
    ) -> Tensor:
        """Translations of images into the domain `to`.

        x: (N, C, H, W) in [-1, 1], any size: padded and cropped back.
        styles: a number K of styles drawn afresh for each image; codes (K, S) used for every image,
        or (N, K, S); or example images (K, C, H, W) of the target domain, encoded by its style
        encoder and used for every image (`paired`: one example an image, K = N).
        source: the images' domain, where there are more than two.
        generator: draws the styles (on CPU); the global one where none is given.
        chunk: images decoded at once; None for what suits the device.

        Returns (N, K, C, H, W) in [-1, 1]. A recipe without styles returns K = 1, whatever was
        asked for. Raises UsageError for a domain, shape or channel count that does not fit.
        """
        way = self.way(to, source)
        translation = self.graph().translations[way]
        x = self._images(x, way[0])
        count = len(x)
        plan = self.graph().plan((translation.output,))
        padded, size = self._pad(x)
        at_once = max(1, _chunk(padded) if chunk is None else chunk)
        values: dict[str, Tensor] = {
            name: padded.new_zeros(()) for name in plan.inputs if self.is_noise(name)
        }
        values[translation.source] = padded
        if translation.style is None:
            steps, codes = plan.main, padded.new_zeros((count, 1, 0))
            outputs = [
                self._run(steps, {**values, translation.source: part}, translation.output)
                for part in padded.split(at_once)
            ]
            images = torch.cat(outputs)
        else:
            codes = self._codes(styles, way[1], translation, count, paired, generator)
            codes = codes.to(padded)
            before, after = plan.split(translation.style)
            values = self._all(before, values)
            # what the style-dependent part reads of the rest is computed once an image
            read = {name for node in after for name in node.arguments}
            shared = {name: value for name, value in values.items() if name in read}
            kinds = codes.shape[1]
            flat = codes.flatten(0, 1)
            rows = torch.arange(count, device=x.device).repeat_interleave(kinds)
            outputs = []
            for part in torch.arange(len(flat), device=x.device).split(at_once):
                piece = {
                    name: value[rows[part]] if value.dim() else value
                    for name, value in shared.items()
                }
                piece[translation.style] = flat[part]
                outputs.append(self._run(after, piece, translation.output))
            images = torch.cat(outputs) if outputs else x.new_zeros((0, 1, *padded.shape[2:]))
        images = images[..., : size[0], : size[1]]
        return images.unflatten(0, (count, codes.shape[1]))

    @torch.no_grad()
    def reconstruct(self, x: Tensor, domain: str) -> Tensor:
        """Images of a domain, encoded and decoded by their own networks: (N, C, H, W)."""
        x = self._images(x, domain)
        padded, size = self._pad(x)
        plan = self.graph().plan((f"x_{domain}{domain}",))
        values = {name: padded.new_zeros(()) for name in plan.inputs}
        values[f"x_{domain}"] = padded
        names, _ = plan(self.views(), values)
        return names[f"x_{domain}{domain}"][..., : size[0], : size[1]]

    @torch.no_grad()
    def encode_style(self, x: Tensor, domain: str) -> Tensor:
        """Style codes (N, S) of images of a domain."""
        name = next(
            (t.encoded for t in self.graph().translations.values() if t.example == f"x_{domain}"),
            None,
        )
        if name is None:
            raise UsageError(f"{type(self).__name__} has no style to encode in domain {domain!r}")
        plan = self.graph().plan((name,))
        return plan(self.views(), {f"x_{domain}": self._images(x, domain)})[0][name]

    def sample_styles(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Style codes (count, S) drawn from the prior N(0, I), on the CPU."""
        return torch.randn(count, self.style_dim, generator=generator)

    def way(self, to: str, source: str | None = None) -> tuple[str, str]:
        """The (source, target) domains of a translation; the source may be left out where there is
        but one. Raises UsageError where there is no such way, or several."""
        ways = [way for way in self.graph().translations if way[1] == to]
        if source is not None:
            ways = [way for way in ways if way[0] == source]
        if len(ways) == 1:
            return ways[0]
        known = ", ".join(f"{s} to {t}" for s, t in self.graph().translations)
        asked = f"from {source!r} to {to!r}" if source else f"to {to!r}"
        why = "say from which domain (source=…)" if ways else "it cannot"
        raise UsageError(f"translate {asked}: {why}. This model translates {known}.")

    def _images(self, x: Tensor, domain: str) -> Tensor:
        channels = next(d.channels for d in self.domains if d.name == domain)
        if x.dim() != 4 or x.shape[1] != channels:
            single = x.dim() == 3 and x.shape[0] == channels
            hint = ". Add a batch dimension: x[None]" if single else ""
            raise UsageError(
                f"images of domain {domain!r} are (N, {channels}, H, W), got {tuple(x.shape)}{hint}"
            )
        reference = next(self.generators.parameters())
        return x.to(reference.device, reference.dtype)

    def _codes(
        self,
        styles: int | Tensor,
        domain: str,
        translation: Translation,
        count: int,
        paired: bool,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Style codes (N, K, S)."""
        if isinstance(styles, int):
            if styles < 1:
                raise UsageError(f"styles is a number of 1 or more, got {styles}")
            drawn = self.sample_styles(count * styles, generator)
            return drawn.unflatten(0, (count, styles))
        if isinstance(styles, Tensor) and styles.dim() == 4:
            codes = self.encode_style(styles, domain)
            if paired:
                if len(codes) != count:
                    raise UsageError(
                        f"paired: one example an image; got {len(codes)} examples, {count} images"
                    )
                return codes[:, None]
            return codes.expand(count, *codes.shape)
        shown = (
            f"a tensor of shape {tuple(styles.shape)}"
            if isinstance(styles, Tensor)
            else repr(styles)
        )
        if (
            isinstance(styles, Tensor)
            and styles.dim() in (2, 3)
            and styles.shape[-1] == self.style_dim
        ):
            if styles.dim() == 2:
                return styles.expand(count, *styles.shape)
            if len(styles) == count:
                return styles
        raise UsageError(
            f"styles is a number, codes (K, {self.style_dim}) or ({count}, K, {self.style_dim}), "
            f"or example images (K, C, H, W); got {shown}"
        )

    def _pad(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Images extended at the right and below to sizes that the networks take."""
        height, width = x.shape[2:]
        least = 2 * self.stride
        sides = [max(least, -(-side // self.stride) * self.stride) for side in (height, width)]
        amount = (0, sides[1] - width, 0, sides[0] - height)
        if any(amount):
            fits = sides[1] - width < width and sides[0] - height < height
            x = F.pad(x, amount, mode="reflect" if fits else "replicate")
        return x, (height, width)

    def _all(self, steps: Sequence[Any], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        views, values = self.views(), dict(values)
        for node in steps:
            values[node.name] = node.method(
                views[node.exchanged], *[values[name] for name in node.arguments]
            )
        return values

    def _run(self, steps: Sequence[Any], values: Mapping[str, Tensor], output: str) -> Tensor:
        return self._all(steps, values)[output]


def _chunk(x: Tensor) -> int:
    """Images to decode at once: what keeps a GPU busy, or stays in a CPU's caches."""
    if x.device.type != "cpu":
        return 16
    return 256 * 256 // (x.shape[2] * x.shape[3])


class _View:
    """A model as its tensor methods see it: each domain's networks by the domain's name."""

    def __init__(self, model: TranslationModel, networks: Mapping[str, nn.Module]) -> None:
        self.__dict__.update(networks)
        self.__dict__["_model"] = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_model"], name)


@cache
def _graph(recipe: type) -> Graph:
    return Graph(recipe)


def _term_problems(
    graph: Graph, name: str, criterion: Any, pairs: tuple[tuple[str, ...], ...] | None
) -> Iterator[tuple[str, str]]:
    """What is wrong with one loss term, as (key, message)."""
    contract, label = criterion.contract, criterion.__name__
    if contract != "pair":
        if pairs is not None:
            yield (
                "PAIRS",
                f"{label} is {contract}: it chooses what it reads itself; leave PAIRS out",
            )
        elif name in graph.terms:
            yield "NAME", f"the term {name.upper()} compares tensors; {label} is {contract}"
        if contract == "named":
            for problem in map(graph.unknown, getattr(criterion, "reads", ())):
                if problem:
                    yield "NAME", problem
    elif pairs is None and name not in graph.terms:
        known = ", ".join(term.upper() for term in graph.terms)
        yield (
            "PAIRS",
            f"is required, as in [[x_ab, x_a]]: {graph.recipe.__name__} itself knows only the "
            f"terms {known}",
        )
    else:
        arity = getattr(criterion, "arity", 2)
        for pair in pairs if pairs is not None else graph.terms[name]:
            if len(pair) != arity:
                yield (
                    "PAIRS" if pairs is not None else "NAME",
                    f"{label} reads {arity} tensor{'s' if arity != 1 else ''} at a time, "
                    f"got [{', '.join(pair)}]",
                )
            for problem in map(graph.unknown, pair):
                if problem:
                    yield "PAIRS", problem
