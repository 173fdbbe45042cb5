"""Translating with a recipe: sizes, styles and memory, around the plan of its graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from munit_zoo.domains import Domain
from munit_zoo.errors import UsageError
from munit_zoo.models.graph import Graph
from munit_zoo.models.plan import Operation, run, straight
from munit_zoo.models.recipe import ANY, Translation
from munit_zoo.models.views import views

__all__ = ["Translator", "Way"]


@dataclass(frozen=True)
class Way:
    """A translation between two domains of a model."""

    source: Domain
    target: Domain
    translation: Translation


class Translator:
    """How a model translates: what `TranslationModel.translate` and its neighbours do.

    model: a recipe's instance. Nothing is kept between calls.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.graph: Graph = model.graph()

    # Ways

    def ways(self) -> list[Way]:
        """All (source, target) pairs between which it translates."""
        named = {domain.name: domain for domain in self.model.domains}
        found = []
        for (source, target), translation in self.graph.translations.items():
            if source == target == ANY:
                found += [
                    Way(s, t, translation)
                    for s in named.values()
                    for t in named.values()
                    if s is not t
                ]
            else:
                letters = self.model.letters
                found.append(Way(letters[source], letters[target], translation))
        return found

    def way(self, to: str, source: str | None = None) -> Way:
        """The way to a domain. Raises UsageError where there is none, or several that differ."""
        for word in filter(None, (to, source)):
            self.domain(word)
        ways = [way for way in self.ways() if way.target.name == to]
        if source is not None:
            ways = [way for way in ways if way.source.name == source]
        if len(ways) == 1 or (ways and ways[0].translation.label is not None):
            return ways[0]  # a network told its target does not ask where an image is from
        known = ", ".join(f"{w.source.name} to {w.target.name}" for w in self.ways())
        asked = f"from {source!r} to {to!r}" if source else f"to {to!r}"
        why = "say from which domain (source=…)" if ways else "it cannot"
        raise UsageError(f"translate {asked}: {why}. This model translates {known}.")

    def way_into(self, to: str) -> Way:
        """A way to a domain, from whichever. Raises UsageError where there is none."""
        target = self.domain(to)
        for way in self.ways():
            if way.target == target:
                return way
        raise UsageError(f"{type(self.model).__name__} does not translate to {to!r}")

    def domain(self, name: str) -> Domain:
        """A domain by its name. Raises UsageError for an unknown one."""
        domains: tuple[Domain, ...] = self.model.domains
        for domain in domains:
            if domain.name == name:
                return domain
        names = ", ".join(domain.name for domain in domains)
        lower = [d.name for d in domains if d.name == str(name).lower()]
        hint = f" Write {lower[0]!r}: names of domains are lower case in Python." if lower else ""
        raise UsageError(f"the model has no domain {name!r}; it has {names}.{hint}")

    # Translations

    def translate(
        self,
        x: Tensor,
        way: Way,
        styles: int | Tensor,
        *,
        latents: Tensor | None,
        paired: bool,
        generator: torch.Generator | None,
        chunk: int | None,
    ) -> Tensor:
        """As `TranslationModel.translate`."""
        translation = way.translation
        x = self.images(x, way.source)
        padded, size = self.pad(x)
        at_once = _at_once(padded, chunk)
        if translation.style is None:
            self._no_styles(styles, latents, paired)
            operations = self._operations((translation.output,), (translation.source,))
            outputs = [
                self.run(operations, {translation.source: part}, way)[translation.output][:, None]
                for part in padded.split(at_once)
            ]
        else:
            codes = self.codes(styles, way, len(x), latents, paired, generator, at_once)
            codes = codes.to(padded)
            outputs = [
                self._in_styles(part, code, way, at_once)
                for part, code in zip(padded.split(at_once), codes.split(at_once), strict=True)
            ]
        images = torch.cat(outputs)
        return images[..., : size[0], : size[1]]

    def _in_styles(self, x: Tensor, codes: Tensor, way: Way, at_once: int) -> Tensor:
        """Some images, each in its K styles (n, K, S): (n, K, C, H, W)."""
        translation = way.translation
        style = str(translation.style)
        before, after = self.halves(way)
        values = self.run(before, {translation.source: x}, way)
        # what the style-dependent part reads of the rest is computed once an image
        read = {r.slot for operation in after for r in operation.reads}
        shared = {name: value for name, value in values.items() if name in read}
        count, kinds = codes.shape[:2]
        flat = codes.flatten(0, 1)
        rows = torch.arange(count, device=x.device).repeat_interleave(kinds)
        outputs = []
        for part in torch.arange(len(flat), device=x.device).split(at_once):
            piece = {name: _rows(value, rows[part], count) for name, value in shared.items()}
            piece[style] = flat[part]
            outputs.append(self.run(after, piece, way)[translation.output])
        translations: Tensor = torch.cat(outputs).unflatten(0, (count, kinds))
        return translations

    def reconstruct(self, x: Tensor, domain: Domain) -> Tensor:
        """As `TranslationModel.reconstruct`."""
        ways = [way for way in self.ways() if way.source == domain]
        way = next((w for w in ways if w.translation.reconstruction is not None), None)
        if way is None:
            raise UsageError(
                f"{type(self.model).__name__} has no reconstruction of domain {domain.name!r}: it "
                "does not encode and decode images of one domain"
            )
        x = self.images(x, domain)
        padded, size = self.pad(x)
        name = str(way.translation.reconstruction)
        operations = self._operations((name,), (way.translation.source,))
        outputs = [
            self.run(operations, {way.translation.source: part}, way)[name]
            for part in padded.split(_at_once(padded, None))
        ]
        return torch.cat(outputs)[..., : size[0], : size[1]]

    # Styles

    def codes(
        self,
        styles: int | Tensor,
        way: Way,
        count: int,
        latents: Tensor | None,
        paired: bool,
        generator: torch.Generator | None,
        at_once: int,
    ) -> Tensor:
        """Style codes (N, K, S), of a number, of codes, of latents or of example images."""
        if latents is not None:
            if styles != 1 or paired:
                raise UsageError("give styles or latents, not both; paired goes with examples")
            return self._each(self.mapped(latents, way), count, "latents")
        if isinstance(styles, bool) or not isinstance(styles, (int, Tensor)):
            raise UsageError(
                f"{self._wanted(count)}; got {_shown(styles)}{_as_tensor(styles, 'styles')}"
            )
        if isinstance(styles, int):
            if styles < 1:
                raise UsageError(f"styles is a number of 1 or more, got {styles}")
            if paired:
                raise UsageError("paired: goes with example images, one an image")
            drawn = self.drawn(count * styles, way, generator)
            return drawn.reshape(count, styles, -1)
        if styles.dim() == 4:
            codes = self.encoded(styles, way, at_once)
            if paired:
                if len(codes) != count:
                    raise UsageError(
                        f"paired: one example an image; got {len(codes)} examples, {count} images"
                    )
                return codes[:, None]
            return self._each(codes, count, "styles")
        if paired:
            raise UsageError(
                "paired: goes with example images, one an image; of codes write (N, 1, S)"
            )
        return self._each(styles, count, "styles")

    def drawn(self, count: int, way: Way, generator: torch.Generator | None) -> Tensor:
        """Style codes (count, S) of latents drawn from the prior."""
        latents = torch.randn(count, self.latent_dim(way), generator=generator)
        return self.mapped(latents, way)

    def has_prior(self, way: Way) -> bool:
        """Whether styles can be drawn for a way."""
        spec = self.graph.draws.get(str(way.translation.latent or way.translation.style))
        return spec is not None and spec.kind == "normal"

    def latent_dim(self, way: Way) -> int:
        """Length of the vector that a style is drawn as."""
        latent = way.translation.latent or way.translation.style
        spec = self.graph.draws.get(str(latent))
        if spec is None or spec.kind != "normal":
            raise UsageError(
                f"{type(self.model).__name__} draws no styles: give codes or example images"
            )
        (length,) = self.model.shape_of_draw(spec)
        return int(length)

    def mapped(self, latents: Tensor, way: Way) -> Tensor:
        """The style codes that latents (…, L) stand for."""
        translation = way.translation
        latent, style = translation.latent, str(translation.style)
        if latent is None or latent == style:
            return latents
        length = self.latent_dim(way)
        if latents.shape[-1] != length:
            raise UsageError(f"latents are (K, {length}), got {tuple(latents.shape)}")
        flat = latents.reshape(-1, length).to(self.model.device, self.model.dtype)
        operations = self._operations((style,), (latent,))
        codes: Tensor = self.run(operations, {latent: flat}, way)[style]
        each: Tensor = codes.unflatten(0, latents.shape[:-1])
        return each

    def encoded(self, x: Tensor, way: Way, at_once: int | None = None) -> Tensor:
        """Style codes (K, S) of example images of the target domain."""
        translation = way.translation
        if translation.example is None or translation.encoded is None:
            raise UsageError(
                f"{type(self.model).__name__} has no style to encode in domain {way.target.name!r}"
            )
        x = self.images(x, way.target)
        operations = self._operations((translation.encoded,), (translation.example,))
        parts = x.split(at_once or _at_once(x, None))
        return torch.cat(
            [
                self.run(operations, {translation.example: part}, way)[translation.encoded]
                for part in parts
            ]
        )

    def _each(self, codes: Tensor, count: int, what: str) -> Tensor:
        """Codes for each image: (K, S) for all of them, or (N, K, S)."""
        dim = self.model.style_dim
        if codes.dim() in (2, 3) and codes.shape[-1] == dim and codes.shape[-2]:
            if codes.dim() == 2:
                return codes.expand(count, *codes.shape)
            if len(codes) == count:
                return codes
        raise UsageError(f"{self._wanted(count, what)}; got {_shown(codes)}")

    def _wanted(self, count: int, what: str = "styles") -> str:
        dim = self.model.style_dim
        return (
            f"{what} is a number, codes (K, {dim}) or ({count}, K, {dim}), "
            "or example images (K, C, H, W)"
        )

    def _no_styles(self, styles: object, latents: Tensor | None, paired: bool) -> None:
        if isinstance(styles, Tensor) or latents is not None or paired:
            raise UsageError(
                f"{type(self.model).__name__} has no styles: one image, one translation; leave "
                "styles, latents and paired out"
            )

    # Images

    def images(self, x: Tensor, domain: Domain) -> Tensor:
        """Images on the model's device, in its dtype. Raises UsageError for what are none."""
        if not isinstance(x, Tensor):
            raise UsageError(
                f"images are a torch tensor (N, C, H, W), got {_shown(x)}{_as_tensor(x, 'x')}"
            )
        channels = domain.channels
        if x.dim() != 4 or x.shape[1] != channels:
            single = x.dim() == 3 and x.shape[0] == channels
            hint = ". Add a batch dimension: x[None]" if single else ""
            last = x.dim() == 4 and x.shape[-1] == channels
            if channels in (1, 3) and x.dim() == 4 and not hint and x.shape[1] in (1, 2, 3, 4):
                kind = {1: "gray", 3: "rgb"}[channels]
                hint = f". From a file: mz.read_image(path, convert={kind!r})"
            hint = ". Put the channels second: x.permute(0, 3, 1, 2)" if last else hint
            raise UsageError(
                f"images of domain {domain.name!r} are (N, {channels}, H, W), "
                f"got {tuple(x.shape)}{hint}"
            )
        if not x.numel():
            raise UsageError(f"there is no image in a batch of the shape {tuple(x.shape)}")
        if not x.is_floating_point():
            raise UsageError(
                f"images are floating-point numbers in [-1, 1], got {x.dtype}: for 0 to 255 write "
                "x / 127.5 - 1"
            )
        if x.device.type != "meta" and not torch.compiler.is_compiling():
            low, high = float(x.detach().amin()), float(x.detach().amax())
            if high > 2 or low < -2:  # a network's own output may be a little outside
                raise UsageError(
                    f"images are in [-1, 1], got values from {low:.4g} to {high:.4g}: for 0 to "
                    "255 write x / 127.5 - 1"
                )
        return x.to(self.model.device, self.model.dtype)

    def pad(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Images extended at the right and below to sizes that the networks take."""
        stride: int = self.model.stride
        height, width = x.shape[2:]
        least: int = self.model.smallest or 2 * stride
        sides = [max(least, -(-side // stride) * stride) for side in (height, width)]
        amount = (0, sides[1] - width, 0, sides[0] - height)
        if any(amount):
            fits = sides[1] - width < width and sides[0] - height < height
            x = F.pad(x, amount, mode="reflect" if fits else "replicate")
        return x, (height, width)

    # Running

    def halves(self, way: Way) -> tuple[list[Operation], list[Operation]]:
        """What a translation computes without its style, once an image, and what it computes of
        both."""
        style = str(way.translation.style)
        given = (way.translation.source, style)
        return _split(self._operations((way.translation.output,), given), style)

    def _operations(self, want: Sequence[str], given: Sequence[str]) -> list[Operation]:
        return straight(self.graph, want, given, views(self.model))

    def run(
        self, operations: Sequence[Operation], values: Mapping[str, Any], way: Way
    ) -> dict[str, Any]:
        """The values, and what operations compute of them."""
        first = next(v for v in values.values() if isinstance(v, Tensor) and v.dim())
        known = self._with_inputs(operations, values, way, len(first))
        run(operations, known)
        return known

    def _with_inputs(
        self, operations: Sequence[Operation], values: Mapping[str, object], way: Way, count: int
    ) -> dict[str, object]:
        """The values, with what else of the inputs the operations read: the target's label, and
        draws at what a translation gives them (0 where it does not say)."""
        known = dict(values)
        device, dtype = self.model.device, self.model.dtype
        for name in dict.fromkeys(r.slot for operation in operations for r in operation.reads):
            if name in known or name not in self.graph.inputs:
                continue
            if name == way.translation.label:
                number = [d.name for d in self.model.domains].index(way.target.name)
                known[name] = torch.full((count,), number, device=device)
            elif name in self.graph.draws:
                value = way.translation.given.get(name, 0.0)
                known[name] = torch.full((), value, device=device, dtype=dtype)
        return known


def _split(operations: Sequence[Operation], style: str) -> tuple[list[Operation], list[Operation]]:
    """The operations that do not depend on the style, and those that do."""
    depends = {style}
    before: list[Operation] = []
    after: list[Operation] = []
    for operation in operations:
        if depends.isdisjoint(read.slot for read in operation.reads):
            before.append(operation)
        else:
            depends.add(operation.slot)
            after.append(operation)
    return before, after


def _rows(value: Any, rows: Tensor, count: int) -> object:
    """The rows of a value that has one an image; of lists, of each of their tensors."""
    if isinstance(value, Tensor):
        return value[rows] if value.dim() and len(value) == count else value
    return [_rows(part, rows, count) for part in value]


def _at_once(x: Tensor, chunk: int | None) -> int:
    """Images to compute at once: what keeps a GPU busy, or stays in a CPU's caches."""
    if chunk is not None:
        return max(1, chunk)
    if x.device.type != "cpu":
        return 16
    return max(1, 256 * 256 // (x.shape[2] * x.shape[3]))


def _shown(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__module__}.{type(value).__name__} of shape {tuple(value.shape)}"
    return repr(value)


def _as_tensor(value: object, name: str) -> str:
    """How to make a tensor of what was given, where one can."""
    if hasattr(value, "__array__"):
        return f": write torch.from_numpy({name})"
    return ""
