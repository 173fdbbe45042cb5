"""Every variant of a network in a recipe that has the slot: tried on `meta`, and trained."""

from __future__ import annotations

import pytest
from _training import MUNIT

import munit_zoo as mz
from munit_zoo.config import load_config
from munit_zoo.errors import MunitZooError
from munit_zoo.models import rehearse

SIZES = {"a": (32, 32), "b": (32, 32)}
TIMM = "MODEL: resnet10t, OUT_INDEX: 0"
UPSAMPLE = ("nearest", "bilinear", "blur", "pixel_shuffle", "transposed")
VARIANTS = {
    **{f"upsampling by {way}": (f"MODEL.DECODER.UPSAMPLE={way}",) for way in UPSAMPLE},
    "AdaIN in the upsampling": ("MODEL.DECODER.UPSAMPLE_NORM.NAME=adain",),
    "1 + gamma": ("MODEL.DECODER.NORM.OFFSET=1",),
    "a projection a layer": (
        "MODEL.DECODER.PROJECTION=per_layer",
        "MODEL.DECODER.MAPPING.LAYERS=1",
    ),
    "spatial modulation": ("MODEL.DECODER.NAME=spade_resnet",),
    "modulated convolutions": ("MODEL.DECODER.NAME=modulated_resnet",),
    "a code with skips": ("MODEL.CONTENT_ENCODER.NAME=unet", "MODEL.DECODER.NAME=unet"),
    "preactivation": ("MODEL.CONTENT_ENCODER.NAME=preactivation",),
    "blurred": (
        "MODEL.CONTENT_ENCODER.DOWNSAMPLE=blur",
        "MODEL.STYLE_ENCODER.DOWNSAMPLE=blur",
        "MODEL.DISCRIMINATOR.DOWNSAMPLE=blur",
    ),
    "timm, trained": (f"MODEL.CONTENT_ENCODER={{NAME: timm, {TIMM}}}", "ENGINE.SHARE=none"),
    "timm, frozen": (
        f"MODEL.CONTENT_ENCODER={{NAME: timm, {TIMM}, FROZEN: true}}",
        f"MODEL.STYLE_ENCODER={{NAME: timm, {TIMM}, FROZEN: true}}",
    ),
    "patch": ("MODEL.DISCRIMINATOR={NAME: patch, DIM: 8, LAYERS: 2, WEIGHT_NORM: spectral}",),
    "pixel": ("MODEL.DISCRIMINATOR={NAME: pixel, DIM: 8, MINIBATCH_STD: 4}",),
    "residual": ("MODEL.DISCRIMINATOR={NAME: residual, DIM: 8, LAYERS: 3, HEADS: 2}",),
    "a judging unet": ("MODEL.DISCRIMINATOR={NAME: unet, DIM: 8, LAYERS: 3}",),
    "projected": (
        "MODEL.DISCRIMINATOR={NAME: projected, MODEL: resnet10t, DIM: 8, MIX_DIM: 8}",
        "LOSSES.ADVERSARIAL.NAME=hinge",
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_tried(name: str):
    if "resnet10t" in str(VARIANTS[name]):
        pytest.importorskip("timm")
    found = rehearse(load_config("munit/shapes", *VARIANTS[name]), SIZES)
    assert not found.unreached


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_trains(name: str, tiny, in_folder):
    overrides = [o for o in (*tiny, *MUNIT[1:]) if not o.startswith("MODEL")]
    run = mz.train(
        "munit/shapes", *overrides, *VARIANTS[name], "DATA.SIZE=32", run=in_folder / "run"
    )
    assert run is not None


REFUSED = {
    ("MODEL.DECODER.NAME=unet", "MODEL.CONTENT_ENCODER.DIM=15"): "finds no larger maps",
    ("MODEL.DECODER={NAME: modulated_resnet, UPSAMPLE: transposed, UPSAMPLE_KERNEL_SIZE: 1}",): (
        "kernel 1×1 leaves three pixels of four empty"
    ),
    ("MODEL.DECODER.UPSAMPLE=transposed", "MODEL.DECODER.WEIGHT_NORM=spectral_legacy"): (
        "choose WEIGHT_NORM spectral"
    ),
    ("MODEL.DISCRIMINATOR={NAME: unet, LAYERS: 6}",): "multiples of 64",
    ("MODEL.DISCRIMINATOR={NAME: residual, LAYERS: 6}",): "needs 64×64",
    ("MODEL.DISCRIMINATOR={NAME: projected, MODEL: resnet10t, LAYERS: 1}",): "needs 64×64",
    ("MODEL.DECODER={NAME: spade_resnet, NORM: {NAME: layer}, UPSAMPLE_NORM: {NAME: none}}",): (
        "no style would reach the image"
    ),
}


@pytest.mark.parametrize("overrides", REFUSED, ids=lambda o: o[0])
def test_what_cannot_combine_is_refused_with_a_reason(overrides: tuple[str, ...]):
    with pytest.raises(MunitZooError, match=REFUSED[overrides]):
        rehearse(load_config("munit/shapes", *overrides), SIZES)
