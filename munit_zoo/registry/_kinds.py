"""The registries, one a kind. The names below are typed; a test holds them against CONTRACTS."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from munit_zoo.errors import UsageError, quoted, suggest
from munit_zoo.registry._registry import Registry
from munit_zoo.registry.contracts import CONTRACTS

REGISTRIES: Mapping[str, Registry] = MappingProxyType(
    {kind: Registry(contract) for kind, contract in CONTRACTS.items()}
)

NORMS = REGISTRIES["norm"]
ACTIVATIONS = REGISTRIES["activation"]
CONTENT_ENCODERS = REGISTRIES["content_encoder"]
STYLE_ENCODERS = REGISTRIES["style_encoder"]
DECODERS = REGISTRIES["decoder"]
GENERATORS = REGISTRIES["generator"]
MAPPINGS = REGISTRIES["mapping"]
DISCRIMINATORS = REGISTRIES["discriminator"]
AUGMENTATIONS = REGISTRIES["augmentation"]
LOSSES = REGISTRIES["loss"]
MODELS = REGISTRIES["model"]
DATASETS = REGISTRIES["dataset"]
METRICS = REGISTRIES["metric"]
EXTRACTORS = REGISTRIES["extractor"]
OPTIMIZERS = REGISTRIES["optimizer"]
SCHEDULES = REGISTRIES["schedule"]


def require_sound_components() -> None:
    """Import every plug-in of every kind. Raises BrokenComponentError for the first broken."""
    for one in REGISTRIES.values():
        one.require_sound()


def registry(kind: str) -> Registry:
    """The registry of a kind, by its singular or plural name, `-` or `_` alike.

    Raises UsageError with the nearest kind for an unknown one.
    """
    spelled = kind.replace("-", "_").lower()
    plurals = {contract.plural: kind for kind, contract in CONTRACTS.items()}
    found = plurals.get(spelled, spelled)
    if found in REGISTRIES:
        return REGISTRIES[found]
    hint = suggest(spelled, [*REGISTRIES, *plurals])
    raise UsageError(f"no kind is called {quoted(kind)}. {hint} Kinds: {', '.join(REGISTRIES)}.")
