"""All that training changes, in one room: captured for a snapshot, restored from one, advanced.

    state = TrainingState(model, criteria, optimizers, average)
    state.restore(snapshot.read(), label)     # as it was when the snapshot was taken
    state.advance()                           # an iteration is done
    run.save(state.capture(), …)

Nothing else of a training has a past: images, noise, the chance inside components and the learning
rate are functions of the seed and the iteration.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from munit_zoo.errors import CheckpointError, ContractError

__all__ = [
    "Average",
    "Captured",
    "TrainingState",
    "load_into",
    "named_moments",
    "not_finite",
    "set_buffer",
    "upgrade",
]

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Captured:
    """A training state in its disk form: files of named tensors, and what JSON can say.

    files: per stem its tensors. `networks/<path>` and `average/<path>` hold the state of a network
        and its average under full names (`a.decoder.out.weight`); `criteria` that of all criteria
        (`<term>.<name>`); `optimizers/<path>` the moments of a network's parameters
        (`<parameter>/<moment>`; a criterion's parameter is `criteria/<term>.<name>`).
    aliases: per part (`networks`, `average`) the names of tensors that are saved under another
        name, since networks share them.
    facts: `optimizers`, whose moments it has; without, training cannot resume. `average_updates`,
        how often the average was updated. `scalars`, optimizer state that is no tensor. `scalers`,
        of fp16's losses. `groups`, per optimizer what its group of parameters keeps beside the
        settings, as the number of steps. `passed_over`, of batches: see TrainingState. `missing`,
        networks that another project's checkpoint did not hold, and `ways`, the translations that
        are left without them, by the recipe's letters.
    """

    iteration: int
    files: Mapping[str, Tensors] = field(default_factory=dict)
    aliases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def part(self, part: str) -> dict[str, Tensor]:
        """All tensors of a part (`networks`, `average`, `criteria`, `optimizers`), aliases too."""
        found: dict[str, Tensor] = {}
        for stem, tensors in self.files.items():
            if stem.split("/")[0] == part:
                found |= tensors
        for name, source in self.aliases.get(part, {}).items():
            if source in found:
                found[name] = found[source]
        return found

    def has(self, part: str) -> bool:
        """Whether it holds a part."""
        return any(stem.split("/")[0] == part for stem in self.files)


class Average:
    """The exponential moving average of a model's networks: a model that translates.

    model: the one that trains. networks: by path, what to average. others: networks that an
    average does without, as the discriminators: they are not copied. decay: for all, or per path;
    what a mapping leaves out is taken over as it is.
    warm_up: update t (from 0) decays by min(decay, (1 + t) / (10 + t)), so that the average leaves
        the initial weights at once, and not after 1 / (1 - decay) updates.
    start: updates through which it only follows the networks.

    Buffers (running statistics, spectral vectors) are taken over, not averaged. A module that has a
    method `averaged` says by it what is averaged in place of its parameters (a normalised weight in
    place of the weight); its buffers are then zeros in the average.
    """

    def __init__(
        self,
        model: nn.Module,
        networks: Mapping[str, nn.Module],
        decay: float | Mapping[str, float],
        *,
        others: Iterable[nn.Module] = (),
        warm_up: bool = True,
        start: int = 0,
    ) -> None:
        blanks: dict[int, object] = {id(network): nn.Module() for network in others}
        self.model: Any = copy.deepcopy(model, blanks).requires_grad_(False).eval()
        self.warm_up, self.start, self.updates = warm_up, start, 0
        self._groups: dict[float, tuple[list[Tensor], list[Tensor]]] = {}
        self._made: dict[float, list[tuple[Any, Any]]] = {}
        self._with_buffers: list[tuple[nn.Module, nn.Module]] = []
        seen: set[int] = set()
        for path, network in networks.items():
            mine = self.model.get_submodule(path)
            own = decay.get(path, 0.0) if isinstance(decay, Mapping) else decay
            pairs: list[tuple[Any, Any]] = [
                pair
                for pair in zip(mine.modules(), network.modules(), strict=True)
                if hasattr(pair[1], "averaged")
            ]
            for pair in pairs:
                if id(pair[1]) not in seen:
                    seen |= {id(pair[1]), *map(id, map(pair[1].get_parameter, pair[1].averaged()))}
                    self._made.setdefault(own, []).append(pair)
            ours, theirs = self._groups.setdefault(own, ([], []))
            for averaged, parameter in zip(mine.parameters(), network.parameters(), strict=True):
                if id(parameter) not in seen:  # a parameter that networks share moves once
                    seen.add(id(parameter))
                    ours.append(averaged)
                    theirs.append(parameter)
            self._with_buffers += [
                (averaged, module)
                for averaged, module in zip(mine.modules(), network.modules(), strict=True)
                if module._buffers and not hasattr(module, "averaged")
            ]
        self._begin()

    @torch.no_grad()
    def _begin(self) -> None:
        """Of what is averaged in place of parameters, the average starts from that, too."""
        for averaged, module in (pair for made in self._made.values() for pair in made):
            for name, value in module.averaged().items():
                averaged.get_parameter(name).copy_(value)
            for buffer in averaged.buffers(recurse=False):
                buffer.zero_()

    @torch.no_grad()
    def update(self) -> None:
        """average = decay · average + (1 - decay) · weights."""
        for decay, (ours, theirs) in self._groups.items():
            if ours:
                torch._foreach_lerp_(ours, theirs, 1 - self.decay_at(self.updates, decay))
        for decay, made in self._made.items():
            share = 1 - self.decay_at(self.updates, decay)
            for averaged, module in made:
                for name, value in module.averaged().items():
                    averaged.get_parameter(name).lerp_(value, share)
        for averaged, module in self._with_buffers:
            for name, value in module._buffers.items():
                set_buffer(averaged, name, value)
        self.updates += 1

    def decay_at(self, update: int, decay: float) -> float:
        """The decay of an update, counted from 0."""
        if update < self.start:
            return 0.0
        return min(decay, (1 + update) / (10 + update)) if self.warm_up else decay


@dataclass
class TrainingState:
    """What an iteration changes.

    networks: the whole model; the keys of its state dict begin with networks' paths.
    paths: these paths, one file each. criteria: by term. optimizers: by name; which of them holds
    a parameter is free to change, moments are kept by the parameter's name. scalers: of fp16's
    losses. passed_over: batches that are left out, as one of them led to a NaN: iteration i is fed
    with what iteration i + passed_over would have been.
    """

    networks: nn.Module
    paths: Sequence[str]
    criteria: Mapping[str, nn.Module] = field(default_factory=dict)
    optimizers: Mapping[str, torch.optim.Optimizer] = field(default_factory=dict)
    average: Average | None = None
    iteration: int = 0
    scalers: Mapping[str, GradScaler] = field(default_factory=dict)
    passed_over: int = 0

    @property
    def feed(self) -> int:
        """The iteration whose batch, noise and chance come next."""
        return self.iteration + self.passed_over

    def advance(self) -> None:
        """An iteration is done."""
        if self.average is not None:
            self.average.update()
        self.iteration += 1

    def capture(self) -> Captured:
        """The state in its disk form. Its tensors are the live ones: write them before training
        goes on."""
        files: dict[str, dict[str, Tensor]] = {}
        aliases: dict[str, dict[str, str]] = {}
        facts: dict[str, object] = {}
        modules = {"networks": self.networks}
        if self.average is not None:
            modules["average"] = self.average.model
            facts["average_updates"] = self.average.updates
        for part, module in modules.items():
            kept, aliases[part] = _without_aliases(_tensors_of(module, "the model"))
            for name, value in kept.items():
                files.setdefault(f"{part}/{owner(name, self.paths)}", {})[name] = value
        criteria = {
            f"{term}.{name}": value
            for term, criterion in self.criteria.items()
            for name, value in criterion_state(criterion).items()
        }
        if criteria:
            files["criteria"] = criteria
        if self.optimizers:
            facts["optimizers"] = [*self.optimizers]
        scalars: dict[str, object] = {}
        for name, _, moments in self._trained():
            for key, value in moments.items():
                if isinstance(value, Tensor):
                    file = files.setdefault(f"optimizers/{owner(name, self.paths)}", {})
                    file[f"{name}/{key}"] = value.detach()
                elif value is not None:
                    scalars[f"{name}/{key}"] = value
        if scalars:
            facts["scalars"] = scalars
        groups = {name: _kept_by_group(o) for name, o in self.optimizers.items()}
        if any(groups.values()):
            facts["groups"] = {name: kept for name, kept in groups.items() if kept}
        if self.scalers:
            facts["scalers"] = {name: scaler.state_dict() for name, scaler in self.scalers.items()}
        if self.passed_over:
            facts["passed_over"] = self.passed_over
        return Captured(self.iteration, files, aliases, facts)

    def restore(self, captured: Captured, label: str) -> None:
        """Everything as it was when it was captured.

        label: of its origin, for messages. Rates and other settings of optimizers stay as they
        are: they are the config's. Raises CheckpointError where it does not fit.
        """
        if "optimizers" not in captured.facts:
            raise CheckpointError(
                f"{label} holds weights but no optimizer state: training cannot resume from it. "
                "Start a new run from its weights with --init-from"
            )
        load_into(self.networks, captured.part("networks"), f"{label} (networks)")
        if self.average is not None:
            load_into(self.average.model, captured.part("average"), f"{label} (average)")
            self.average.updates = int(captured.facts.get("average_updates", captured.iteration))
        saved = captured.part("criteria")
        own = {
            f"{term}.{name}": (criterion, name)
            for term, criterion in self.criteria.items()
            for name in criterion_state(criterion)
        }
        if captured.facts.get("upgraded"):  # which knew nothing of mere buffers
            own = {name: place for name, place in own.items() if name in saved}
        if set(saved) != set(own):
            odd = ", ".join(sorted(set(saved) ^ set(own))[:6])
            raise CheckpointError(
                f"{label}: its criteria have another state than the config's: {odd}"
            )
        for name, (criterion, inner) in own.items():
            _put(criterion, inner, saved[name])
        self._restore_moments(captured, label)
        scales = captured.facts.get("scalers", {})
        for name, scaler in self.scalers.items():
            if name in scales:
                scaler.load_state_dict(scales[name])
        self.passed_over = int(captured.facts.get("passed_over", 0))
        self.iteration = captured.iteration

    def _trained(self) -> Iterator[tuple[str, Tensor, Mapping[str, Any]]]:
        """Name, parameter and moments of all that the optimizers hold."""
        names: dict[int, str] = {id(p): name for name, p in self.networks.named_parameters()}
        for term, criterion in self.criteria.items():
            for name, own in criterion.named_parameters():
                names.setdefault(id(own), f"criteria/{term}.{name}")
        for label, optimizer in self.optimizers.items():
            for index, parameter in enumerate(_parameters(optimizer)):
                name = names.get(id(parameter), f"{label}/{index}")
                yield name, parameter, optimizer.state.get(parameter, {})

    def _restore_moments(self, captured: Captured, label: str) -> None:
        kept = captured.part("optimizers")
        if captured.facts.get("upgraded"):
            kept = named_moments(kept, *self._sides())
        saved: dict[str, dict[str, object]] = {}
        for key, value in (kept | captured.facts.get("scalars", {})).items():
            name, _, moment = key.rpartition("/")
            saved.setdefault(name, {})[moment] = value
        moments: dict[int, dict[str, object]] = {}
        alike = {
            id(parameter)
            for optimizer in self.optimizers.values()
            if isinstance(optimizer, _ELEMENTWISE)
            for parameter in _parameters(optimizer)
        }
        for name, parameter, _ in self._trained():
            found = saved.pop(name, None)
            if found is not None:
                strict = id(parameter) in alike
                moments[id(parameter)] = {
                    key: _like(value, parameter, f"{key} of {name} in {label}", strict)
                    for key, value in found.items()
                }
        if saved:
            few = ", ".join(sorted(saved)[:4])
            raise CheckpointError(
                f"the optimizer state of {label} does not fit: nothing trains {few}"
                + (" and others" if len(saved) > 4 else "")
            )
        for label_of, optimizer in self.optimizers.items():
            state = {
                index: moments[id(parameter)]
                for index, parameter in enumerate(_parameters(optimizer))
                if id(parameter) in moments
            }
            groups = optimizer.state_dict()["param_groups"]  # ours: rates are the config's
            for group in groups:
                group.update(captured.facts.get("groups", {}).get(label_of, {}))
            try:
                optimizer.load_state_dict({"state": state, "param_groups": groups})
            except (KeyError, ValueError) as error:
                raise CheckpointError(
                    f"the optimizer state of {label} does not fit: {error}"
                ) from error

    def _sides(self) -> tuple[list[str], list[str]]:
        """Names of what the optimizers train, in the model's order: of generators, and of
        discriminators."""
        trained = {name: None for name, _, _ in self._trained()}
        ordered = [name for name, _ in self.networks.named_parameters() if name in trained]
        judges = [name for name in ordered if ".discriminator." in name]
        others = [name for name in (*ordered, *trained) if name not in judges]
        return list(dict.fromkeys(others)), judges


def criterion_state(criterion: nn.Module) -> dict[str, Tensor]:
    """What a criterion may change: parameters that train, and every buffer (counters, pools,
    queues). Frozen parameters, as those of a pretrained network, are left out."""
    frozen = {name for name, p in criterion.named_parameters() if not p.requires_grad}
    state = _tensors_of(criterion, f"the criterion {type(criterion).__name__}")
    return {name: value for name, value in state.items() if name not in frozen}


def load_into(module: nn.Module, weights: Tensors, label: str) -> None:
    """Load tensors that must fit exactly.

    Raises CheckpointError that lists what is missing, what is left over, and shapes that differ.
    """
    own = module.state_dict()
    problems = [f"missing: {name}" for name in own if name not in weights]
    problems += [f"left over: {name}" for name in weights if name not in own]
    problems += [
        f"{name} is {tuple(weights[name].shape)}, the model has {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape and own[name].numel()
    ]
    if problems:
        shown = problems[:8] + ([f"and {len(problems) - 8} more"] if len(problems) > 8 else [])
        raise CheckpointError(f"the weights of {label} do not fit: {'; '.join(shown)}")
    for name, value in own.items():
        if not value.numel() and weights[name].numel():  # a buffer that is filled as it is used
            value.resize_(weights[name].shape)
    module.load_state_dict(dict(weights))


def drop_network(model: nn.Module, path: str) -> None:
    """Take a network out of a model that does without."""
    owner, _, name = path.rpartition(".")
    model.get_submodule(owner)._modules[name] = nn.Module()


def not_finite(captured: Captured) -> str | None:
    """The first tensor that holds a NaN or an infinity, by part and name; None where all are
    finite."""
    for stem, tensors in captured.files.items():
        for name, value in tensors.items():
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                return f"{stem.split('/')[0]} {name}"
    return None


def imported(
    iteration: int,
    paths: Sequence[str],
    networks: Tensors,
    moments: Mapping[str, Tensors] | None = None,
    *,
    averages: Tensors | None = None,
    facts: Mapping[str, object] | None = None,
) -> Captured:
    """A state made of another project's: weights, and per parameter the optimizer's moments.

    paths: of the model's networks. moments: None where they are not known; training can then not
    resume from it. averages: of weights, where they are kept. facts: further ones.
    """
    files: dict[str, dict[str, Tensor]] = {}
    for part, tensors in (("networks", networks), ("average", averages or {})):
        for name, value in tensors.items():
            files.setdefault(f"{part}/{owner(name, paths)}", {})[name] = value
    for name, found in (moments or {}).items():
        file = files.setdefault(f"optimizers/{owner(name, paths)}", {})
        file |= {f"{name}/{key}": value for key, value in found.items()}
    known = dict(facts or {})
    if averages:
        known["average_updates"] = iteration
    if moments is not None:
        known["optimizers"] = ["imported"]
    return Captured(iteration, files, {}, known)


def owner(name: str, paths: Sequence[str]) -> str:
    """The network that a tensor belongs to; `model`, of what the model itself holds."""
    if name.startswith("criteria/"):
        return "criteria"
    return max((path for path in paths if name.startswith(f"{path}.")), key=len, default="model")


# Snapshots of munit-zoo 0.1: `generators`, `discriminators`, `ema` (averaged generators), `losses`
# (criteria, as `<side>.<term>.<name>`), and an optimizer for each side, moments by number.


def upgrade(
    iteration: int,
    parts: Mapping[str, Tensors],
    optimizers: Sequence[Mapping[str, Any]] | None,
) -> Captured:
    """A snapshot of munit-zoo 0.1 in today's form.

    parts: its tensors by file. optimizers: the two state dicts, None where it had none. Their
    moments stay numbered, `generators#17/exp_avg`, until `named_moments` knows the parameters.
    """
    files: dict[str, dict[str, Tensor]] = {}
    for part, tensors in parts.items():
        if part == "losses":
            files["criteria"] = {name.partition(".")[2]: value for name, value in tensors.items()}
            continue
        for old, value in tensors.items():
            name = upgraded_name(part, old)
            target = "average" if part == "ema" else "networks"
            files.setdefault(f"{target}/{'.'.join(name.split('.')[:2])}", {})[name] = value
    for side, state in zip(SIDES, optimizers or (), strict=False):
        for index, moments in state["state"].items():
            for key, value in moments.items():
                if isinstance(value, Tensor):
                    files.setdefault(f"optimizers/{side}", {})[f"{side}#{index}/{key}"] = value
    facts: dict[str, object] = {"average_updates": iteration, "upgraded": True}
    if optimizers is not None:
        facts["optimizers"] = list(SIDES)
    return Captured(iteration, files, {}, facts)


SIDES = ("generators", "discriminators")


def upgraded_name(part: str, name: str) -> str:
    """A network's tensor of 0.1 in the model of today."""
    if part != "discriminators":
        return name
    domain, _, rest = name.partition(".")
    return f"{domain}.discriminator.{rest}"


def named_moments(
    numbered: Tensors, generators: Sequence[str], discriminators: Sequence[str]
) -> dict[str, Tensor]:
    """The moments of 0.1 by the names of the parameters that train, in their order on each side.

    Raises CheckpointError where a side has fewer parameters than moments.
    """
    found = {}
    for key, value in numbered.items():
        place, _, moment = key.rpartition("/")
        side, _, index = place.partition("#")
        names = generators if side == SIDES[0] else discriminators
        if int(index) >= len(names):
            raise CheckpointError(
                f"the snapshot's optimizer of {side} is of more tensors than the config's "
                f"{len(names)}"
            )
        found[f"{names[int(index)]}/{moment}"] = value
    return found


def _tensors_of(module: nn.Module, label: str) -> dict[str, Tensor]:
    """A state dict; raises ContractError where it holds anything but tensors."""
    state = module.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ContractError(
                f"{label} keeps state that is no tensor ({name}: {type(value).__name__}): make it "
                "a buffer, so that a snapshot can hold it"
            )
    return {name: value.detach() for name, value in state.items()}


def _without_aliases(tensors: Tensors) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors, each once, and the names of the others by the name they are kept under."""
    kept: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    first: dict[tuple[object, ...], str] = {}
    for name, value in tensors.items():
        place = (value.data_ptr(), value.device, value.dtype, value.shape, value.stride())
        if value.numel() and place in first:
            aliases[name] = first[place]
        else:
            first.setdefault(place, name)
            kept[name] = value
    return kept, aliases


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


_ELEMENTWISE = (torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.SGD)
"""Optimizers whose moments have the shape of the parameter; others may keep rows and columns."""


def _kept_by_group(optimizer: torch.optim.Optimizer) -> dict[str, object]:
    """What a group of parameters keeps beside its settings: numbers, as of steps taken.

    An optimizer has one group. Settings are the config's, whatever a snapshot has.
    """
    (group,) = optimizer.param_groups
    known = {"params", "param_names", *optimizer.defaults}
    return {
        key: value.item() if isinstance(value, Tensor) else value
        for key, value in group.items()
        if key not in known and isinstance(value, (int, float, Tensor))
    }


def _like(value: object, parameter: Tensor, label: str, strict: bool) -> object:
    """A moment for a parameter, in its memory format: fused updates walk both alike.

    strict: it has the parameter's shape.
    """
    if not isinstance(value, Tensor) or not value.dim():
        return value.clone() if isinstance(value, Tensor) else value
    if value.shape != parameter.shape and not strict:
        return value.clone()
    if value.shape != parameter.shape:
        raise CheckpointError(
            f"the optimizer state does not fit: {label} is {tuple(value.shape)}, the parameter "
            f"{tuple(parameter.shape)}"
        )
    return torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)


def _put(module: nn.Module, name: str, value: Tensor) -> None:
    """Set a parameter or buffer by its dotted name; a buffer may have grown."""
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    if leaf in owner._buffers:
        set_buffer(owner, leaf, value)
        return
    parameter = owner.get_parameter(leaf)
    if parameter.shape != value.shape:
        raise CheckpointError(
            f"{name} is {tuple(value.shape)}, the criterion has {tuple(parameter.shape)}"
        )
    with torch.no_grad():
        parameter.copy_(value)


@torch.no_grad()
def set_buffer(module: nn.Module, name: str, value: Tensor | None) -> None:
    """Set a buffer, in place: others may share it. One that grows takes the new size."""
    mine = module._buffers[name]
    if mine is None or value is None:
        module._buffers[name] = None if value is None else value.detach().clone()
        return
    if mine.shape != value.shape:
        mine.resize_(value.shape)
    mine.copy_(value)
