"""The zoo's networks compute what the originals' do, from their weights and their options.

Every case in the folder MUNIT_ZOO_GOLDEN_ZOO, in float64: what is recorded of the networks before
any update. What training makes of them is compared where the recipes are tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from _golden_zoo import (
    BOUND,
    CHECKPOINT_BOUND,
    Case,
    build,
    cases,
    checkpoint,
    error_of,
    replay_dropout,
)
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from munit_zoo.blocks.pools import ImagePool
from munit_zoo.config import resolve_component
from munit_zoo.interop import bicyclegan, cut, cyclegan, cyclegan_options, funit, stargan, starganv2
from munit_zoo.interop.checkpoints import renamed
from munit_zoo.registry import LOSSES

pytestmark = pytest.mark.golden


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def loaded(network: nn.Module, weights: dict[str, Tensor], names: Any) -> nn.Module:
    """The network with an original's weights; every one of them has a place."""
    network.load_state_dict(renamed(weights, names))
    return network


# CycleGAN and pix2pix


def cyclegan_networks(case: Case) -> dict[str, nn.Module]:
    """The original's networks by its names, of its options, with the case's first weights."""
    nodes = cyclegan_options.settings_of_options(case.config)
    channels = case.config["input_nc"], case.config["output_nc"]
    paired = case.info["kind"] == "pix2pix"
    wired = {"G": channels, "D": (sum(channels),)} if paired else {}
    if not paired:
        wired = {
            "G_A": channels,
            "G_B": channels[::-1],
            "D_A": (channels[1],),
            "D_B": (channels[0],),
        }
    found = {}
    for name, given in wired.items():
        kind = "generator" if name.startswith("G") else "discriminator"
        names = getattr(cyclegan, f"{kind}_names")
        network = build(kind, nodes[kind.upper()], *given)
        found[name] = loaded(network, case.under(f"init/{name}"), names)
    return found


def cyclegan_forward(networks: Any, real_a: Tensor, real_b: Tensor) -> dict[str, Tensor]:
    """What a case records of CycleGAN's networks, by its names."""
    to_b, to_a = networks["G_A"], networks["G_B"]
    found = {"fake_B": to_b(real_a), "fake_A": to_a(real_b)}
    found |= {"rec_A": to_a(found["fake_B"]), "rec_B": to_b(found["fake_A"])}
    if real_a.shape[1] == real_b.shape[1]:
        found |= {"idt_A": to_b(real_b), "idt_B": to_a(real_a)}
    (found["D_A_real"],), (found["D_B_real"],) = networks["D_A"](real_b), networks["D_B"](real_a)
    (found["D_A_fake"],) = networks["D_A"](found["fake_B"])
    (found["D_B_fake"],) = networks["D_B"](found["fake_A"])
    return found


def pix2pix_forward(networks: Any, real_a: Tensor, real_b: Tensor) -> dict[str, Tensor]:
    """What a case records of pix2pix's networks, by its names."""
    fake_b = networks["G"](real_a)
    (real,), (fake,) = (networks["D"](torch.cat([real_a, b], dim=1)) for b in (real_b, fake_b))
    return {"fake_B": fake_b, "D_real": real, "D_fake": fake}


@pytest.mark.parametrize("path", cases("cyclegan"))
def test_cyclegan_and_pix2pix(path: Path, double):
    case = Case(path)
    networks = cyclegan_networks(case)
    real_a, real_b = case["A"], case["B"]
    if case.config["direction"] == "BtoA":
        real_a, real_b = real_b, real_a

    for prefix, training in (("fwd/eval_", False), ("fwd/", True)):
        for network in networks.values():
            network.train(training)
        if "G" in networks and training:
            replay_dropout(networks["G"], case.row("fwd/mask"))
        compute = pix2pix_forward if "G" in networks else cyclegan_forward
        with torch.no_grad():
            for name, value in compute(networks, real_a, real_b).items():
                if prefix + name in case:
                    case.compare(prefix + name, value)
    assert case.worst("fwd/", apart_from=("fwd/mask/",))[1] < BOUND, case.errors


def as_told(kind: str, node: dict[str, Any], *untold: str) -> dict[str, Any]:
    """All settings of a node, but for those that no shape tells."""
    plain = resolve_component(kind, node).plain()
    return {key: value for key, value in plain.items() if key not in untold}


def shapes_of(weights: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in weights.items()}


INIT = ("INIT", "INIT_GAIN")


@pytest.mark.parametrize("path", cases("cyclegan"))
def test_cyclegan_settings_follow_from_names_and_shapes(path: Path):
    case = Case(path)
    nodes = cyclegan_options.settings_of_options(case.config)
    untold = (*INIT, "DROPOUT") if nodes["GENERATOR"]["NAME"] == "unet" else INIT
    for name in {key.split("/")[1] for key in case.tensors if key.startswith("init/")}:
        kind = "generator" if name.startswith("G") else "discriminator"
        tell = getattr(cyclegan, f"{kind}_settings")
        told = tell(shapes_of(case.under(f"init/{name}")))
        expected = as_told(kind, nodes[kind.upper()], *untold)
        assert as_told(kind, told, *untold) == expected


def test_cyclegan_checkpoint():
    folder = checkpoint("cyclegan")
    options = cyclegan_options.read_options(folder / "train_opt.txt")
    read = cyclegan.read_checkpoint(sorted(folder.glob("*.pth")), options)
    bare = cyclegan.read_checkpoint(folder.glob("*.pth")).settings
    for kind, node in cyclegan_options.settings_of_options(options).items():
        assert as_told(kind.lower(), read.settings[kind]) == as_told(kind.lower(), node)
        assert as_told(kind.lower(), bare[kind], *INIT) == as_told(kind.lower(), node, *INIT)
    networks = {}
    for name, weights in read.weights.items():
        kind = "generator" if name.startswith("G") else "discriminator"
        wired = [count for count in read.channels[name] if count is not None]
        networks[name] = build(kind, read.settings[kind.upper()], *wired)
        networks[name].load_state_dict(weights)
    golden = load_file(folder / "expected.safetensors")
    with torch.no_grad():
        found = cyclegan_forward(networks, golden["real_A"], golden["real_B"])
    ours = {name: value for name, value in found.items() if name in golden}
    assert set(ours) == set(golden) - {"real_A", "real_B"}
    errors = {name: error_of(value, golden[name]) for name, value in ours.items()}
    assert max(errors.values()) < CHECKPOINT_BOUND, errors


@pytest.mark.parametrize("path", cases("cyclegan"))
def test_cyclegan_pools(path: Path, double):
    """The recorded draws drive the pool as its words say, image by image."""
    case = Case(path)
    size = case.config["pool_size"]
    if "step0/fake_B_pool/p" not in case:
        pytest.skip("the case has no pool")
    pool, stored = ImagePool(size), []
    for step in range(case.info["iterations"]):
        draws = case.under(f"step{step}/fake_B_pool")
        images = case[f"step{step}/B"]
        expected = []
        for image, p, number in zip(images, draws["p"].tolist(), draws["id"].tolist(), strict=True):
            if len(stored) < size:
                assert p == -1
                stored.append(image)
                expected.append(image)
            elif p > 0.5:
                expected.append(stored[int(number)])
                stored[int(number)] = image
            else:
                assert number == -1
                expected.append(image)
        assert torch.equal(pool(images, draws["p"], draws["id"]), torch.stack(expected))


# StarGAN v2


def starganv2_networks(nodes: dict[str, Any], domains: int, channels: int = 3) -> Any:
    """Networks by the original's names, of a config's nodes."""
    style, latent = nodes["STYLE_DIM"], nodes["LATENT_DIM"]
    wired = {
        "generator": (channels, channels, style),
        "mapping": (latent, style, domains),
        "style_encoder": (channels, style, domains),
        "discriminator": (channels, domains),
    }
    return {
        theirs: build(ours, nodes[ours.upper()], *wired[ours])
        for theirs, ours in starganv2.NETWORKS.items()
        if ours.upper() in nodes
    }


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "plain"])
@pytest.mark.parametrize("path", cases("starganv2"))
def test_starganv2(path: Path, fold: bool, double):
    case = Case(path)
    options = case.config
    nodes = starganv2.settings_of_options(options, options["substituted"])
    nodes["GENERATOR"]["FOLD"] = fold
    networks = starganv2_networks(nodes, options["num_domains"])
    for name, network in networks.items():
        weights = case.under(f"init/{name}")
        loaded(network, weights, partial(starganv2.names_of, name))
    x, y_trg, z = case["step0/x_src"], case["step0/y_trg"], case["z"]
    with torch.no_grad():
        for y in range(options["num_domains"]):
            of_y = torch.full((len(x),), y)
            case.compare(f"fwd/mapping_network/{y}", networks["mapping_network"](z, of_y))
            style = networks["style_encoder"](case["step0/x_ref"], of_y)
            case.compare(f"fwd/style_encoder/{y}", style)
            (logits,) = networks["discriminator"](x, of_y)
            case.compare(f"fwd/discriminator/{y}", logits.squeeze(1))
        latent = networks["mapping_network"](z, y_trg)
        reference = networks["style_encoder"](case["step0/x_ref"], y_trg)
        masks = case.row("masks") or None
        generator = networks["generator"]
        case.compare("fwd/x_fake_latent", generator(x, latent, masks))
        case.compare("fwd/x_fake_ref", generator(x, reference, masks))
        if masks:
            case.compare("fwd/x_fake_without_masks", generator(x, latent))
        if "x_wide" in case:
            case.compare("fwd/x_fake_wide", generator(case["x_wide"], latent[:1]))
    assert case.worst("fwd/")[1] < BOUND, case.errors


@pytest.mark.parametrize("path", cases("starganv2"))
def test_starganv2_settings_follow_from_names_and_shapes(path: Path):
    case = Case(path)
    options = case.config
    nodes = starganv2.settings_of_options(options, options["substituted"])
    weights = {name: case.under(f"init/{name}") for name in starganv2.NETWORKS}
    told = starganv2.settings_of_weights(weights)
    for key in ("STYLE_DIM", "LATENT_DIM"):
        assert told[key] == nodes[key]
    if "hpf.filter" in weights["generator"]:
        expected = pytest.approx(nodes["GENERATOR"]["HIGH_PASS"], abs=1e-6)
        assert told["GENERATOR"]["HIGH_PASS"] == expected
    # widths have several spellings where they do not reach their limit
    with torch.device("meta"):
        ours, theirs = (starganv2_networks(n, options["num_domains"]) for n in (told, nodes))
    for name, network in ours.items():
        assert shapes_of(network.state_dict()) == shapes_of(theirs[name].state_dict())


@pytest.mark.parametrize("kind", ["ema", "live"])
def test_starganv2_checkpoint(kind: str):
    folder = checkpoint("starganv2")
    suffix = "_ema" if kind == "ema" else ""
    (file,) = folder.glob(f"*_nets{suffix}.ckpt")
    read = starganv2.read_checkpoint(file)
    golden = load_file(folder / "expected.safetensors")
    domains = len({name for name in golden if name.startswith(f"{kind}/s_latent/")})
    networks = starganv2_networks(read.settings, domains)
    assert set(networks) == set(read.weights)
    for name, network in networks.items():
        network.load_state_dict(read.weights[name])
    x, ours = golden["x_src"], {}
    with torch.no_grad():
        for y in range(domains):
            of_y = torch.full((len(x),), y)
            latent = networks["mapping_network"](golden["z"], of_y)
            reference = networks["style_encoder"](golden["x_ref"], of_y)
            ours |= {f"{kind}/s_latent/{y}": latent, f"{kind}/s_ref/{y}": reference}
            ours[f"{kind}/x_fake_latent/{y}"] = networks["generator"](x, latent)
            ours[f"{kind}/x_fake_ref/{y}"] = networks["generator"](x, reference)
            if "discriminator" in networks:
                (logits,) = networks["discriminator"](x, of_y)
                ours[f"{kind}/discriminator/{y}"] = logits.squeeze(1)
    assert set(ours) == {name for name in golden if name.startswith(f"{kind}/")}
    errors = {name: error_of(value, golden[name]) for name, value in ours.items()}
    assert max(errors.values()) < CHECKPOINT_BOUND, errors


# CUT and FastCUT; F and its loss are the plug-in's, and tested there


@pytest.mark.parametrize("path", cases("cut"))
def test_cut(path: Path, double):
    case = Case(path)
    nodes = cut.settings_of_options(case.config)
    channels = case.config["input_nc"], case.config["output_nc"]
    generator = build("generator", nodes["GENERATOR"], *channels)
    discriminator = build("discriminator", nodes["DISCRIMINATOR"], channels[1])
    loaded(generator, case.under("init/G"), cut.NAMES["G"])
    loaded(discriminator, case.under("init/D"), cut.NAMES["D"])
    real_a, real_b = case["A"], case["B"]
    if case.config["direction"] == "BtoA":
        real_a, real_b = real_b, real_a
    both = torch.cat([real_a, real_b]) if case.config["nce_idt"] else real_a
    for prefix, training in (("fwd/eval_", False), ("fwd/", True)):
        generator.train(training), discriminator.train(training)
        with torch.no_grad():
            fakes = generator(both)
            ours = {"fake_B": fakes[: len(real_a)], "idt_B": fakes[len(real_a) :]}
            (ours["D_fake"],), (ours["D_real"],) = map(discriminator, (ours["fake_B"], real_b))
        for name, value in ours.items():
            if prefix + name in case:
                case.compare(prefix + name, value)
    with torch.no_grad():
        features = generator.features(real_a, nodes["LAYERS"])
    assert [f.shape[1] for f in features] == generator.feature_channels(nodes["LAYERS"])
    for layer, feature in zip(nodes["LAYERS"], features, strict=True):
        if layer:  # the padded image itself is left out
            case.compare(f"fwd/feat/{layer}", feature)
    elsewhere = ("fwd/nce", "fwd/sample", "fwd/patch_ids")
    assert case.worst("fwd/", apart_from=elsewhere)[1] < BOUND, case.errors


@pytest.mark.parametrize("path", cases("cut"))
def test_cut_settings_follow_from_names_and_shapes(path: Path):
    case = Case(path)
    nodes = cut.settings_of_options(case.config)
    for name, kind in (("G", "generator"), ("D", "discriminator")):
        tell = getattr(cyclegan, f"{kind}_settings")
        told = tell(shapes_of(case.under(f"init/{name}")))
        assert as_told(kind, told, *INIT) == as_told(kind, nodes[kind.upper()], *INIT)


def test_cut_checkpoint():
    folder = checkpoint("cut")
    options = cyclegan_options.read_options(folder / "train_opt.txt")
    files = sorted(folder.glob("*.pth"))
    read = cut.read_checkpoint(files, options)
    nodes = cut.settings_of_options(options)
    for kind in ("generator", "discriminator"):
        assert as_told(kind, read.settings[kind.upper()]) == as_told(kind, nodes[kind.upper()])
    plain = [key for key in nodes if key not in ("GENERATOR", "DISCRIMINATOR")]
    assert {key: read.settings[key] for key in plain} == {key: nodes[key] for key in plain}
    bare = cut.read_checkpoint(files).settings
    assert bare["LAYERS"] == nodes["LAYERS"]
    assert as_told("generator", bare["GENERATOR"], *INIT) == as_told(
        "generator", nodes["GENERATOR"], *INIT
    )
    generator = build("generator", read.settings["GENERATOR"], *read.channels["G"])
    discriminator = build("discriminator", read.settings["DISCRIMINATOR"], read.channels["D"][0])
    generator.load_state_dict(read.weights["G"])
    discriminator.load_state_dict(read.weights["D"])
    golden = load_file(folder / "expected.safetensors")
    with torch.no_grad():
        fake = generator(golden["real_A"])
        (logits,) = discriminator(fake)
    assert error_of(fake, golden["fake_B"]) < CHECKPOINT_BOUND
    assert error_of(logits, golden["D_fake"]) < CHECKPOINT_BOUND


# BicycleGAN


def bicyclegan_networks(nodes: dict[str, Any], options: dict[str, Any]) -> dict[str, nn.Module]:
    """The original's networks by its names, of its options."""
    channels = options["input_nc"], options["output_nc"]
    judged = sum(channels) if options["conditional_D"] else channels[1]
    wired = {
        "G": ("generator", "GENERATOR", (*channels, nodes["STYLE_DIM"])),
        "E": ("style_encoder", "STYLE_ENCODER", (channels[1], 2 * nodes["STYLE_DIM"])),
        "D": ("discriminator", "DISCRIMINATOR", (judged,)),
        "D2": ("discriminator", "DISCRIMINATOR2", (judged,)),
    }
    return {
        name: build(kind, nodes[key], *given)
        for name, (kind, key, given) in wired.items()
        if key in nodes
    }


@pytest.mark.parametrize("path", cases("bicyclegan"))
def test_bicyclegan(path: Path, double):
    case = Case(path)
    options = case.config
    networks = bicyclegan_networks(bicyclegan.settings_of_options(options), options)
    for name, network in networks.items():
        loaded(network, case.under(f"init/{name}"), partial(bicyclegan.names_of, name))
    masks = case.row("step0/dropout")
    names = ("x_b", "x_a") if options["direction"] == "BtoA" else ("x_a", "x_b")
    a, b = (case[f"step0/{name}"].double() / 128 for name in names)
    half = len(a) // 2
    generate, encode = networks["G"], networks["E"]
    with torch.no_grad():
        mu, logvar = encode(b[:half]).chunk(2, dim=1)
        z = mu + case["step0/eps"] * (logvar / 2).exp()
        if masks:
            replay_dropout(generate, masks)
        encoded = generate(a[:half], z)
        drawn = generate(a[:half], case["step0/z_random"])
        ours = {"mu": mu, "logvar": logvar, "z_encoded": z, "z_random": case["step0/z_random"]}
        ours |= {"mu2": encode(drawn).chunk(2, dim=1)[0]}
        ours |= {"fake_B_encoded": encoded[..., ::4, ::4], "fake_B_random": drawn[..., ::4, ::4]}
        second = "D" if options["use_same_D"] else "D2"
        for net, name, seen, image in (
            ("D", "fake_encoded", a[:half], encoded),
            ("D", "real_encoded", a[:half], b[:half]),
            (second, "fake_random", a[:half], drawn),
            (second, "real_random", a[half:], b[half:]),
        ):
            judged = torch.cat([seen, image], dim=1) if options["conditional_D"] else image
            logits = networks[net](judged)
            for scale, part in enumerate(logits):
                place = f"{net}/{name}/{scale}"
                ours[place if f"fwd/{place}" in case else f"{net}/{name}"] = part
    for name, value in ours.items():
        case.compare(f"fwd/{name}", value)
    assert case.worst("fwd/")[1] < BOUND, case.errors


@pytest.mark.parametrize("path", cases("bicyclegan"))
def test_bicyclegan_after_training(path: Path, double):
    """In evaluation mode, with the last weights."""
    case = Case(path)
    options = case.config
    networks = bicyclegan_networks(bicyclegan.settings_of_options(options), options)
    for name in ("G", "E"):
        loaded(networks[name], case.under(f"final/{name}"), partial(bicyclegan.names_of, name))
        networks[name].eval()
    last = case.info["iterations"] - 1
    names = ("x_b", "x_a") if options["direction"] == "BtoA" else ("x_a", "x_b")
    a, b = (case[f"step{last}/{name}"][:1].double() / 128 for name in names)
    with torch.no_grad():
        mu, _ = networks["E"](b).chunk(2, dim=1)
        for name, code in (("encoded", mu), ("random", case["test/z"][1:2])):
            case.compare(f"test/fake_B_{name}", networks["G"](a, code)[..., ::4, ::4])
    assert case.worst("test/fake")[1] < BOUND, case.errors


def test_bicyclegan_checkpoint():
    folder = checkpoint("bicyclegan")
    options = cyclegan_options.read_options(folder / "opt.txt")
    read = bicyclegan.read_checkpoint(folder.glob("*.pth"), options)
    networks = bicyclegan_networks(read.settings, options)
    for name, network in networks.items():
        network.load_state_dict(read.weights[name])
        network.eval()
    golden = load_file(folder / "expected.safetensors")
    a, b, z = golden["x_a"], golden["x_b"], golden["z"]
    with torch.no_grad():
        mu, logvar = networks["E"](b).chunk(2, dim=1)
        ours = {"mu": mu, "logvar": logvar, "fake_B_encoded": networks["G"](a, mu)}
        ours["fake_B_random"] = torch.cat(
            [networks["G"](a[:1], code[None]) for code in z]
            if len(a) == 1
            else [networks["G"](a, z)]
        )
        for net in ("D", "D2"):
            judged = torch.cat([a, b], dim=1) if options["conditional_D"] else b
            ours |= {f"{net}/{k}": part for k, part in enumerate(networks[net](judged))}
    assert set(ours) == set(golden) - {"x_a", "x_b", "z"}
    errors = {name: error_of(value, golden[name]) for name, value in ours.items()}
    assert max(errors.values()) < CHECKPOINT_BOUND, errors


# StarGAN


def stargan_networks(nodes: dict[str, Any]) -> dict[str, nn.Module]:
    """The original's networks by its names, of a config's nodes."""
    wired = {"G": ("generator", (3, 3, nodes["LABEL_DIM"])), "D": ("discriminator", (3,))}
    return {name: build(kind, nodes[kind.upper()], *given) for name, (kind, given) in wired.items()}


@pytest.mark.parametrize("path", cases("stargan"))
def test_stargan(path: Path, double):
    case = Case(path)
    networks = stargan_networks(stargan.settings_of_options(case.config))
    for name, network in networks.items():
        loaded(network, case.under(f"init/{name}"), stargan.NAMES[name])
    step = "step0" if "step0/x_real" in case else "step0/CelebA"
    x, c = case[f"{step}/x_real"], case["c"]
    with torch.no_grad():
        case.compare("fwd/x_fake", networks["G"](x, c))
        if "x_wide" in case:
            case.compare("fwd/x_fake_wide", networks["G"](case["x_wide"], c[:1]))
        source, labels = networks["D"](x)
    case.compare("fwd/out_src", source)
    case.compare("fwd/out_cls", labels)
    assert case.worst("fwd/")[1] < BOUND, case.errors


@pytest.mark.parametrize("path", cases("stargan"))
def test_stargan_settings_follow_from_names_and_shapes(path: Path):
    case = Case(path)
    nodes = stargan.settings_of_options(case.config)
    told = stargan.settings_of_weights({name: case.under(f"init/{name}") for name in "GD"})
    assert told["LABEL_DIM"] == nodes["LABEL_DIM"]
    for kind in ("generator", "discriminator"):
        assert as_told(kind, told[kind.upper()]) == as_told(kind, nodes[kind.upper()])


@pytest.mark.parametrize("path", cases("stargan"))
def test_stargan_losses(path: Path, double):
    """What is recorded of the discriminator's first update, from the recorded draws."""
    case = Case(path)
    whole = case.info["losses"][0]
    if "CelebA" in whole:
        pytest.skip("two data sets in one network: their labels are the recipe's")
    networks = stargan_networks(stargan.settings_of_options(case.config))
    for name, network in networks.items():
        loaded(network, case.under(f"init/{name}"), stargan.NAMES[name])
    x, label = case["step0/x_real"], case["step0/label_org"]
    target = label[case["step0/rand_idx"]]
    classes = not label.is_floating_point()
    c = F.one_hot(target, case.config["c_dim"]) if classes else target
    with torch.no_grad():
        fake = networks["G"](x, c)
    alpha = case["step0/alpha"]
    between = (alpha * x + (1 - alpha) * fake).requires_grad_()
    source, labels = networks["D"](x)
    judged, middle = networks["D"](fake)[:1], networks["D"](between)[:1]
    wgan = LOSSES.bind("wgan")()
    ours = {
        "D/loss_real": -source.mean(),
        "D/loss_fake": wgan.discriminator(judged, [source]) + source.mean(),
        "D/loss_cls": LOSSES.bind("cross_entropy" if classes else "attribute_bce")()(labels, label),
        "D/loss_gp": LOSSES.bind("wgan_gp")()(middle, between),
    }
    for name, value in ours.items():
        assert float(value.detach()) == pytest.approx(whole[name], rel=BOUND), name


def test_stargan_checkpoint():
    folder = checkpoint("stargan")
    read = stargan.read_checkpoint(folder.glob("*.ckpt"))
    networks = stargan_networks(read.settings)
    for name, network in networks.items():
        network.load_state_dict(read.weights[name])
        network.eval()  # which changes nothing here
    golden = load_file(folder / "expected.safetensors")
    x = golden["x_real"]
    with torch.no_grad():
        ours = {
            f"x_fake/{name.rpartition('/')[2]}": networks["G"](x, c)
            for name, c in golden.items()
            if name.startswith("c_trg/")
        }
        ours["out_src"], ours["out_cls"] = networks["D"](x)
    given = {name for name in golden if name.startswith(("c_trg/", "x_real", "label"))}
    assert set(ours) == set(golden) - given
    errors = {name: error_of(value, golden[name]) for name, value in ours.items()}
    assert max(errors.values()) < CHECKPOINT_BOUND, errors


# FUNIT


class Funit:
    """FUNIT's networks, of its options, with an original's weights. d: told the class."""

    def __init__(self, options: dict[str, Any], gen: Any, dis: Any) -> None:
        nodes = funit.settings_of_options(options)
        style = nodes["STYLE_DIM"]
        content = build("content_encoder", nodes["CONTENT_ENCODER"], 3)
        decoded = content.out_channels, 3, content.stride, style
        self.gen = nn.ModuleDict(
            {
                "content_encoder": content,
                "style_encoder": build("style_encoder", nodes["STYLE_ENCODER"], 3, style),
                "decoder": build("decoder", nodes["DECODER"], *decoded),
            }
        )
        names = funit.generator_names(self.gen.state_dict(), options)
        assert set(names) == set(gen)
        self.gen.load_state_dict({ours: gen[theirs] for theirs, ours in names.items()})
        classes = options["dis"]["num_classes"]
        self.d = build("discriminator", nodes["DISCRIMINATOR"], 3, classes)
        loaded(self.d, dis, funit.discriminator_names)

    def code(self, x: Tensor) -> Tensor:
        return self.gen["style_encoder"](x)

    def translate(self, x: Tensor, code: Tensor) -> Tensor:
        return self.gen["decoder"](self.gen["content_encoder"](x), code)


@pytest.mark.parametrize("path", cases("funit"))
def test_funit(path: Path, double):
    case = Case(path)
    nets = Funit(case.config, case.under("init/gen"), case.under("init/dis"))
    averages = Funit(case.config, case.under("init/gen_test"), case.under("init/dis"))
    x_a, x_b, count = case["x_a"], case["x_b"], case.info["k_shot"]
    with torch.no_grad():
        s_a, s_b = nets.code(x_a), nets.code(x_b)
        case.compare("fwd/c_xa", nets.gen["content_encoder"](x_a))
        for name, code in (("s_xa", s_a), ("s_xb", s_b)):
            case.compare(f"fwd/{name}", code[..., None, None])
        case.compare("fwd/xt", nets.translate(x_a, s_b))
        case.compare("fwd/xr", nets.translate(x_a, s_a))
        features = nets.d.features(x_b)
        case.compare("fwd/dis_xb_feat", features)
        (logits,) = nets.d(x_b, case["l_b"])
        case.compare("fwd/dis_xb_out", logits[:, 0])
        assert torch.equal(nets.d.logits(features, case["l_b"])[0], logits)
        codes = averages.code(case["k_shot/x_b"]).unflatten(0, (-1, count)).mean(dim=1)
        case.compare("k_shot/code", codes[..., None, None])
        case.compare("k_shot/x_t", averages.translate(x_a, codes))
    for prefix in ("fwd/", "k_shot/"):
        assert case.worst(prefix, apart_from=("k_shot/x_b",))[1] < BOUND, case.errors


def test_funit_checkpoint():
    folder = checkpoint("funit")
    options = yaml.safe_load((folder / "config.yaml").read_text())
    (gen,), (dis,) = (list(folder.glob(f"{kind}_*.pt")) for kind in ("gen", "dis"))
    weights = funit.read_checkpoint(gen) | funit.read_checkpoint(dis)
    nets = Funit(options, weights["gen_test"], weights["dis"])
    golden = load_file(folder / "expected.safetensors")
    x, images = golden["x"], golden["class_images"]
    with torch.no_grad():
        code = nets.code(images).mean(dim=0, keepdim=True)
        ours = {"class_code": code[..., None, None], "content": nets.gen["content_encoder"](x)}
        ours["out"] = nets.translate(x, code.expand(len(x), -1))
        ours["dis_out"] = nets.d(images, torch.arange(len(images)))[0][:, 0]
    assert set(ours) == set(golden) - {"x", "class_images"}
    errors = {name: error_of(value, golden[name]) for name, value in ours.items()}
    assert max(errors.values()) < CHECKPOINT_BOUND, errors
