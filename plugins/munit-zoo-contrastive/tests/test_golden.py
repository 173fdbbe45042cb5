"""CUT and FastCUT compute and train as the original does, in float64.

Every case `cut/NAME` in the folder MUNIT_ZOO_GOLDEN_ZOO. The generator and the discriminator, which
are the core's, are compared there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from _golden_zoo import BOUND, CHECKPOINT_BOUND, FLOOR, Case, build, cases, checkpoint, error_of
from _training import Training
from safetensors.torch import load_file
from torch import Tensor

from munit_zoo.interop import cut, cyclegan
from munit_zoo.interop._files import renamed
from munit_zoo_contrastive.patch_nce import PatchNCE
from munit_zoo_contrastive.projector import PatchProjector

pytestmark = pytest.mark.golden

ZERO = 1e-10
"""Of a network's largest gradient: below, a recorded gradient is rounding noise of a true zero."""
LOOSE = 1e-6
"""For the final weights of such parameters: Adam makes steps of the noise."""
ADVERSARIAL = {"lsgan": "lsgan", "vanilla": "nsgan", "nonsaturating": "nsgan", "wgangp": "wgan"}
NETWORKS = {"G": "generator", "F": "projector", "D": "discriminator"}


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def directed(case: Case, prefix: str = "") -> tuple[Tensor, Tensor]:
    """real_A and real_B of a batch."""
    a, b = case[f"{prefix}A"], case[f"{prefix}B"]
    return (b, a) if case.config["direction"] == "BtoA" else (a, b)


@pytest.mark.parametrize("path", cases("cut"))
def test_vectors_and_entropies(path: Path, double):
    case = Case(path)
    config, nodes = case.config, cut.settings_of_options(case.config)
    generator = build("generator", nodes["GENERATOR"], config["input_nc"], config["output_nc"])
    generator.load_state_dict(renamed(case.under("init/G"), cut.NAMES["G"]))
    channels = generator.feature_channels(nodes["LAYERS"])
    projector = PatchProjector(channels, nodes["PROJECTOR_DIM"])
    projector.load_state_dict(renamed(case.under("init/F"), cut.NAMES["F"]))
    loss = PatchNCE(
        temperature=config["nce_T"],
        all_negatives=config["nce_includes_all_negatives_from_minibatch"],
    )
    real_a, _ = directed(case)
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


def config_of(case: Case) -> dict[str, Any]:
    c = case.config
    share = 0.5 if c["nce_idt"] else 1.0
    contrast = {
        "NAME": "patch_nce",
        "WEIGHT": share * c["lambda_NCE"],
        "TEMPERATURE": c["nce_T"],
        "ALL_NEGATIVES": c["nce_includes_all_negatives_from_minibatch"],
    }
    adversarial = {"NAME": ADVERSARIAL[c["gan_mode"]], "CRITIC_WEIGHT": 0.5}
    losses = {"ADVERSARIAL": {**adversarial, "WEIGHT": c["lambda_GAN"]}, "NCE": contrast}
    if c["nce_idt"]:
        losses["NCE_IDENTITY"] = contrast
    adam = {"NAME": "adam", "LR": c["lr"], "BETAS": [c["beta1"], c["beta2"]]}
    return {
        "MODEL": {"NAME": "cut", **cut.settings_of_options(c)},
        "LOSSES": losses,
        "DOMAINS": {"A": {"CHANNELS": c["input_nc"]}, "B": {"CHANNELS": c["output_nc"]}},
        "OPTIM": {"DEFAULT": adam},
        "ENGINE": {"BATCH_SIZE": c["batch_size"]},
    }


def ranks_of(places: list[Tensor], areas: list[int]) -> Tensor:
    """Ranks of which the lowest are those of recorded places, in their order."""
    found = []
    for chosen, area in zip(places, areas, strict=True):
        ranks = torch.ones(area)
        ranks[chosen] = torch.arange(len(chosen)) / len(chosen)
        found.append(ranks)
    return torch.cat(found)[None]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("path", cases("cut"))
def test_training(path: Path, channels_last: bool, double):
    case = Case(path)
    tree = config_of(case)
    tree["ENGINE"]["CHANNELS_LAST"] = channels_last
    real_a, real_b = directed(case, "step0/")
    sizes = {"a": tuple(real_a.shape[2:]), "b": tuple(real_b.shape[2:])}
    training = Training(tree, sizes)
    model = training.model
    for net, path_of in NETWORKS.items():
        weights = renamed(case.under(f"init/{net}"), cut.NAMES[net])
        model.networks()[path_of].load_state_dict(weights)
    with torch.device("meta"):
        probe = build("generator", tree["MODEL"]["GENERATOR"], *[case.config["input_nc"]] * 2)
        maps = probe.features(torch.empty(real_a.shape), model.layers)
    areas = [m[0, 0].numel() for m in maps]
    for step, losses in enumerate(case.info["losses"]):
        x_a, x_b = directed(case, f"step{step}/")
        places, count = case.row(f"step{step}/patch_ids"), len(areas)
        flip = f"step{step}/flip"
        inputs = {
            "x_a": x_a,
            "x_b": x_b,
            "coin": case[flip].reshape(1).double() if flip in case else torch.ones(1),
            "ranks_a": ranks_of(places[:count], areas),
            "ranks_b": ranks_of(places[-count:], areas),
        }
        parts = training.step(inputs, step, rate=losses["lr"])
        weight = case.config["lambda_NCE"]
        ours = {
            "loss_D": 0.5 * parts["discriminator/adversarial/d_ab"],
            "loss_G_GAN": case.config["lambda_GAN"] * parts["generator/adversarial/d_ab"],
            "loss_NCE": weight * parts["generator/nce/q_ab"],
            "loss_G": parts["generator/total"],
        }
        if case.config["nce_idt"]:
            ours["loss_NCE_Y"] = weight * parts["generator/nce_identity/q_bb"]
        for name, value in ours.items():
            off = abs(float(value) - losses[name]) / max(abs(losses[name]), FLOOR)
            case.errors[f"step{step}/{name}"] = off
    for net, path_of in NETWORKS.items():
        compare_network(case, training, net, path_of)
    name, error = max(case.errors.items(), key=lambda item: item[1])
    assert error < BOUND, f"{name} is off by {error:.2e}"


def compare_network(case: Case, training: Training, net: str, path: str) -> None:
    """A network's first gradients and last weights."""
    names = cut.NAMES[net](case.under(f"init/{net}"))
    found = training.gradients[0 if net == "D" else 1]
    recorded = case.under(f"step0/grad/{net}")
    negligible = ZERO * max(float(gradient.abs().max()) for gradient in recorded.values())
    zeros = {name for name, g in recorded.items() if float(g.abs().max()) <= negligible}
    for name in recorded:
        key, mine = f"step0/grad/{net}/{name}", found[f"{path}.{names[name]}"]
        if name in zeros:
            case.errors[key] = 0.0 if float(mine.abs().max()) <= negligible else 1.0
        else:
            case.compare(key, mine)
    state = training.model.networks()[path].state_dict()
    for name, ours in names.items():
        golden = case[f"final/{net}/{name}"]
        error = error_of(state[ours], golden)
        case.errors[f"final/{net}/{name}"] = error * (BOUND / LOOSE if name in zeros else 1)


def test_vectors_of_a_checkpoint():
    folder = checkpoint("cut")
    options = cyclegan.read_options(folder / "train_opt.txt")
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
