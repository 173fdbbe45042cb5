"""From a resolved config to a model and its objective, tried on the `meta` device first."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from munit_zoo.config import (
    Config,
    bind,
    domains_of,
    engine_settings,
    names_of,
    network_problems,
    update_settings,
)
from munit_zoo.errors import ConfigError, ContractError, GraphError, MunitZooError, Problem, suggest
from munit_zoo.models.augmenting import augment, augmented_nodes, judges, see_through
from munit_zoo.models.base import TranslationModel
from munit_zoo.models.objective import (
    Objective,
    Term,
    UpdateOptions,
    check_shapes,
    reached_parameters,
    shape_of,
)
from munit_zoo.models.rehearsal import (
    Look,
    Sizes,
    check_effect,
    check_logits,
    check_recomputing,
    check_sharing,
    draw_shapes,
    look,
    meta_inputs,
    simulate,
)
from munit_zoo.registry import LOSSES

__all__ = [
    "Rehearsal",
    "assemble",
    "create_model",
    "create_terms",
    "rehearse",
    "smallest_size",
]


@dataclass(frozen=True)
class Rehearsal:
    """What a step on the `meta` device showed: nothing was computed, all shapes were run.

    shapes: of every name that can be computed, for one process's batch.
    draws: shape of one sample of each random input.
    unreached: parameters that no active term reaches; they are frozen.
    partial: whether some update leaves parameters of its networks without a gradient.
    parameters: number of parameters by network.
    translating: paths of the networks that translations call.
    objective: the shadow's, for its plan.
    """

    shapes: dict[str, Any]
    draws: dict[str, tuple[int, ...]]
    unreached: tuple[str, ...]
    partial: bool
    parameters: dict[str, int]
    translating: tuple[str, ...]
    objective: Objective
    found: Look

    def unreached_networks(self) -> list[str]:
        """The unreached parameters by the network they belong to, with their number."""
        networks = list(self.objective.planner.networks)
        groups: dict[str, int] = {}
        for name in self.unreached:
            owner = next((n for n in networks if name.startswith(f"{n}.")), name)
            groups[owner] = groups.get(owner, 0) + 1
        return [f"{owner} ({count} tensors)" for owner, count in groups.items()]


def create_model(config: Config) -> TranslationModel:
    """The model that a config describes, with fresh weights, on the current default device."""
    model: TranslationModel = bind("model", config.MODEL, "MODEL")(domains_of(config))
    for node in config.LOSSES.values():  # of which some may name what is derived
        for name in (name for pair in node.PAIRS or () for name in pair):
            model.graph().admit(name)
    if config.AUGMENT.NAME != "none":
        augment(model, bind("augmentation", config.AUGMENT, "AUGMENT"), _augmented(config, model))
    return model


def _augmented(config: Config, model: TranslationModel) -> list[str]:
    """The discriminators that AUGMENT is for.

    Raises ConfigError for a name of AUGMENT.NETWORKS that means none of them.
    """
    paths, chosen = judges(model), config.AUGMENT.NETWORKS
    if chosen is None:
        return paths
    known = list(dict.fromkeys(name for path in paths for name in reversed(names_of(path))))
    for name in chosen:
        if name.upper() not in known:
            hint = suggest(name, known) or f"It has: {', '.join(known)}."
            message = f"{config.MODEL.NAME} has no discriminator {name!r}. {hint}"
            raise ConfigError([Problem("AUGMENT.NETWORKS", message)])
    wanted = {name.upper() for name in chosen}
    return [path for path in paths if wanted & set(names_of(path))]


def create_terms(config: Config, shapes: Mapping[str, object]) -> list[Term]:
    """The config's loss terms of non-zero weight.

    shapes: of the recipe's names, for criteria that ask for them (wired `shapes`).
    """
    terms = []
    for key, node in config.LOSSES.items():
        if not node.WEIGHT and not node.CRITIC_WEIGHT:
            continue
        factory = bind("loss", node, f"LOSSES.{key}")
        wired = LOSSES.signature(node.NAME).wired
        criterion = factory(shapes) if "shapes" in wired else factory()
        schedule = bind("schedule", node.SCHEDULE, f"LOSSES.{key}.SCHEDULE")()
        constant = node.SCHEDULE.NAME == "constant"
        terms.append(
            Term(
                key.lower(),
                criterion,
                node.WEIGHT,
                node.CRITIC_WEIGHT,
                node.PAIRS,
                node.UPDATES,
                None if constant else schedule.factor,
                node.EVERY,
            )
        )
    return terms


def create_objective(
    config: Config, model: TranslationModel, terms: list[Term], found: Look
) -> Objective:
    """The updates of a model with a config's terms and options.

    Raises ConfigError for an option of an update, or of a network, that the recipe does not have.
    """
    names = [update.name for update in model.graph().updates]
    problems = []
    options = {}
    for name, settings in update_settings(config).items():
        options[name] = UpdateOptions(settings.every, settings.clip, settings.clip_total)
        if name not in names:
            hint = suggest(name, names) or f"It has: {', '.join(names)}."
            message = f"{type(model).__name__} has no update of this name. {hint}"
            problems.append(Problem(f"UPDATES.{name.upper()}", message))
    criteria = [t.name for t in terms if _trained(t.criterion)]
    problems += network_problems(config, model.networks(), criteria)
    if problems:
        raise ConfigError(problems)
    engine = engine_settings(config)
    objective = Objective(
        model,
        terms,
        calls=found.calls,
        share=engine.share,
        options=options,
        recompute=engine.recompute,
        stateful=found.impure,
    )
    _check_trained(model, objective)
    return objective


def _trained(criterion: object) -> bool:
    return isinstance(criterion, nn.Module) and any(p.requires_grad for p in criterion.parameters())


def _check_trained(model: TranslationModel, objective: Objective) -> None:
    """Raises GraphError for an update that has nothing to train, and for a network that no update
    trains and that is not said to be fixed."""
    networks = model.networks()
    for update, paths in zip(objective.graph.updates, objective.planner.trains, strict=True):
        if not any(True for path in paths for _ in networks[path].parameters()):
            raise GraphError(
                f"{type(model).__name__}: the update {update.name!r} trains {', '.join(paths)}, "
                f"and {type(networks[paths[0]]).__name__} has nothing to train: choose another"
            )
    trained = {path for paths in objective.planner.trains for path in paths}
    for path, network in model.networks().items():
        if path in trained or {path, path.rpartition(".")[2]} & set(model.fixed):
            continue
        if any(True for _ in network.parameters()):
            raise GraphError(
                f"{type(model).__name__}: no update trains the network {path!r}; name it in the "
                "`trains` of an update, or in `fixed` where it is to stay as it is"
            )


def rehearse(config: Config, sizes: Sizes, *, processes: int = 1) -> Rehearsal:
    """Run the shapes of one iteration of a config, on the `meta` device.

    sizes: per domain (h, w) of its training images. processes: that share a batch.
    Raises GraphError that says at which size and why a step cannot be computed, ContractError
    where a component does not keep its contract or cannot be built with its settings, and
    ConfigError where there is nothing to train or ENGINE.SHARE does not go with the networks.
    """
    engine = engine_settings(config)
    batch = max(1, engine.batch_size // processes)  # a batch norm may need more than one
    with torch.device("meta"):
        shadow = create_model(config)
    found = look(shadow, sizes, batch)
    if config.AUGMENT.NAME != "none":
        see_through(shadow, augmented_nodes(shadow, found))
        found = look(shadow, sizes, batch)
    failure = next(iter(found.failures.values()), None)
    shapes = {name: shape_of(value) for name, value in found.values.items()}
    try:
        terms = create_terms(config, shapes)
    except MunitZooError:
        if failure is None:
            raise
        raise GraphError(_failure(sizes, failure, shadow.stride)) from failure
    if not terms:
        problem = Problem("LOSSES", "has no term of non-zero weight: there is nothing to train")
        raise ConfigError([problem])
    objective = create_objective(config, shadow, [_on_meta(term) for term in terms], found)
    everything: set[int] = set()
    partial = False
    try:
        needed = objective.graph.needs(n for uses in objective.uses for u in uses for n in u.entry)
        for name in objective.graph.names:
            if name in needed and name in found.failures:
                raise found.failures[name]
        check_logits(objective, found)
        check_effect(objective, found.calls)
        check_shapes(objective, shapes)
        check_sharing(objective, found.calls, found.impure)
        if engine.recompute:
            check_recomputing(objective, found.calls, found.impure)
        env = meta_inputs(objective, found.values)
        missing: list[set[int]] = []
        for index, loss in simulate(objective, env):
            reached = reached_parameters(loss)
            everything |= reached
            own = {id(p) for p in objective.steps[index].parameters() if p.requires_grad}
            missing.append(own - reached)
        partial = any(some & everything for some in missing)
    except (ContractError, ConfigError):
        raise
    except Exception as error:
        raise GraphError(_failure(sizes, error, shadow.stride)) from error
    # what a network holds fixed is none that a term should reach
    unreached = tuple(
        n for n, p in shadow.named_parameters() if p.requires_grad and id(p) not in everything
    )
    parameters = {
        path: sum(p.numel() for p in network.parameters())
        for path, network in shadow.networks().items()
    }
    return Rehearsal(
        shapes,
        draw_shapes(shadow, found),
        unreached,
        partial,
        parameters,
        found.translating,
        objective,
        found,
    )


def _on_meta(term: Term) -> Term:
    criterion = copy.deepcopy(term.criterion)
    if isinstance(criterion, nn.Module):
        criterion = criterion.to("meta")
    fields = {name: getattr(term, name) for name in Term.__dataclass_fields__}
    return Term(**{**fields, "criterion": criterion})


def assemble(
    config: Config, sizes: Sizes, *, processes: int = 1
) -> tuple[TranslationModel, Objective, Rehearsal]:
    """The model and its objective, on the CPU with weights drawn under ENGINE.SEED.

    sizes, processes: as `rehearse` takes them.
    Parameters that no active term reaches are frozen. The global random state is left as it was.
    Raises as `rehearse` does.
    """
    rehearsal = rehearse(config, sizes, processes=processes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(engine_settings(config).seed)
        model = create_model(config)
        terms = create_terms(config, rehearsal.shapes)
    model.take_graph(rehearsal.objective.graph)
    for name in rehearsal.unreached:
        model.get_parameter(name).requires_grad_(False)
    return model, create_objective(config, model, terms, rehearsal.found), rehearsal


def smallest_size(config: Config, *, limit: int = 2048) -> int | None:
    """Side of the smallest square training image that a config can take; None up to `limit`."""

    def works(side: int) -> bool:
        try:
            rehearse(config, {domain.name: (side, side) for domain in domains_of(config)})
        except GraphError:
            return False
        return True

    with torch.device("meta"):
        step = create_model(config).stride
    upper = step
    while not works(upper):
        upper *= 2
        if upper > limit:
            return None
    lower = upper // 2
    while upper - lower > step:  # `lower` fails, `upper` works; both are multiples of the stride
        middle = (lower + upper) // 2 // step * step
        lower, upper = (lower, middle) if works(middle) else (middle, upper)
    return upper


def _failure(sizes: Sizes, error: BaseException, stride: int) -> str:
    """Why a step cannot be computed: sides that do not fit the networks, else what was raised."""
    message = f"a training step cannot be computed for images of {_listed(sizes)}: "
    fitting = {
        name: (-(-h // stride) * stride, -(-w // stride) * stride) for name, (h, w) in sizes.items()
    }
    hint = f"their sides must be multiples of {stride} (the networks' stride): {_listed(fitting)}"
    if isinstance(error, MunitZooError):
        return message + (str(error) if fitting == dict(sizes) else f"{error}. T{hint[1:]}")
    if fitting != dict(sizes):  # which is why, and what torch says of it helps nobody
        return message + hint
    # torch raises sentences; a KeyError is only a word
    told = isinstance(error, (RuntimeError, ValueError))
    return message + (str(error) if told else f"{type(error).__name__}: {error}")


def _listed(sizes: Sizes) -> str:
    return ", ".join(f"{name.upper()} {h}×{w}" for name, (h, w) in sizes.items())
