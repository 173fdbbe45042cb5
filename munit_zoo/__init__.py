"""munit_zoo: multimodal image-to-image translation as a zoo of components.

    import munit_zoo as mz

    config = mz.load_config("munit/shapes", "MODEL.STYLE_DIM=16")
    mz.train(config, run="runs/mine")
    model = mz.load_model("runs/mine")
    translations = model.translate(mz.read_image("photo.png"), to="b", styles=10)

Importing the package loads neither torch nor any plug-in; each name below is loaded when used.
`munit_zoo.errors` has every error that a user can cause.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from munit_zoo import errors
from munit_zoo._version import __version__

if TYPE_CHECKING:
    from munit_zoo.api import (
        ablate,
        compare,
        create_model,
        describe,
        evaluate,
        list_components,
        list_configs,
        load_config,
        load_model,
        load_plugin,
        make_study,
        read_image,
        save_image,
        score_study,
        train,
    )
    from munit_zoo.models import TranslationModel
    from munit_zoo.models.bicyclegan import BicycleGan
    from munit_zoo.models.cyclegan import CycleGan
    from munit_zoo.models.cyclegan_noise import CycleGanNoise
    from munit_zoo.models.drit import Drit
    from munit_zoo.models.funit import Funit
    from munit_zoo.models.imaginaire_munit import ImaginaireMunit
    from munit_zoo.models.imaginaire_unit import ImaginaireUnit
    from munit_zoo.models.munit import Munit
    from munit_zoo.models.pix2pix import Pix2Pix
    from munit_zoo.models.stargan import StarGan
    from munit_zoo.models.starganv2 import StarGanV2
    from munit_zoo.models.unit import Unit

__all__ = [
    "BicycleGan",
    "CycleGan",
    "CycleGanNoise",
    "Drit",
    "Funit",
    "ImaginaireMunit",
    "ImaginaireUnit",
    "Munit",
    "Pix2Pix",
    "StarGan",
    "StarGanV2",
    "TranslationModel",
    "Unit",
    "__version__",
    "ablate",
    "compare",
    "create_model",
    "describe",
    "errors",
    "evaluate",
    "list_components",
    "list_configs",
    "load_config",
    "load_model",
    "load_plugin",
    "make_study",
    "read_image",
    "save_image",
    "score_study",
    "train",
]

_RECIPES = {
    "BicycleGan": "munit_zoo.models.bicyclegan",
    "CycleGan": "munit_zoo.models.cyclegan",
    "CycleGanNoise": "munit_zoo.models.cyclegan_noise",
    "Drit": "munit_zoo.models.drit",
    "Funit": "munit_zoo.models.funit",
    "ImaginaireMunit": "munit_zoo.models.imaginaire_munit",
    "ImaginaireUnit": "munit_zoo.models.imaginaire_unit",
    "Munit": "munit_zoo.models.munit",
    "Pix2Pix": "munit_zoo.models.pix2pix",
    "StarGan": "munit_zoo.models.stargan",
    "StarGanV2": "munit_zoo.models.starganv2",
    "TranslationModel": "munit_zoo.models",
    "Unit": "munit_zoo.models.unit",
}


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(importlib.import_module(_RECIPES.get(name, "munit_zoo.api")), name)
    raise AttributeError(f"module 'munit_zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
