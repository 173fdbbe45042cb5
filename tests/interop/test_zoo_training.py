"""The zoo's recipes train as the originals do: every case in the folder MUNIT_ZOO_GOLDEN_ZOO.

A case's options become a config, and its recorded batches and draws go through the objects that
`train` builds: losses, each network's first gradient, and the weights after the last iteration.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from _golden_zoo import FLOOR, Case, cases, replay_dropout
from _replay import ADVERSARIAL, Replay, adam, directed
from torch import Tensor

from munit_zoo.config import bind
from munit_zoo.interop import bicyclegan, cyclegan, cyclegan_options, funit, stargan, starganv2
from munit_zoo.models.stargan import targets as stargan_targets

pytestmark = pytest.mark.golden

LAYOUTS = [False, True]


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# CycleGAN and pix2pix


def cyclegan_tree(case: Case) -> dict[str, Any]:
    c = case.config
    tree = {
        "MODEL": {
            "NAME": "cyclegan",
            "POOL_SIZE": c["pool_size"],
            **cyclegan_options.settings_of_options(c),
        },
        "LOSSES": {
            "ADVERSARIAL": {"NAME": ADVERSARIAL[c["gan_mode"]], "CRITIC_WEIGHT": 0.5},
            "CYCLE_A": {"NAME": "l1", "WEIGHT": c["lambda_A"]},
            "CYCLE_B": {"NAME": "l1", "WEIGHT": c["lambda_B"]},
        },
        "DOMAINS": {"A": {"CHANNELS": c["input_nc"]}, "B": {"CHANNELS": c["output_nc"]}},
        "OPTIM": {"DEFAULT": adam(c)},
    }
    if c["lambda_identity"]:
        for letter in "AB":
            weight = c["lambda_identity"] * c[f"lambda_{letter}"]
            tree["LOSSES"][f"IDENTITY_{letter}"] = {"NAME": "l1", "WEIGHT": weight}
    return tree


def names_of(kind: str) -> Any:
    """The original's names of a kind of network to ours."""
    return cyclegan.generator_names if kind.startswith("G") else cyclegan.discriminator_names


CYCLEGAN = [
    pytest.param(c.values[0], layout, share, fused, marks=c.marks, id=f"{c.id}-{i}")
    for c in cases("cyclegan")
    for i, (layout, share, fused) in enumerate(
        itertools.product(LAYOUTS, ("derived", "none"), (True, False))
    )
]


@pytest.mark.parametrize(("path", "channels_last", "share", "fused"), CYCLEGAN)
def test_cyclegan_and_pix2pix(path, channels_last, share, fused):
    case = Case(path)
    paired = case.info["kind"] == "pix2pix"
    tree = pix2pix_tree(case) if paired else cyclegan_tree(case)
    x = directed(case, "step0/")
    tree["OPTIM"]["DEFAULT"]["FUSED"] = fused
    tree["ENGINE"] = {
        "BATCH_SIZE": len(x["x_a"]),
        "SHARE": share,
        "CHANNELS_LAST": channels_last,
    }
    sizes = {n: tuple(x[f"x_{n}"].shape[2:]) for n in ("a", "b")}
    replay = Replay(path, tree, sizes)
    if paired:
        nets = {n: (p, names_of(n)) for n, p in (("G", "generator"), ("D", "discriminator"))}
    else:
        nets = {
            "G_A": ("b.generator", names_of("G")),
            "G_B": ("a.generator", names_of("G")),
            "D_A": ("b.discriminator", names_of("D")),
            "D_B": ("a.discriminator", names_of("D")),
        }
    replay.load(nets)
    if paired:
        steps = range(len(case.info["losses"]))
        masks = [mask for step in steps for mask in case.row(f"step{step}/mask")]
        replay_dropout(replay.training.model.generator, masks)
    for step, losses in enumerate(case.info["losses"]):
        inputs = directed(case, f"step{step}/")
        if not paired:
            inputs |= pool_draws(case, step)
        parts = replay.training.step(inputs, step, rate=losses["lr"])
        ours = pix2pix_losses(parts, case) if paired else cyclegan_losses(parts, case)
        replay.losses(step, ours)
    first, second = (["D"], ["G"]) if paired else (["G_A", "G_B"], ["D_A", "D_B"])
    replay.gradients(0, first)
    replay.gradients(1, second)
    replay.final()
    replay.check()


def pool_draws(case: Case, step: int) -> dict[str, Tensor]:
    found = {}
    for letter in "AB":
        draws = case.under(f"step{step}/fake_{letter}_pool")
        if draws:
            found[f"swap_{letter.lower()}"] = draws["p"].double()
            found[f"slot_{letter.lower()}"] = draws["id"].long()
        else:
            count = len(case[f"step{step}/A"])
            found[f"swap_{letter.lower()}"] = torch.zeros(count)
            found[f"slot_{letter.lower()}"] = torch.zeros(count, dtype=torch.long)
    return found


def cyclegan_losses(parts: dict[str, Tensor], case: Case) -> dict[str, Any]:
    c = case.config
    found = {
        "loss_G_A": parts["generators/adversarial/d_ab"],
        "loss_G_B": parts["generators/adversarial/d_ba"],
        "loss_cycle_A": c["lambda_A"] * parts["generators/cycle_a/x_aba"],
        "loss_cycle_B": c["lambda_B"] * parts["generators/cycle_b/x_bab"],
        "loss_D_A": 0.5 * parts["discriminators/adversarial/d_pool_ab"],
        "loss_D_B": 0.5 * parts["discriminators/adversarial/d_pool_ba"],
        "loss_G": parts["generators/total"],
    }
    if c["lambda_identity"]:
        found["loss_idt_A"] = (
            c["lambda_identity"] * c["lambda_B"] * parts["generators/identity_b/x_bb"]
        )
        found["loss_idt_B"] = (
            c["lambda_identity"] * c["lambda_A"] * parts["generators/identity_a/x_aa"]
        )
    return {name: value for name, value in found.items() if name in case.info["losses"][0]}


def pix2pix_tree(case: Case) -> dict[str, Any]:
    c = case.config
    return {
        "MODEL": {"NAME": "pix2pix", **cyclegan_options.settings_of_options(c)},
        "LOSSES": {
            "ADVERSARIAL": {"NAME": ADVERSARIAL[c["gan_mode"]], "CRITIC_WEIGHT": 0.5},
            "IMAGE_RECON": {"NAME": "l1", "WEIGHT": c["lambda_L1"]},
        },
        "DOMAINS": {"A": {"CHANNELS": c["input_nc"]}, "B": {"CHANNELS": c["output_nc"]}},
        "OPTIM": {"DEFAULT": adam(c)},
    }


def pix2pix_losses(parts: dict[str, Tensor], case: Case) -> dict[str, Any]:
    return {
        "loss_G_GAN": parts["generator/adversarial/d_ab"],
        "loss_G_L1": case.config["lambda_L1"] * parts["generator/image_recon/x_ab"],
    }


# StarGAN v2

STARGAN2 = {
    "generator": "generator",
    "mapping_network": "mapping",
    "style_encoder": "style_encoder",
    "discriminator": "discriminator",
}


def starganv2_tree(case: Case) -> dict[str, Any]:
    c = case.config
    adam = {
        "NAME": "adam",
        "LR": c["lr"],
        "BETAS": [c["beta1"], c["beta2"]],
        "WEIGHT_DECAY": c["weight_decay"],
    }
    falling = {"NAME": "linear", "START": 0.0, "STOP": 1.0}
    return {
        "MODEL": {
            "NAME": "starganv2_high_pass" if c["w_hpf"] else "starganv2",
            **starganv2.settings_of_options(c, constants=c["substituted"]),
        },
        "LOSSES": {
            "ADVERSARIAL": {"NAME": "nsgan"},
            "R1": {"NAME": "r1", "WEIGHT": c["lambda_reg"]},
            "STYLE_RECON": {"NAME": "l1", "WEIGHT": c["lambda_sty"]},
            "DIVERSITY": {"NAME": "l1", "WEIGHT": -c["lambda_ds"], "SCHEDULE": falling},
            "CYCLE_RECON": {"NAME": "l1", "WEIGHT": c["lambda_cyc"]},
        },
        "DOMAINS": {f"DOMAIN{index}": {"CHANNELS": 3} for index in range(c["num_domains"])},
        "DATA": {"NAME": "image_folder", "ROOT": "unused", "SIZE": c["img_size"]},
        "OPTIM": {"DEFAULT": adam, "NETWORKS": {"MAPPING": {"LR": c["f_lr"]}}},
        "ENGINE": {"ITERATIONS": c["ds_iter"], "BATCH_SIZE": c["batch_size"]},
    }


STARGANV2 = [
    pytest.param(c.values[0], *setting, marks=c.marks, id="-".join([c.id, *map(str, setting)]))
    for c in cases("starganv2")
    for setting in ((True, "derived"), (False, "none"))
]


@pytest.mark.parametrize(("path", "channels_last", "share"), STARGANV2)
def test_starganv2(path, channels_last, share):
    case = Case(path)
    tree = starganv2_tree(case)
    tree["ENGINE"] |= {"CHANNELS_LAST": channels_last, "SHARE": share}
    size = (case.config["img_size"],) * 2
    replay = Replay(path, tree, {name.lower(): size for name in tree["DOMAINS"]})
    replay.load(
        {
            net: (path, lambda names, net=net: starganv2.names_of(net, names))
            for net, path in STARGAN2.items()
        }
    )
    for step in range(case.info["iterations"]):
        given = case.under(f"step{step}")
        inputs: dict[str, Any] = {
            "x": given["x_src"],
            "y": given["y_src"],
            "x_trg": given["x_ref"],
            "x_trg2": given["x_ref2"],
            "y_trg": given["y_trg"],
            "z": given["z_trg"],
            "z2": given["z_trg2"],
        }
        if case.config["w_hpf"]:
            inputs |= {
                "masks": case.row(f"step{step}/masks/src"),
                "masks_z": case.row(f"step{step}/masks/fake_latent"),
                "masks_ref": case.row(f"step{step}/masks/fake_ref"),
            }
        replay.losses(step, starganv2_losses(replay.training.step(inputs, step), case, step))
    updates = [
        ("d_latent", ["discriminator"]),
        ("d_ref", ["discriminator"]),
        ("g_latent", ["generator", "mapping_network", "style_encoder"]),
        ("g_ref", ["generator"]),
    ]
    for index, (name, nets) in enumerate(updates):
        replay.gradients(index, nets, f"step0/grad/{name}")
    replay.final()
    replay.check()


def starganv2_losses(parts: dict[str, Tensor], case: Case, step: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    recorded = case.info["losses"][step]
    for theirs, ours in (("latent", "z"), ("ref", "ref")):
        found |= {
            f"D/{theirs}_reg": parts[f"discriminator_{ours}/r1/d_real"],
            f"D/{theirs}_total": parts[f"discriminator_{ours}/total"],
            f"G/{theirs}_adv": parts[f"generator_{ours}/adversarial/d_{ours}"],
            f"G/{theirs}_sty": parts[f"generator_{ours}/style_recon/s_fake_{ours}"],
            f"G/{theirs}_cyc": parts[f"generator_{ours}/cycle_recon/cycle_{ours}"],
            f"G/{theirs}_ds": parts[f"generator_{ours}/diversity/fake_{ours}"],
            f"G/{theirs}_total": parts[f"generator_{ours}/total"],
        }
        # ours is the sum of what theirs logs apart
        both = parts[f"discriminator_{ours}/adversarial/d_{ours}"]
        found[f"D/{theirs}_real"] = both - recorded[f"D/{theirs}_fake"]
    return found


# BicycleGAN

BICYCLE = {
    "G": "generator",
    "E": "style_encoder",
    "D": "discriminator",
    "D2": "discriminator2",
}


def bicyclegan_tree(case: Case) -> dict[str, Any]:
    c = case.config
    pairs = c["batch_size"] // 2  # of a batch, one half is translated
    samples = pairs if c["num_Ds"] == 1 else 1  # of one scale, theirs is a sum over the samples
    gan = {"NAME": ADVERSARIAL[c["gan_mode"]], "CRITIC_WEIGHT": samples}
    return {
        "MODEL": {
            "NAME": "bicyclegan",
            "TWO_STEPS": "two_steps" in case.info["name"],
            **bicyclegan.settings_of_options(c),
        },
        "LOSSES": {
            "ADVERSARIAL": {**gan, "WEIGHT": samples * c["lambda_GAN"]},
            "ADVERSARIAL2": {**gan, "WEIGHT": samples * c["lambda_GAN2"]},
            "IMAGE_RECON": {"NAME": "l1", "WEIGHT": c["lambda_L1"]},
            "KL": {"NAME": "vae_kl", "WEIGHT": pairs * c["lambda_kl"]},  # theirs is a sum
            "STYLE_RECON": {"NAME": "l1", "WEIGHT": c["lambda_z"]},
        },
        "DOMAINS": {"A": {"CHANNELS": c["input_nc"]}, "B": {"CHANNELS": c["output_nc"]}},
        "OPTIM": {"DEFAULT": adam(c)},
        "ENGINE": {"BATCH_SIZE": pairs},
    }


def bicyclegan_inputs(case: Case, step: int) -> dict[str, Tensor]:
    """A batch as two of ours: pairs to translate, and pairs that are only real."""
    names = ("x_b", "x_a") if case.config["direction"] == "BtoA" else ("x_a", "x_b")
    found = {"noise": case[f"step{step}/eps"], "z": case[f"step{step}/z_random"]}
    for letter, name in zip("ab", names, strict=True):
        images = case[f"step{step}/{name}"].double() / 128
        found[f"x_{letter}"], found[f"x_{letter}2"] = images.chunk(2)
    return found


def bicyclegan_losses(parts: dict[str, Tensor], case: Case, step: int) -> dict[str, Any]:
    c, found = case.config, {}
    pairs = c["batch_size"] // 2
    samples = pairs if c["num_Ds"] == 1 else 1
    found["loss_G_GAN"] = samples * c["lambda_GAN"] * parts["generator/adversarial/d_bb"]
    found["loss_G_GAN2"] = samples * c["lambda_GAN2"] * parts["generator/adversarial2/d2_ab"]
    found["loss_kl"] = pairs * c["lambda_kl"] * parts["generator/kl/mu"]
    found["loss_G_L1"] = c["lambda_L1"] * parts["generator/image_recon/x_bb"]
    found["loss_D"] = samples * parts["discriminators/adversarial/d_bb"]
    found["loss_D2"] = samples * parts["discriminators/adversarial2/d2_ab"]
    if "generator/style_recon/mu_ab" in parts:
        found["loss_z_L1"] = c["lambda_z"] * parts["generator/style_recon/mu_ab"]
        found["loss_G"] = parts["generator/total"] - found["loss_z_L1"]
    else:
        found["loss_G"] = parts["generator/total"]
    return found


BICYCLEGAN = [
    pytest.param(c.values[0], *setting, marks=c.marks, id="-".join([c.id, *map(str, setting)]))
    for c in cases("bicyclegan")
    for setting in ((True, "derived"), (False, "none"))
]


@pytest.mark.parametrize(("path", "channels_last", "share"), BICYCLEGAN)
def test_bicyclegan(path, channels_last, share):
    """Where the original steps its generator twice, the second time through weights that the first
    has changed, all that comes before that: ours computes the code's loss anew."""
    case = Case(path)
    two_steps = "two_steps" in case.info["name"]
    tree = bicyclegan_tree(case)
    tree["ENGINE"] |= {"CHANNELS_LAST": channels_last, "SHARE": share}
    first = bicyclegan_inputs(case, 0)
    sizes = {letter: tuple(first[f"x_{letter}"].shape[2:]) for letter in "ab"}
    replay = Replay(path, tree, sizes)
    nets = {net: path for net, path in BICYCLE.items() if case.under(f"init/{net}")}
    replay.load(
        {
            net: (path, lambda names, net=net: bicyclegan.names_of(net, names))
            for net, path in nets.items()
        }
    )
    steps = range(1 if two_steps else case.info["iterations"])
    masks = [mask for step in steps for mask in case.row(f"step{step}/dropout")]
    if masks:
        replay_dropout(replay.training.model.generator, masks)
    for step in steps:
        inputs, rate = bicyclegan_inputs(case, step), case.info["losses"][step]["lr"]
        parts = replay.training.step(inputs, step, rate=rate)
        replay.losses(step, bicyclegan_losses(parts, case, step))
    replay.gradients(0, ["G", "E"])
    replay.gradients(1, [net for net in nets if net.startswith("D")])
    if not two_steps:
        replay.final()
    replay.check()


# StarGAN


def stargan_tree(case: Case) -> dict[str, Any]:
    c = case.config
    nodes = stargan.settings_of_options(c)
    told = nodes.pop("LABEL_DIM")
    adam = {"NAME": "adam", "BETAS": [c["beta1"], c["beta2"]]}
    bce, entropy = {"NAME": "attribute_bce"}, {"NAME": "cross_entropy"}
    labels = {"CelebA": {"": bce}, "RaFD": {"": entropy}, "Both": {"_A": bce, "_B": entropy}}
    names = {"CelebA": ["FACES"], "RaFD": [f"D{k}" for k in range(c["c_dim"])], "Both": "AB"}
    return {
        "MODEL": {**nodes, **stargan.model_of_options({**stargan.DEFAULTS, **c}, told)},
        "LOSSES": {
            "ADVERSARIAL": {"NAME": "wgan"},
            "GRADIENT_PENALTY": {"NAME": "wgan_gp", "WEIGHT": c["lambda_gp"]},
            **{
                f"LABELS{of}": {**loss, "WEIGHT": c["lambda_cls"]}
                for of, loss in labels[c["dataset"]].items()
            },
            "CYCLE_RECON": {"NAME": "l1", "WEIGHT": c["lambda_rec"]},
        },
        "DOMAINS": {name: {"CHANNELS": 3} for name in names[c["dataset"]]},
        "OPTIM": {
            "DEFAULT": {**adam, "LR": c["g_lr"]},
            "NETWORKS": {"DISCRIMINATOR": {"LR": c["d_lr"]}},
            "SCHEDULE": stargan.schedule_of_options(c),
        },
        "ENGINE": {"ITERATIONS": c["num_iters"], "BATCH_SIZE": c["batch_size"]},
    }


SETS = {"": "", "_a": "CelebA/", "_b": "RaFD/"}


def stargan_losses(parts: dict[str, Tensor], of: str, recorded: dict[str, float]) -> dict[str, Any]:
    d, g = f"discriminator{of}", f"generator{of}"
    found = {
        # ours is the sum of what theirs logs apart
        "D/loss_real": parts[f"{d}/adversarial/d_fake{of}"] - recorded["D/loss_fake"],
        "D/loss_cls": parts[f"{d}/labels{of}/y_real{of}"],
        "D/loss_gp": parts[f"{d}/gradient_penalty/d_between{of}"],
        "d_loss": parts[f"{d}/total"],
    }
    if f"{g}/total" in parts:
        found |= {
            "G/loss_fake": parts[f"{g}/adversarial/d_fake{of}"],
            "G/loss_rec": parts[f"{g}/cycle_recon/x_cycle{of}"],
            "G/loss_cls": parts[f"{g}/labels{of}/y_fake{of}"],
            "g_loss": parts[f"{g}/total"],
        }
    assert ("g_loss" in found) == ("g_loss" in recorded)
    return found


STARGAN = [
    pytest.param(c.values[0], *setting, marks=c.marks, id="-".join([c.id, *map(str, setting)]))
    for c in cases("stargan")
    for setting in ((True, "derived"), (False, "none"))
]


@pytest.mark.parametrize(("path", "channels_last", "share"), STARGAN)
def test_stargan(path, channels_last, share):
    case = Case(path)
    c = case.config
    tree = stargan_tree(case)
    tree["ENGINE"] |= {"CHANNELS_LAST": channels_last, "SHARE": share}
    sizes = {name.lower(): (c["image_size"],) * 2 for name in tree["DOMAINS"]}
    replay = Replay(path, tree, sizes)
    replay.load(
        {"G": ("generator", stargan.NAMES["G"]), "D": ("discriminator", stargan.NAMES["D"])}
    )
    sets = {of: name for of, name in SETS.items() if (of == "") == (c["dataset"] != "Both")}
    config = replay.training.config
    schedule = bind("schedule", config.OPTIM.SCHEDULE)()
    for step, losses in enumerate(case.info["losses"]):
        factor = schedule.factor(step, config.ENGINE.ITERATIONS)
        for group in replay.training.groups:
            for settings in group.optimizer.param_groups:
                settings["lr"] = group.rate * factor
        inputs = {}
        for of, name in sets.items():
            given = case.under(f"step{step}/{name}".rstrip("/"))
            label = given["label_org"]
            inputs |= {f"x{of}": given["x_real"], f"y{of}": label, f"alpha{of}": given["alpha"]}
            inputs[f"y_trg{of}"] = label[given["rand_idx"]]
        parts = replay.training.step(inputs, step)
        for of, name in sets.items():
            recorded = losses[name.rstrip("/")] if name else losses
            assert recorded["d_lr"] == pytest.approx(c["d_lr"] * factor, rel=1e-12)
            for loss, value in stargan_losses(parts, of, recorded).items():
                error = abs(float(value) - recorded[loss]) / max(abs(recorded[loss]), FLOOR)
                replay.case.errors[f"step{step}/{name}{loss}"] = error
    updates = replay.training.objective.graph.updates
    for index, update in enumerate(updates):
        net, of = update.name[0].upper(), update.name[-2:] if "_" in update.name else ""
        first = c["n_critic"] - 1 if net == "G" else 0
        replay.gradients(index, [net], f"step{first}/{SETS[of]}grad")
    replay.final()
    replay.check()


@pytest.mark.parametrize("path", cases("stargan"))
def test_stargans_protocol(path):
    """The labels that images are translated to, of their own."""
    case = Case(path)
    if case.config["dataset"] == "RaFD":
        for index, target in enumerate(case.row("test_labels")):
            assert (target.argmax(dim=1) == index).all()
        return
    names = case.config["selected_attrs"]
    label = case[
        "step0/CelebA/label_org" if "step0/CelebA/label_org" in case else "step0/label_org"
    ]
    found = stargan_targets(label, names)
    for ours, golden in zip(found, case.row("test_labels"), strict=True):
        assert torch.equal(ours, golden)


# FUNIT

GENERATOR_PARTS = ("content_encoder", "style_encoder", "decoder")


def funit_tree(case: Case) -> dict[str, Any]:
    c = case.config
    rmsprop = {"NAME": "rmsprop", "WEIGHT_DECAY": c["weight_decay"]}
    return {
        "MODEL": {
            "NAME": "funit",
            "CLASSES": c["dis"]["num_classes"],
            **funit.settings_of_options(c),
        },
        "LOSSES": {
            "ADVERSARIAL": {
                "NAME": "hinge",
                "WEIGHT": 0.5 * c["gan_w"],
                "CRITIC_WEIGHT": c["gan_w"],
            },
            "R1": {"NAME": "r1", "OF": "mean", "WEIGHT": 20},
            "IMAGE_RECON": {"NAME": "l1", "WEIGHT": c["r_w"]},
            "FEATURE_MATCHING": {"NAME": "l1", "WEIGHT": c["fm_w"]},
        },
        "DOMAINS": {"ANIMALS": {"CHANNELS": 3}},
        "OPTIM": {  # the original exchanges its two rates
            "DEFAULT": {**rmsprop, "LR": c["lr_dis"]},
            "NETWORKS": {"DISCRIMINATOR": {"LR": c["lr_gen"]}},
        },
    }


FUNIT = [
    pytest.param(c.values[0], *setting, marks=c.marks, id="-".join([c.id, *map(str, setting)]))
    for c in cases("funit")
    for setting in ((True, "derived"), (False, "none"))
]


@pytest.mark.parametrize(("path", "channels_last", "share"), FUNIT)
def test_funit(path, channels_last, share):
    case = Case(path)
    tree = funit_tree(case)
    tree["ENGINE"] = {
        "BATCH_SIZE": len(case["x_a"]),
        "CHANNELS_LAST": channels_last,
        "SHARE": share,
    }
    replay = Replay(path, tree, {"animals": tuple(case["x_a"].shape[2:])})

    def part(network: str) -> Any:
        own = replay.training.model.networks()[network].state_dict()
        places = funit.generator_names([f"{network}.{name}" for name in own], case.config)
        return lambda names: {
            name: places[name].removeprefix(f"{network}.") for name in names if name in places
        }

    nets = {f"gen#{network}": (network, part(network)) for network in GENERATOR_PARTS}
    replay.load({**nets, "dis": ("discriminator", funit.discriminator_names)})
    for step, recorded in enumerate(case.info["losses"]):
        given = case.under(f"step{step}")
        inputs = {
            "x": given["x_a"],
            "y": given["l_a"],
            "x_cls": given["x_b"],
            "y_cls": given["l_b"],
        }
        ours = funit_losses(replay.training.step(inputs, step))
        for update, losses in ours.items():
            for name, value in losses.items():
                golden = recorded[update][name]
                error = abs(float(value) - golden) / max(abs(golden), FLOOR)
                replay.case.errors[f"step{step}/{update}/{name}"] = error
    replay.gradients(0, ["dis"])
    replay.gradients(1, list(nets))
    replay.final()
    replay.check()


def funit_losses(parts: dict[str, Tensor]) -> dict[str, dict[str, Any]]:
    return {
        "dis_update": {
            "loss_dis_total": parts["discriminator/total"],
            "loss_dis_reg": 2 * parts["discriminator/r1/d_cls"],
        },
        "gen_update": {
            "loss_gen_total": parts["generator/total"],
            "loss_gen_adv": 0.5
            * (parts["generator/adversarial/d_trans"] + parts["generator/adversarial/d_recon"]),
            "loss_gen_recon_x": parts["generator/image_recon/x_recon"],
            "loss_gen_recon_c": parts["generator/feature_matching/m_recon"],
            "loss_gen_recon_s": parts["generator/feature_matching/m_trans"],
        },
    }
