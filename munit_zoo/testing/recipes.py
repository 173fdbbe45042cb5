"""Recipes with inputs to feed them: one iteration of all their updates, on any loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from munit_zoo.data.seeding import draw
from munit_zoo.inputs import Draw, Image, Label
from munit_zoo.models import Graph, Objective, TranslationModel, Values
from munit_zoo.models.objective import reached_parameters, shape_of
from munit_zoo.models.outline import example_domains, own_terms, seen, side_of
from munit_zoo.models.plan import detached, run, straight
from munit_zoo.models.recipe import Entry, names_of
from munit_zoo.models.rehearsal import Look
from munit_zoo.models.views import views
from munit_zoo.registry import REGISTRIES
from munit_zoo.testing.subjects import build, fail

__all__ = ["Iteration", "computed_names", "random_inputs"]

BATCH = 2

Random = Callable[..., Tensor]


def random_inputs(
    model: TranslationModel, meta: Mapping[str, Tensor], batch: int, random: Random
) -> dict[str, Tensor]:
    """Values for the inputs of an iteration: images, labels and draws.

    meta: the inputs to make, of these shapes and dtypes; of a random one that is redrawn, each of
    its draws. batch: samples over all processes. random: makes an image of a shape.
    """
    made: dict[str, Tensor] = {}
    for slot, like in meta.items():
        spec = model.graph().inputs[slot.rstrip("'")]
        if isinstance(spec, Image):
            made[slot] = random(*like.shape)
            continue
        device = torch.empty(0).device
        if isinstance(spec, Draw):
            below = getattr(model, spec.below) if isinstance(spec.below, str) else spec.below
            value = draw(
                spec,
                tuple(like.shape[1:]),
                name=slot,
                seed=0,
                iteration=0,
                first=0,
                count=batch,
                batch_size=batch,
                below=below,
            )
        elif like.is_floating_point():
            value = torch.arange(like.numel()).view(like.shape) % 2  # attributes that an image has
        else:
            value = torch.arange(batch) % len(model.domains)
        made[slot] = value.to(device, like.dtype)
    return made


@dataclass(frozen=True)
class Iteration:
    """All updates of a recipe once, without steps, on plain losses of all that its terms read.

    model, objective: the recipe and its updates. inputs: to call it with. found: what a look at it
    on `meta` showed.

    Raises ConformanceError for a recipe that contradicts itself.
    """

    model: TranslationModel
    objective: Objective
    inputs: dict[str, Tensor]
    found: Look

    @classmethod
    def of(cls, name: str, settings: Mapping[str, Any], random: Random) -> Iteration:
        """A recipe by its name, on the default device."""
        model, found = _looked_at(name, settings)
        graph = model.graph()
        title = type(model).__name__
        if not graph.translations:
            fail(
                f"{title} declares no translations: set translations = "
                '{("a", "b"): Translation(source="x_a", output="x_ab")}'
            )
        for path, network in model.networks().items():
            last = path.rpartition(".")[2]
            named = {part for update in graph.updates for part in update.trains}
            if any(True for _ in network.parameters()) and not {path, last} & {
                *named,
                *model.fixed,
            }:
                fail(
                    f"no update trains the network {path!r}: name it in the `trains` of an update, "
                    "or in `fixed` where it is to stay as it is"
                )
        objective = Objective(
            model, own_terms(graph, found), calls=found.calls, stateful=found.impure
        )
        meta = {slot: found.values[slot.rstrip("'")] for slot in objective.inputs}
        return cls(model, objective, random_inputs(model, meta, BATCH, random), found)

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
        """The losses by update, and the values that they read by name."""
        device = next(iter(inputs.values())).device
        weights = {key: torch.ones((), device=device) for key in self.objective.weights(0, 1)}
        values, seen = Values(inputs), dict[str, Any]()
        losses: dict[str, Tensor] = {}
        for code in self.objective.codes(self.objective.pattern()):
            step = self.objective.steps[code.index]
            losses[self.objective.graph.updates[code.index].name], _ = step(code, values, weights)
            seen |= {
                read.slot.rstrip("'"): values.slots[read.slot]
                for loss in code.losses
                for read in loss.reads
                if not _is_class(self.objective.graph, read.slot.rstrip("'"))
            }
            values.forget(code)
        return {"losses": losses, "values": seen}

    def check(self, output: Mapping[str, Any]) -> None:
        """Raises ConformanceError where a term's entries, or a translation, are of wrong shapes."""
        graph, shapes = self.objective.graph, {**self.found.values, **output["values"]}
        for term, entries in _entries(graph).items():
            for entry in entries:
                if any(_is_class(graph, name) for name in names_of(entry)):
                    continue  # against logits, of another shape by their nature
                values = [shapes[name] for name in names_of(entry)]
                if len(values) > 2 or not all(isinstance(value, Tensor) for value in values):
                    continue  # more than two are no comparison of one with another
                if len({shape_of(value) for value in values}) > 1:
                    listed = ", ".join(f"{n} {shape_of(shapes[n])}" for n in names_of(entry))
                    fail(f"the term {term} compares different shapes: {listed}")
        for (source, target), translation in graph.translations.items():
            before, after = (
                shape_of(shapes[name]) for name in (translation.source, translation.output)
            )
            if (before[0], *before[2:]) != (after[0], *after[2:]):
                fail(
                    f"the translation {source} to {target} makes {after} of {before}: an image of "
                    "the same size is due"
                )

    def check_gradients(self) -> None:
        """Raises ConformanceError where an update reaches nothing of a network that it trains, or
        all together leave a parameter out."""
        planner, everything = self.objective.planner, set[int]()
        for index, loss in enumerate(self(self.inputs)["losses"].values()):
            update = self.objective.graph.updates[index]
            if not loss.requires_grad:
                fail(f"the update {update.name!r} has no gradient: is something detached?")
            reached = reached_parameters(loss)
            everything |= reached
            for path in planner.trains[index]:
                own = [p for p in planner.networks[path].parameters() if p.requires_grad]
                if own and reached.isdisjoint(map(id, own)):
                    fail(
                        f"no gradient of the update {update.name!r} reaches the network {path!r} "
                        "that it trains: do its terms read what that computes?"
                    )
        trained = {path for paths in planner.trains for path in paths}
        without = [
            f"{path}.{name}"
            for path in trained
            for name, p in planner.networks[path].named_parameters()
            if p.requires_grad and id(p) not in everything
        ]
        if without:
            fail(
                f"no gradient reaches {', '.join(sorted(without)[:5])}: use it in forward, or do "
                "not make it a parameter (register_buffer, requires_grad_(False))"
            )

    @torch.no_grad()
    def check_translations(self) -> None:
        """Raises ConformanceError where translating by name fails, or changes an image's size."""
        model = self.model.eval()
        for source, target in model.ways:
            domains = {domain.name: domain for domain in model.domains}
            side = side_of(model)
            x = torch.linspace(-1, 1, side * side).view(1, 1, side, side)
            x = x.expand(2, domains[source].channels, -1, -1)
            example = x[:1, :1].expand(-1, domains[target].channels, -1, -1)
            styles = 1 if model.draws_styles or not model.style_dim else example
            made = shape_of(model.translate(x, target, styles, source=source))
            if made != (2, 1, domains[target].channels, side, side):
                fail(f"translate({source} to {target}) makes {made} of {shape_of(x)}")


def computed_names(recipe: str, random: Random) -> dict[str, Any]:
    """Every name of a recipe, its inputs too, computed once and detached."""
    model, found = _looked_at(recipe, {})
    graph = model.graph()
    meta = {name: found.values[name] for name in graph.inputs if name in found.values}
    values: dict[str, Any] = random_inputs(model, meta, BATCH, random)
    with torch.no_grad():
        run(
            straight(graph, [n for n in graph.nodes if n in found.values], (), views(model)), values
        )
    return {name: detached(value) for name, value in values.items()}


def _looked_at(name: str, settings: Mapping[str, object]) -> tuple[TranslationModel, Look]:
    """A recipe on the default device, and what a look at its like on `meta` showed."""
    recipe: Any = REGISTRIES["model"].get(name)
    domains = example_domains(recipe)
    model = build("model", name, settings, domains)
    if not isinstance(model, TranslationModel):
        fail("is no TranslationModel; subclass munit_zoo.models.TranslationModel")
    with torch.device("meta"):
        found = seen(build("model", name, settings, domains), BATCH)
    return model, found


def _is_class(graph: Graph, name: str) -> bool:
    """Whether a name is a label that is a number, and so no floating-point tensor."""
    spec = graph.inputs.get(name)
    return isinstance(spec, Label) and spec.attributes is None


def _entries(graph: Graph) -> dict[str, list[Entry]]:
    return {
        term: [entry for some in updates.values() for entry in some]
        for term, updates in graph.terms.items()
    }
