"""F's vectors and the patch-wise cross-entropies are the original's, in float64.

Every case `cut/NAME` in the folder MUNIT_ZOO_GOLDEN_ZOO. Generator and discriminator, which are the
core's, are compared there; `test_parity` trains.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from _golden_zoo import BOUND, CHECKPOINT_BOUND, Case, build, cases, checkpoint, error_of
from munit_zoo_contrastive.patch_nce import PatchNCE
from munit_zoo_contrastive.projector import PatchProjector
from safetensors.torch import load_file
from torch import Tensor

from munit_zoo.interop import cut, cyclegan_options

pytestmark = pytest.mark.golden


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def renamed(case: Case, network: str) -> dict[str, Tensor]:
    """A network's first weights by our names."""
    weights = case.under(f"init/{network}")
    return {ours: weights[name] for name, ours in cut.NAMES[network](weights).items()}


@pytest.mark.parametrize("path", cases("cut"))
def test_vectors_and_entropies(path: Path, double):
    case = Case(path)
    config, nodes = case.config, cut.settings_of_options(case.config)
    generator = build("generator", nodes["GENERATOR"], config["input_nc"], config["output_nc"])
    generator.load_state_dict(renamed(case, "G"))
    channels = generator.feature_channels(nodes["LAYERS"])
    projector = PatchProjector(channels, nodes["PROJECTOR_DIM"])
    projector.load_state_dict(renamed(case, "F"))
    loss = PatchNCE(
        temperature=config["nce_T"],
        all_negatives=config["nce_includes_all_negatives_from_minibatch"],
    )
    real_a = case["B" if config["direction"] == "BtoA" else "A"]
    places = case.row("fwd/patch_ids")
    with torch.no_grad():
        keys = projector(generator.features(real_a, nodes["LAYERS"]), places)
        queries = projector(generator.features(case["fwd/fake_B"], nodes["LAYERS"]), places)
        for layer, (query, key) in enumerate(zip(queries, keys, strict=True)):
            case.compare(f"fwd/sample/{layer}", key.flatten(0, 1))
            case.compare(f"fwd/nce/{layer}", loss.entropies(query, key))
        rows = [value.mean() for value in case.row("fwd/nce")]
        torch.testing.assert_close(loss(queries, keys), torch.stack(rows).mean())
    for prefix in ("fwd/sample/", "fwd/nce/"):
        assert case.worst(prefix)[1] < BOUND, case.errors


def test_vectors_of_a_checkpoint():
    folder = checkpoint("cut")
    options = cyclegan_options.read_options(folder / "train_opt.txt")
    read = cut.read_checkpoint(folder.glob("*.pth"), options)
    golden = load_file(folder / "expected.safetensors")
    generator = build("generator", read.settings["GENERATOR"], *read.channels["G"])
    generator.load_state_dict(read.weights["G"])
    layers = read.settings["LAYERS"]
    projector = PatchProjector(generator.feature_channels(layers), read.settings["PROJECTOR_DIM"])
    projector.load_state_dict(read.weights["F"])
    places = [golden[f"patch_ids/{k}"] for k in range(len(layers))]
    with torch.no_grad():
        vectors = projector(generator.features(golden["real_A"], layers), places)
    for k, found in enumerate(vectors):
        assert error_of(found.flatten(0, 1), golden[f"sample/{k}"]) < CHECKPOINT_BOUND
