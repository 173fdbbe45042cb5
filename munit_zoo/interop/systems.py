"""Which systems' checkpoints are imported, and how each becomes a run's config and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from munit_zoo.config import Config
from munit_zoo.errors import CheckpointError
from munit_zoo.interop import (
    bicyclegan,
    cut,
    cyclegan,
    cyclegan_options,
    drit,
    funit,
    imaginaire,
    imaginaire_options,
    stargan,
    starganv2,
)
from munit_zoo.interop.checkpoints import ReadNetworks, whole

__all__ = ["SYSTEMS", "System"]


@dataclass(frozen=True)
class System:
    """How the checkpoints of a system become runs.

    project: the original. recipe: ours. networks: the original's names of networks, to our paths.
    defaults: options, unless given. options: reads a file of options. read: reads the files, with
    all options. config: of all options and what was read, the config's tree but for networks.
    nodes: of all options, nodes and keys of MODEL, for networks that the files do not hold.
    notes: of all options, what was read and the config, what a user should know.
    plugin: the distribution that has the recipe, where it is not this one.
    models: what the option `model` may say.
    """

    project: str
    recipe: str
    networks: Mapping[str, str]
    defaults: Mapping[str, object]
    options: Callable[[Path], dict[str, object]]
    read: Callable[[Sequence[Path], Mapping[str, object]], ReadNetworks]
    config: Callable[[Mapping[str, object], ReadNetworks], dict[str, Any]]
    nodes: Callable[[Mapping[str, object]], Mapping[str, object]]
    notes: Callable[[Mapping[str, Any], ReadNetworks, Config], list[str]]
    plugin: str | None = None
    models: tuple[str, ...] = ()


def _channels(read: ReadNetworks) -> tuple[int, int]:
    """Channels of real_A and real_B, as a generator has them."""
    for name, (first, second) in read.channels.items():
        if first is not None and second is not None:
            return (second, first) if name == "G_B" else (first, second)
    raise CheckpointError("the files hold no generator: name …_net_G.pth, or …_net_G_A.pth")


def _cyclegan_networks(files: Sequence[Path], options: Mapping[str, object]) -> ReadNetworks:
    """Of CycleGAN; released generators come one at a time, called G."""
    read = cyclegan.read_checkpoint(files, options)
    if "G" in read.weights and len(read.weights) > 1:
        raise CheckpointError(
            "CycleGAN's networks are G_A, G_B, D_A and D_B: a G beside others is of pix2pix or CUT"
        )
    return read


def _images_unknown(options: Mapping[str, object], read: ReadNetworks, config: Config) -> list[str]:
    folder = str(options["dataroot"])
    if folder not in str(config.DATA):
        return []  # they are told
    return [
        f"the files do not say how many images there were: DATA is {folder}, and iterations are "
        "those of the published number; to train or evaluate, set DATA, ENGINE.ITERATIONS and "
        "OPTIM.SCHEDULE"
    ]


def _evaluation_mode(
    options: Mapping[str, object], read: ReadNetworks, config: Config
) -> list[str]:
    return [
        *_images_unknown(options, read, config),
        "the original translates in training mode (with dropout, and norms of the image itself), "
        "we in evaluation mode",
    ]


def _drit_networks(files: Sequence[Path], options: Mapping[str, object]) -> ReadNetworks:
    if len(files) > 1:
        raise CheckpointError(f"a file of DRIT holds all networks: name one, not {len(files)}")
    return drit.read_checkpoint(files[0], options)


def _drit_notes(options: Mapping[str, object], read: ReadNetworks, config: Config) -> list[str]:
    return [
        *_images_unknown(options, read, config),
        "the original draws an image's attributes even to translate; here they are their mean",
    ]


def _starganv2_config(options: Mapping[str, object], read: ReadNetworks) -> dict[str, object]:
    heads = {name.split(".")[1] for name in read.weights["mapping_network"] if "heads." in name}
    generator = read.settings["GENERATOR"]
    return starganv2.config_of_options(
        options, len(heads), size=generator["SIZE"], high_pass=generator["HIGH_PASS"] > 0
    )


def _starganv2_notes(
    options: Mapping[str, object], read: ReadNetworks, config: Config
) -> list[str]:
    notes = []
    if "A" in config.DOMAINS:
        notes.append(
            f"domains are {', '.join(config.DOMAINS)}: the original numbers folders by name; give "
            "yours their names, in that order, with DOMAINS={CAT: {}, …}"
        )
    root = str(Path(str(options["train_img_dir"])).parent)
    if config.DATA.get("ROOT") == root:
        notes.append(f"the files do not say which images: DATA.ROOT is {root}")
    if "discriminator" not in read.weights:
        notes.append("the networks are averages, as published")
    if read.settings["GENERATOR"]["HIGH_PASS"] > 0:
        notes.append(
            "the face network that made masks is not taken over: MODEL.MASKER `ones` keeps fine "
            "structure everywhere; name one of your own"
        )
    return notes


def _stargan_config(options: Mapping[str, object], read: ReadNetworks) -> dict[str, Any]:
    told = read.settings.pop("LABEL_DIM")
    judge = read.settings.get("DISCRIMINATOR")
    size = whole(options, "image_size") if judge is None else judge["SIZE"]
    tree = stargan.config_of_options(options, told, size)
    if judge is None:  # a new one, for the same labels
        tree["MODEL"]["DISCRIMINATOR"] = stargan.critic_of(options, told, size)
    return tree


def _stargan_notes(options: Mapping[str, object], read: ReadNetworks, config: Config) -> list[str]:
    notes = ["norms are of the image itself, as in the original, in evaluation mode, too"]
    if config.MODEL.NAME == "stargan":
        notes.append(
            f"domains are {', '.join(config.DOMAINS)}: the original numbers folders by name; give "
            "yours their names, in that order, with DOMAINS={ANGRY: {}, …}"
        )
    else:
        notes.append(f"attributes are {', '.join(config.MODEL.ATTRIBUTES)}")
    return notes


def _imaginaire(recipe: str) -> System:
    """The improved MUNIT, or UNIT, whose files and options have the same form."""
    unit = recipe.endswith("_unit")
    table = imaginaire.UNIT if unit else imaginaire.MUNIT

    def read(files: Sequence[Path], options: Mapping[str, object]) -> ReadNetworks:
        if not {"gen", "dis"} & set(options):
            raise CheckpointError(
                "the weights do not tell how the networks are built: give the YAML of their "
                "training by --options"
            )
        every = imaginaire_options.with_defaults(options, unit=unit)
        nodes = imaginaire_options.settings_of_options(every, unit=unit)
        return imaginaire.read_checkpoint(files, nodes, table)

    def config(options: Mapping[str, object], _: ReadNetworks) -> dict[str, Any]:
        every = imaginaire_options.with_defaults(options)
        return imaginaire_options.config_of_options(every, unit=unit)

    def notes(options: Mapping[str, object], _: ReadNetworks, config: Config) -> list[str]:
        found = imaginaire_options.notes_of_options(imaginaire_options.with_defaults(options))
        if config.DATA.get("ROOT") == imaginaire_options.UNKNOWN:
            found.append("the files do not say which images: set DATA to train or evaluate")
        return found

    return System(
        project="NVlabs/imaginaire",
        recipe=recipe,
        networks=table,
        defaults={},
        options=imaginaire_options.read_options,
        read=read,
        config=config,
        nodes=lambda _: {},
        notes=notes,
    )


SYSTEMS: Mapping[str, System] = {
    "cyclegan": System(
        project="junyanz/pytorch-CycleGAN-and-pix2pix",
        recipe="cyclegan",
        networks={
            "G": "b.generator",
            "G_A": "b.generator",
            "G_B": "a.generator",
            "D_A": "b.discriminator",
            "D_B": "a.discriminator",
        },
        defaults=cyclegan_options.CYCLEGAN,
        options=cyclegan_options.read_options,
        read=_cyclegan_networks,
        config=lambda o, read: cyclegan_options.config_of_options(o, "cyclegan", _channels(read)),
        nodes=cyclegan_options.settings_of_options,
        notes=_images_unknown,
        models=("cycle_gan", "test"),
    ),
    "pix2pix": System(
        project="junyanz/pytorch-CycleGAN-and-pix2pix",
        recipe="pix2pix",
        networks={"G": "generator", "D": "discriminator"},
        defaults=cyclegan_options.PIX2PIX,
        options=cyclegan_options.read_options,
        read=cyclegan.read_checkpoint,
        config=lambda o, read: cyclegan_options.config_of_options(o, "pix2pix", _channels(read)),
        nodes=cyclegan_options.settings_of_options,
        notes=_evaluation_mode,
        models=("pix2pix", "test"),
    ),
    "bicyclegan": System(
        project="junyanz/BicycleGAN",
        recipe="bicyclegan",
        networks={
            "G": "generator",
            "E": "style_encoder",
            "D": "discriminator",
            "D2": "discriminator2",
        },
        defaults=bicyclegan.DEFAULTS,
        options=cyclegan_options.read_options,
        read=bicyclegan.read_checkpoint,
        config=lambda o, read: bicyclegan.config_of_options(o, read, _channels(read)),
        nodes=lambda _: {},
        notes=_images_unknown,
        models=("bicycle_gan", "test"),
    ),
    "stargan": System(
        project="yunjey/stargan",
        recipe="stargan",
        networks={"G": "generator", "D": "discriminator"},
        defaults=stargan.DEFAULTS,
        options=starganv2.read_options,
        read=lambda files, _: stargan.read_checkpoint(files),
        config=_stargan_config,
        nodes=lambda _: {},
        notes=_stargan_notes,
    ),
    "drit": System(
        project="HsinYingLee/DRIT",
        recipe="drit",
        networks=drit.NETWORKS,
        defaults=drit.DEFAULTS,
        options=starganv2.read_options,
        read=_drit_networks,
        config=drit.config_of_options,
        nodes=lambda _: {},
        notes=_drit_notes,
    ),
    "funit": System(
        project="NVlabs/FUNIT",
        recipe="funit",
        networks=funit.NETWORKS,
        defaults=funit.DEFAULTS,
        options=starganv2.read_options,
        read=funit.read_checkpoints,
        config=lambda o, read: funit.config_of_options(o),
        nodes=lambda _: {},
        notes=lambda o, read, config: [],
    ),
    "imaginaire_munit": _imaginaire("imaginaire_munit"),
    "imaginaire_unit": _imaginaire("imaginaire_unit"),
    "starganv2": System(
        project="clovaai/stargan-v2",
        recipe="starganv2",
        networks=starganv2.NETWORKS,
        defaults=starganv2.DEFAULTS,
        options=starganv2.read_options,
        read=lambda files, _: starganv2.read_checkpoints(files),
        config=_starganv2_config,
        nodes=lambda _: {},
        notes=_starganv2_notes,
    ),
    "cut": System(
        project="taesungp/contrastive-unpaired-translation",
        recipe="cut",
        networks={"G": "generator", "D": "discriminator", "F": "projector"},
        defaults=cut.DEFAULTS,
        options=cyclegan_options.read_options,
        read=cut.read_checkpoint,
        config=lambda o, read: cut.config_of_options(o, _channels(read)),
        nodes=cut.settings_of_options,
        notes=_images_unknown,
        plugin="munit-zoo-contrastive",
        models=("cut",),
    ),
}
"""How each is imported; `munit-zoo import NAME` takes these names."""
