"""The kinds of components and what each promises, in words that need no torch.

A component is an ordinary class. Its positional parameters are *wired* by whoever builds it; its
keyword-only parameters are its config keys. The contract of a kind names the wired parameters, the
methods a class has and the attributes a built instance shows.

CONTRACTS is the one table of kinds. Registries, entry-point groups and plurals are made from it;
what names kinds elsewhere (slots' types, the conformance kit, the bench, `new-plugin`) is held
against it by a test.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from munit_zoo.errors import ContractError, an
from munit_zoo.registry._signature import Signature, read_signature

__all__ = ["CONTRACTS", "Contract", "TermUse"]


@dataclass(frozen=True)
class TermUse:
    """How a config uses a loss term, as a recipe's `check_config` is told.

    criterion: the class. pairs: the term's PAIRS, None where the config gives none.
    updates: names of the updates in which it acts, None where the config leaves it to the recipe.
    """

    criterion: type
    pairs: tuple[tuple[str, ...], ...] | None = None
    updates: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Contract:
    """The contract of one kind of component.

    kind: singular name, as on the command line (`content_encoder`).
    plural: of the kind's entry-point group, and in capitals of its registry.
    group: entry-point group for third parties; None for kinds that only the package itself fills.
    summary: one sentence for documentation and errors.
    wired: positional parameters each component of the kind takes, in this order.
    optional: further positional parameters it may take after those.
    methods: what the class must define beyond `__init__`.
    attributes: what a built instance must show.
    base: the class to inherit from where that is the way to have the methods.
    rule: what else holds of the class, and of an instance once built; raises ContractError.
    version: raised when the contract changes; plug-ins state the one they were written for.
    """

    kind: str
    plural: str
    group: str | None
    summary: str
    wired: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    base: str = ""
    rule: Callable[[object, str], None] | None = None
    version: int = 1

    @property
    def call(self) -> str:
        """The wired part of a signature, for messages: `(num_features)`."""
        return "(" + ", ".join([*self.wired, *(f"[{name}]" for name in self.optional)]) + ")"

    def check_class(self, component: object, label: str) -> Signature:
        """The signature of a class that keeps the contract.

        Raises ContractError, saying what to change, where it does not.
        """
        if not inspect.isclass(component):
            raise ContractError(
                f"{label} is the {type(component).__name__} {_name(component)}, not a class; "
                f"{an(self.kind)} is a class with the positional parameters {self.call}"
            )
        made_for = getattr(component, "contract_version", self.version)
        if made_for != self.version:
            raise ContractError(
                f"{label} was written for version {made_for} of the {self.kind} contract; "
                f"this munit_zoo has version {self.version}. Install matching versions of both."
            )
        signature = read_signature(component, label)
        allowed = (*self.wired, *self.optional)
        given = signature.wired
        if len(given) < len(self.wired) or given != allowed[: len(given)]:
            raise ContractError(
                f"{label} takes the positional parameters ({', '.join(given)}); "
                f"{an(self.kind)} takes {self.call}, in that order and by these names. "
                "Settings belong after `*`, as keyword-only parameters."
            )
        missing = [m for m in self.methods if not _defines(component, m)]
        if missing:
            hint = f" Subclass {self.base}." if self.base else ""
            raise ContractError(
                f"{label} lacks the method{'s' if len(missing) > 1 else ''} "
                f"{', '.join(missing)} that each {self.kind} has.{hint}"
            )
        if self.rule is not None:
            self.rule(component, label)
        return signature

    def check_instance(self, instance: object, label: str) -> None:
        """Raises ContractError where a built instance does not keep the contract."""
        missing = [name for name in self.attributes if not hasattr(instance, name)]
        if missing:
            raise ContractError(
                f"{label}, once built, has no attribute {', '.join(missing)}. Each {self.kind} "
                f"sets {', '.join(self.attributes)} in __init__."
            )
        if self.rule is not None:
            self.rule(instance, label)


def _name(component: object) -> str:
    return repr(getattr(component, "__name__", str(type(component))))


def _defines(component: type, method: str) -> bool:
    found = getattr(component, method, None)
    # nn.Module has a `forward` of this name that only raises
    return callable(found) and getattr(found, "__name__", "") != "_forward_unimplemented"


_LOSS_METHODS = {
    "names": ("forward",),
    "adversarial": ("generator", "discriminator"),
}


def _loss_rule(loss: object, label: str) -> None:
    """What the attributes of a loss's class, and of an instance, say of how it is called."""
    contract = getattr(loss, "contract", None)
    if contract in ("pair", "named"):
        raise ContractError(
            f"{label} has the contract {contract!r} of an earlier munit_zoo; a loss of tensors now "
            "has contract = 'names' and is called with what its term's PAIRS name, forward(x, y)"
        )
    if contract not in _LOSS_METHODS:
        raise ContractError(
            f"{label} does not say how it is called: give the class the attribute contract = "
            "'names' or 'adversarial'"
        )
    owner = loss if inspect.isclass(loss) else type(loss)
    missing = [m for m in _LOSS_METHODS[contract] if not _defines(owner, m)]
    if missing:
        raise ContractError(f"{label} is {contract} and lacks the method {', '.join(missing)}")
    arity = getattr(loss, "arity", 2)
    if contract == "names" and arity is not None and (not isinstance(arity, int) or arity < 1):
        raise ContractError(
            f"{label}: arity is {arity!r}; it is how many names the loss reads at a time, 1 or "
            "more, or None for any number"
        )
    if contract == "names" and getattr(loss, "differentiates", False) and arity == 1:
        raise ContractError(f"{label} differentiates its first tensor by its second: arity is 2")


def _contract(
    kind: str,
    plural: str,
    summary: str,
    *,
    ours: bool = False,
    wired: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    methods: tuple[str, ...] = (),
    attributes: tuple[str, ...] = (),
    base: str = "",
    rule: Callable[[object, str], None] | None = None,
) -> Contract:
    """A row of the table of kinds. ours: only the package itself fills it."""
    group = None if ours else f"munit_zoo.{plural}"
    return Contract(kind, plural, group, summary, wired, optional, methods, attributes, base, rule)


CONTRACTS: Mapping[str, Contract] = MappingProxyType(
    {
        contract.kind: contract
        for contract in (
            _contract(
                "norm",
                "norms",
                "Normalises a feature map (N, C, H, W). A norm that is steered from outside "
                "(AdaIN) shows `num_parameters` > 0 and is called with (x, parameters (N, P)).",
                wired=("num_features",),
                methods=("forward",),
            ),
            _contract(
                "activation", "activations", "An element-wise function.", methods=("forward",)
            ),
            _contract(
                "content_encoder",
                "content_encoders",
                "Image (N, in_channels, H, W) to content code "
                "(N, out_channels, H/stride, W/stride).",
                wired=("in_channels",),
                methods=("forward",),
                attributes=("out_channels", "stride"),
            ),
            _contract(
                "style_encoder",
                "style_encoders",
                "Image (N, in_channels, H, W) to style code (N, style_dim); one that takes "
                "`num_domains` is called with (x, y), the domains' numbers (N,).",
                wired=("in_channels", "style_dim"),
                optional=("num_domains",),
                methods=("forward",),
            ),
            _contract(
                "decoder",
                "decoders",
                "Content code, and style code where it takes `style_dim`, to an image that is "
                "scale_factor times as large, in [-1, 1].",
                wired=("content_channels", "out_channels", "scale_factor"),
                optional=("style_dim",),
                methods=("forward",),
            ),
            _contract(
                "generator",
                "generators",
                "Image (N, in_channels, H, W), and style code (N, style_dim) where it takes "
                "`style_dim`, to an image (N, out_channels, H, W); H and W multiples of `stride`, "
                "from `smallest` on where it says so.",
                wired=("in_channels", "out_channels"),
                optional=("style_dim",),
                methods=("forward",),
                attributes=("stride",),
            ),
            _contract(
                "mapping",
                "mappings",
                "A vector (N, in_features) to a vector (N, out_features); one that takes "
                "`num_domains` is called with (x, y), the domains' numbers (N,).",
                wired=("in_features", "out_features"),
                optional=("num_domains",),
                methods=("forward",),
            ),
            _contract(
                "discriminator",
                "discriminators",
                "Image (N, in_channels, H, W) to a list of logits, one tensor a scale; one that "
                "takes `num_domains` is called with (x, y), the domains' numbers (N,).",
                wired=("in_channels",),
                optional=("num_domains",),
                methods=("forward",),
            ),
            _contract(
                "augmentation",
                "augmentations",
                "Images (N, C, H, W) in [-1, 1] and uniform numbers (N, numbers) to images of that "
                "size: what discriminators see. One that adapts has `observe(verdicts)` and "
                "`adapt()`.",
                methods=("forward",),
                attributes=("numbers",),
            ),
            _contract(
                "loss",
                "losses",
                "A scalar: of tensors that a recipe names, or of a discriminator's logits.",
                optional=("shapes",),
                rule=_loss_rule,
            ),
            _contract(
                "model",
                "models",
                "A recipe: a graph of named tensors over the domains.",
                wired=("domains",),
                methods=("check_config",),
                attributes=("inputs", "updates", "translations"),
                base="munit_zoo.models.TranslationModel",
            ),
            _contract(
                "dataset",
                "datasets",
                "The images of one domain: `len()`, `test(index)`, `train(index, rng)`.",
                wired=("domain", "split"),
                methods=("__len__", "prepare", "train", "test", "name", "describe"),
                attributes=("size",),
            ),
            _contract(
                "metric",
                "metrics",
                "Scores a translator: a table of named rows.",
                methods=("evaluate",),
            ),
            _contract(
                "extractor",
                "extractors",
                "Images (N, 3, H, W) in [-1, 1] to features (N, D): what fidelity is measured on.",
                methods=("load", "features", "describe"),
                base="munit_zoo.metrics.Extractor",
            ),
            _contract(
                "optimizer",
                "optimizers",
                "Updates parameters from their gradients.",
                ours=True,
                methods=("build",),
            ),
            _contract(
                "schedule",
                "schedules",
                "Factor on learning rates, or on a loss term's weight, at an iteration.",
                ours=True,
                methods=("factor",),
            ),
        )
    }
)
