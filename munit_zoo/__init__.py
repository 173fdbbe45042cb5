"""munit_zoo: multimodal unpaired image-to-image translation as a zoo of components.

    import munit_zoo as mz

    config = mz.load_config("munit/shapes", "MODEL.STYLE_DIM=16")
    model = mz.create_model(config)
    translations = model.translate(x, to="b", styles=10)

Importing the package loads neither torch nor any plug-in; each name below is loaded when used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from munit_zoo._version import __version__

if TYPE_CHECKING:
    from munit_zoo.api import (
        create_model,
        describe,
        list_components,
        list_configs,
        load_config,
        load_model,
    )

__all__ = [
    "__version__",
    "create_model",
    "describe",
    "list_components",
    "list_configs",
    "load_config",
    "load_model",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        from munit_zoo import api

        return getattr(api, name)
    raise AttributeError(f"module 'munit_zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
