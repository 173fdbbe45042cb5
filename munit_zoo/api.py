"""The package from Python: configs, models and components by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from munit_zoo.config import Config, list_configs, load_config, resolve_data
from munit_zoo.registry import Description, registry

if TYPE_CHECKING:
    import torch

    from munit_zoo.models import TranslationModel

__all__ = [
    "create_model",
    "describe",
    "list_components",
    "list_configs",
    "load_config",
    "load_model",
]


def create_model(config: Config | str, **settings: Any) -> TranslationModel:
    """A model with fresh weights.

    config: a loaded config, or the name of a recipe: `create_model("munit", style_dim=16)`.
    settings: keys of the recipe in lower case; a component as
    `{"name": …, "key": …}`.
    Raises ConfigError that lists every problem.
    """
    from munit_zoo.models import create_model as create

    if isinstance(config, str):
        model = {"NAME": config, **{key.upper(): _setting(v) for key, v in settings.items()}}
        return create(resolve_data({"MODEL": model}, origin="create_model").config)
    if settings:
        raise TypeError(
            "settings go with a recipe's name; a config is varied as it is loaded: "
            'load_config("munit/shapes", "MODEL.STYLE_DIM=16")'
        )
    return create(config)


def _setting(value: Any) -> Any:
    """A component's keys in capitals, as configs spell them; other values as they are."""
    if isinstance(value, dict):
        return {str(key).upper(): _setting(child) for key, child in value.items()}
    return value


def load_model(
    path: str | Path, *, device: str | torch.device = "cpu", ema: bool = True
) -> TranslationModel:
    """The model of a run's or a snapshot's folder, in evaluation mode.

    The newest weights of a run; the averaged ones where they were kept, unless `ema` is false.
    Raises CheckpointError for a folder that is neither, or weights that do not fit.
    """
    from munit_zoo.engine.runs import load_model as load

    return load(path, device=device, ema=ema)


def list_components(kind: str, pattern: str = "*") -> list[str]:
    """Names of a kind's components that match a wildcard pattern: `list_components("norm",
    "ada*")`. Imports none of them."""
    return registry(kind).list(pattern)


def describe(kind: str, name: str) -> Description:
    """Origin, settings and documentation of a component."""
    return registry(kind).describe(name)
