"""From a resolved config to a model and its objective, tried on the `meta` device first."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from munit_zoo.config import Config, bind, domains_of
from munit_zoo.errors import ConfigError, ContractError, GraphError, MunitZooError, Problem
from munit_zoo.models.base import TranslationModel
from munit_zoo.models.graph import Share
from munit_zoo.models.objective import Objective, Term, check_shapes, reached_parameters, shape_of
from munit_zoo.models.sharing import Impurities, impurities

__all__ = [
    "Rehearsal",
    "assemble",
    "create_model",
    "meta_inputs",
    "rehearse",
    "smallest_size",
]

Sizes = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Rehearsal:
    """What a step on the `meta` device showed: nothing was computed, all shapes were run.

    shapes: of every name that is computed, for one process's batch.
    unreached: parameters that no active term reaches; they are frozen.
    parameters: number of parameters of the generators and of the discriminators.
    objective: the shadow's, for its plan.
    """

    shapes: dict[str, tuple[int, ...]]
    unreached: tuple[str, ...]
    parameters: tuple[int, int]
    objective: Objective

    def unreached_networks(self) -> list[str]:
        """The unreached parameters by the network they belong to, with their number."""
        groups: dict[str, int] = {}
        for name in self.unreached:
            owner = ".".join(name.split(".")[:3])
            groups[owner] = groups.get(owner, 0) + 1
        return [f"{owner} ({count} tensors)" for owner, count in groups.items()]


def create_model(config: Config) -> TranslationModel:
    """The model that a config describes, with fresh weights, on the current default device."""
    model: TranslationModel = bind("model", config.MODEL, "MODEL")(domains_of(config))
    return model


def create_terms(config: Config, shapes: Mapping[str, tuple[int, ...]]) -> list[Term]:
    """The config's loss terms of non-zero weight.

    shapes: of the recipe's names, for criteria that ask for them (wired `shapes`).
    """
    known = bind("model", config.MODEL).component.graph().terms  # type: ignore[attr-defined]
    terms = []
    for key, node in config.LOSSES.items():
        if node.WEIGHT == 0:
            continue
        name = key.lower()
        factory = bind("loss", node, f"LOSSES.{key}")
        wired = signature_wired(node.NAME)
        criterion = factory(shapes) if "shapes" in wired else factory()
        pairs = node.PAIRS if node.PAIRS is not None else known.get(name)
        terms.append(Term(name, criterion, node.WEIGHT, pairs))
    return terms


def sharing(config: Config) -> Share:
    """ENGINE.SHARE as the graph calls it."""
    share: Share = config.ENGINE.SHARE
    return "content" if config.ENGINE.SHARE == "derived" else share


def signature_wired(loss: str) -> tuple[str, ...]:
    """Wired parameters of a loss."""
    from munit_zoo.registry import LOSSES

    return LOSSES.signature(loss).wired


def rehearse(config: Config, sizes: Sizes, *, processes: int = 1) -> Rehearsal:
    """Run the shapes of one training step of a config, on the `meta` device.

    sizes: per domain (h, w) of its training images. processes: that share a batch.
    Raises GraphError that says at which size and why a step cannot be computed, ContractError
    where a component does not keep its contract or cannot be built with its settings, and
    ConfigError where there is nothing to train or ENGINE.SHARE does not go with the generators.
    """
    batch = max(1, config.ENGINE.BATCH_SIZE // processes)  # a batch norm may need more than one
    with torch.device("meta"):
        shadow = create_model(config)
    graph = shadow.graph()
    failure: Exception | None = None
    try:
        env = meta_inputs(shadow, sizes, [*graph.inputs], batch)
        everything = graph.plan(graph.nodes)
        values, _ = everything(shadow.views(), env)
        shapes = {name: shape_of(value) for name, value in {**env, **values}.items()}
    except Exception as error:
        # A name that no term reads may well be impossible (a cycle where sizes differ)
        shapes, failure = {}, error
    try:
        terms = create_terms(config, shapes)
    except MunitZooError:
        if failure is None:
            raise
        raise GraphError(_failure(sizes, failure, shadow.stride)) from failure
    if not terms:
        problem = Problem("LOSSES", "has no term of non-zero weight: there is nothing to train")
        raise ConfigError([problem])
    shadows = [
        Term(t.name, copy.deepcopy(t.criterion).to("meta"), t.weight, t.pairs) for t in terms
    ]
    objective = Objective(shadow, shadows, share=sharing(config))
    try:
        env = meta_inputs(shadow, sizes, objective.plan.inputs, batch)
        with impurities(shadow.generators) as found:
            names, fakes = objective.generators(env)
        check_shapes(objective.terms, {**env, **names})
        _check_logits(shadow, {**env, **names})
        total, _ = objective.losses(names, shadow.discriminators)
        reached = reached_parameters(total)
        discriminator_ids = {id(p) for p in shadow.discriminators.parameters()}
        reached -= discriminator_ids
        if objective.has_critics:
            reached |= reached_parameters(objective.critics(fakes, env)[0])
    except ContractError:
        raise
    except Exception as error:
        raise GraphError(_failure(sizes, error, shadow.stride)) from error
    if found and objective.has_critics:
        _check_sharing(config.ENGINE.SHARE, found)
    shapes |= {name: shape_of(value) for name, value in {**env, **names}.items()}
    unreached = tuple(n for n, p in shadow.named_parameters() if id(p) not in reached)
    count = tuple(
        sum(p.numel() for p in part.parameters())
        for part in (shadow.generators, shadow.discriminators)
    )
    return Rehearsal(shapes, unreached, (count[0], count[1]), objective)


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
        torch.manual_seed(config.ENGINE.SEED)
        model = create_model(config)
        terms = create_terms(config, rehearsal.shapes)
    for name in rehearsal.unreached:
        model.get_parameter(name).requires_grad_(False)
    return model, Objective(model, terms, share=sharing(config)), rehearsal


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


def meta_inputs(
    model: TranslationModel, sizes: Sizes, names: list[str] | tuple[str, ...], batch: int = 1
) -> dict[str, Tensor]:
    """Inputs of the right shapes, on `meta`."""
    env = {}
    for name in names:
        if model.is_noise(name):
            shape = model.noise_shape(name, sizes)
        else:
            domain = next(d for d in model.domains if f"x_{d.name}" == name)
            shape = (domain.channels, *sizes[domain.name])
        env[name] = torch.empty((batch, *shape), device="meta")
    return env


def _check_logits(model: TranslationModel, values: Mapping[str, Tensor]) -> None:
    """Raises ContractError where a discriminator that judges one of `values` returns no list."""
    for domain, critic in model.graph().critics.items():
        if critic.fake not in values:
            continue
        discriminator = model.discriminators[domain]
        logits = discriminator(values[critic.fake])
        if not isinstance(logits, list):
            raise ContractError(
                f"the discriminator {type(discriminator).__name__} returns "
                f"{type(logits).__name__}; a list of logits is due, one tensor a scale"
            )


def _check_sharing(share: str, found: Impurities) -> None:
    """Raises ConfigError where the steps share what generators with state or chance made."""
    if share != "none":
        message = (
            f"is {share}: both steps would share one forward of the generators, but {found}. "
            "Set ENGINE.SHARE=none, which runs them for each step"
        )
        raise ConfigError([Problem("ENGINE.SHARE", message)])


def _failure(sizes: Sizes, error: BaseException, stride: int) -> str:
    # torch and we ourselves raise sentences; a KeyError is only a word
    told = isinstance(error, (RuntimeError, ValueError, MunitZooError))
    reason = str(error) if told else f"{type(error).__name__}: {error}"
    message = f"a training step cannot be computed for images of {_listed(sizes)}: {reason}"
    if all(side % stride == 0 for size in sizes.values() for side in size):
        return message
    fitting = {
        name: (-(-h // stride) * stride, -(-w // stride) * stride) for name, (h, w) in sizes.items()
    }
    return (
        f"{message}. Their sides must be multiples of {stride} (the content encoder's stride): "
        f"{_listed(fitting)}"
    )


def _listed(sizes: Sizes) -> str:
    return ", ".join(f"{name.upper()} {h}×{w}" for name, (h, w) in sizes.items())
