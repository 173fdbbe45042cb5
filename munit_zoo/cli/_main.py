"""Arguments. Each command's work is imported when it is chosen, so that help is quick."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from munit_zoo._version import __version__
from munit_zoo.errors import MunitZooError

__all__ = ["main"]

USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0 done, 2 for anything the user can mend, 75 for a training
    that was asked to end and can be resumed, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):  # a terminal may lack a letter; no reason to die of it
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    parser = _parser()
    chosen, rest = parser.parse_known_args(
        _joined(sys.argv[1:] if arguments is None else arguments)
    )
    if rest:  # argparse leaves KEY=VALUE behind options over
        if not hasattr(chosen, "overrides") or any(word.startswith("-") for word in rest):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        chosen.overrides += rest
    if not hasattr(chosen, "run"):
        parser.print_help()
        return 0
    module, _, function = chosen.run.partition(":")
    try:
        if function != "list_components":  # which is to be quick, and needs none
            from munit_zoo.registry import spare_others

            spare_others()
        for file in getattr(chosen, "plugin", None) or ():
            from munit_zoo.registry import load_plugin_file

            load_plugin_file(file)
        if os.environ.get("MUNIT_ZOO_STRICT_PLUGINS") and function != "doctor":  # which explains
            from munit_zoo.config import require_sound_plugins

            require_sound_plugins()
        command = getattr(importlib.import_module(f"munit_zoo.cli.{module}"), function)
        return int(command(chosen) or 0)
    except MunitZooError as error:
        print(f"munit-zoo: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("munit-zoo: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `munit-zoo list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        print(f"munit-zoo: {where}{error.strerror or error}", file=sys.stderr)
        return USAGE_ERROR
    except Exception:  # ours, or of a package that damaged metadata of another hurt
        from munit_zoo.registry import damaged_metadata

        for folder, reason in damaged_metadata():
            print(f"munit-zoo: damaged metadata: {folder}: {reason}", file=sys.stderr)
        raise


def _joined(arguments: Sequence[str]) -> list[str]:
    """Arguments in which `--data`, which may be followed by `all`, is one word with what it says:
    argparse would take any word after it, a config's name too."""
    words: list[str] = []
    for word in arguments:
        if words and words[-1] == "--data=first" and word == "all":
            words[-1] = "--data=all"
        else:
            words.append("--data=first" if word == "--data" else word)
    return words


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="munit-zoo",
        description="Multimodal unpaired image-to-image translation as a zoo of components.",
        epilog="A config is a shipped name (munit/shapes; see `munit-zoo list configs`) or a path "
        "that ends in .yaml. KEY=VALUE overrides one of its keys: MODEL.STYLE_DIM=16.",
    )
    parser.add_argument("--version", action="version", version=f"munit-zoo {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    command = _add(commands, "list", "_show:list_components", "what there is to name in a config")
    command.add_argument(
        "kind", nargs="?", help="norm, decoder, loss, model, configs, plans, …; all"
    )
    command.add_argument("pattern", nargs="?", default="*", help="wildcard, as in 'ada*'")
    command.add_argument("--check", action="store_true", help="import all, to show broken ones")
    _plugin(command)

    command = _add(commands, "describe", "_show:describe", "a component's keys, origin and graph")
    command.add_argument("kind")
    command.add_argument("name")
    _plugin(command)

    config = commands.add_parser("config", help="show, check or compare configs")
    config.set_defaults(run="_show:config_help", parser=config)
    actions = config.add_subparsers(title="actions", metavar="ACTION")
    command = _add(actions, "show", "_show:config_show", "the resolved tree, with its origins")
    _config(command)
    command.add_argument("--plain", action="store_true", help="only YAML, to save and load")
    command = _add(actions, "check", "_show:config_check", "check it and try all shapes")
    _config(command)
    command.add_argument(
        "--data",
        choices=("first", "all"),
        metavar="all",
        help="find the images, too, and open the first of each domain, or all",
    )
    command.add_argument("--memory", action="store_true", help="estimate what training takes")
    command = _add(actions, "diff", "_show:config_diff", "what differs between two configs")
    _config(command)

    command = _add(commands, "train", "_run:train", "train a config's model in a run's folder")
    command.add_argument("config", nargs="?", help="name or .yaml; may be left out with --resume")
    command.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    command.add_argument("--run", dest="folder", type=Path, required=True, help="the run's folder")
    command.add_argument("--resume", action="store_true", help="go on from the newest snapshot")
    command.add_argument(
        "--resume-from", type=Path, metavar="SNAPSHOT", help="go on from any snapshot, in a new run"
    )
    command.add_argument("--init-from", type=Path, help="run or snapshot to take weights from")
    command.add_argument(
        "--force", action="store_true", help="resume with a config that differs in what matters"
    )
    command.add_argument("--devices", type=int, help="processes here, one device each (1)")
    command.add_argument(
        "--nodes", type=int, help="machines (1); torchrun and srun say both themselves"
    )
    _device(command)
    _plugin(command)

    command = _add(commands, "translate", "_run:translate", "translate images with a run")
    command.add_argument("path", metavar="RUN", type=Path, help="a run's or snapshot's folder")
    command.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="images, folders")
    command.add_argument("--to", required=True, help="target domain, as b")
    command.add_argument(
        "--from", dest="source", help="the inputs' domain, where there are several"
    )
    command.add_argument("--styles", type=int, help="styles drawn an input (10)")
    command.add_argument(
        "--style-image", type=Path, nargs="+", default=[], help="examples whose styles to take"
    )
    command.add_argument("--mean-style", action="store_true", help="one style: the mean of theirs")
    command.add_argument("--interpolate", type=int, default=0, help="steps between two styles")
    command.add_argument("--same-styles", action="store_true", help="the same for all inputs")
    command.add_argument("--seed", type=int, default=0, help="of the styles (0)")
    command.add_argument("--size", type=int, help="resize the short side first")
    command.add_argument("--out", type=Path, help="folder (RUN/translations)")
    command.add_argument("--grid", action="store_true", help="also one image of all of them")
    command.add_argument("--overwrite", action="store_true", help="replace existing outputs")
    _averaged(command)
    _device(command)
    _plugin(command)

    command = _add(commands, "evaluate", "_run:evaluate", "score runs, by their METRICS or others")
    command.add_argument(
        "paths", metavar="RUN|KEY=VALUE", nargs="+", help="runs' or snapshots' folders; METRICS.…"
    )
    command.set_defaults(overrides=[])
    command.add_argument(
        "--metrics",
        nargs="+",
        default=[],
        metavar="NAME",
        help="of the run's METRICS or of `list metric`; all of METRICS",
    )
    command.add_argument("--inputs", type=int, metavar="N", help="test images a direction")
    command.add_argument("--styles", type=int, metavar="N", help="styles (or pairs) of each")
    command.add_argument(
        "--seeds", type=int, nargs="+", default=[], metavar="SEED", help="of styles: one after all"
    )
    _weights(command)
    _averaged(command)
    command.add_argument("--out", type=Path, metavar="FILE.json", help="add the scores to a file")
    _device(command)
    _plugin(command)

    command = _add(commands, "report", "_run:report", "tables of results files")
    command.add_argument("results", nargs="+", type=Path, metavar="RESULTS.json")
    forms = command.add_mutually_exclusive_group()
    for form in ("md", "html", "csv", "latex"):
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form)
    command.set_defaults(form="md")
    command.add_argument(
        "--separate", action="store_true", help="a table a protocol, where there are several"
    )
    command.add_argument("--out", type=Path, metavar="FILE", help="instead of printing it")

    _ablate(
        _add(commands, "ablate", "_comparison:ablate", "train and score the variants of a plan")
    )

    command = _add(commands, "compare", "_comparison:compare", "runs side by side on a page")
    command.add_argument("paths", metavar="RUN", type=Path, nargs="+", help="runs or snapshots")
    command.add_argument("--out", type=Path, default=Path("comparison.html"), metavar="PAGE.html")
    command.add_argument("--inputs", type=int, default=6, help="test images shown (6)")
    command.add_argument("--styles", type=int, default=4, help="drawn styles (4)")
    command.add_argument("--examples", type=int, default=2, help="styles of real images (2)")
    command.add_argument("--seed", type=int, default=0, help="of the drawn styles (0)")
    command.add_argument("--no-cost", action="store_true", help="do not time a few iterations")
    _device(command)
    _plugin(command)

    _study(commands.add_parser("study", help="ask people which translations they prefer"))

    classifier = commands.add_parser("classifier", help="classifiers for the metric cis")
    classifier.set_defaults(run="_show:config_help", parser=classifier)
    actions = classifier.add_subparsers(title="actions", metavar="ACTION")
    command = _add(actions, "train", "_run:train_classifier", "tell a folder's classes apart")
    command.add_argument("folder", type=Path, help="with a folder of images for each class")
    command.add_argument("--out", type=Path, required=True, metavar="FILE.safetensors")
    command.add_argument("--model", default="resnet18", help="any of timm's (resnet18)")
    command.add_argument("--weights", metavar="FILE", help="to start from; chance without")
    command.add_argument("--size", type=int, default=128, help="side of the images (128)")
    command.add_argument("--epochs", type=int, default=10)
    command.add_argument("--batch", type=int, default=32)
    command.add_argument("--rate", type=float, default=1e-3, help="learning rate (0.001)")
    command.add_argument("--head-only", action="store_true", help="train the last layer alone")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--overwrite", action="store_true", help="replace FILE")
    _weights(command, download=False)
    _device(command)

    command = _add(
        commands,
        "perceptual-study",
        "_run:perceptual_study",
        "what instance norm does to VGG-16's distances",
    )
    command.add_argument("folder_a", type=Path, metavar="FOLDER_A")
    command.add_argument("folder_b", type=Path, metavar="FOLDER_B")
    command.add_argument(
        "--scenes", type=Path, required=True, metavar="SCENES.csv", help="columns file and scene"
    )
    command.add_argument("--out", type=Path, default=Path("perceptual-study"), help="folder")
    command.add_argument("--layers", nargs="+", metavar="LAYER", help="relu1_2 … relu5_3")
    command.add_argument(
        "--vgg", default="IMAGENET1K_V1", metavar="WEIGHTS", help="torchvision's name, or a file"
    )
    command.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="resize to (the first image's)"
    )
    _weights(command)
    _device(command)

    command = _add(commands, "pack", "_run:pack", "a folder of images as tar shards (WebDataset)")
    command.add_argument("folder", type=Path, help="as image_folder has it: trainA, train/day, …")
    command.add_argument("--out", type=Path, required=True, metavar="SHARDS", help="a new folder")
    command.add_argument("--megabytes", type=float, default=100, help="of a shard, about (100)")

    command = _add(commands, "runs", "_run:runs", "the runs in a folder: state, losses, size")
    command.add_argument(
        "folder", type=Path, nargs="?", default=Path(), help="searched to any depth"
    )
    _plugin(command)

    command = _add(commands, "weights", "_run:weights", "a run of another's weights alone")
    command.add_argument("path", metavar="RUN", type=Path, help="a run's or snapshot's folder")
    command.add_argument("--out", type=Path, required=True, metavar="RUN", help="the new run")
    command.add_argument("--no-ema", action="store_true", help="not the averaged weights")
    _plugin(command)

    command = _add(commands, "samples", "_run:samples", "write images of a config's dataset")
    _config(command)
    command.add_argument("--domain", required=True, help="as a")
    command.add_argument("--split", choices=["train", "test"], default="test")
    command.add_argument("--count", type=int, default=8)
    command.add_argument("--out", type=Path, required=True, help="folder")

    _bench(_add(commands, "bench", "_bench:bench", "measure throughput, memory and operations"))

    _add(commands, "doctor", "_show:doctor", "the environment, and why a plug-in does not work")

    command = _add(commands, "new-plugin", "_show:new_plugin", "write a plug-in package to fill in")
    command.add_argument("name", help="of the distribution, as my-stains")
    command.add_argument(
        "--kind", action="append", help="norm, loss, penalty, …, configs (norm and loss)"
    )
    command.add_argument("--out", type=Path, default=Path(), help="folder (the current one)")

    importer = commands.add_parser("import", help="take over another project's checkpoint")
    importer.set_defaults(run="_show:config_help", parser=importer)
    projects = importer.add_subparsers(title="projects", metavar="PROJECT")
    command = _add(projects, "nvlabs", "_run:import_nvlabs", "MUNIT's reference implementation")
    command.add_argument("gen", type=Path, help="gen_XXXXXXXX.pt")
    command.add_argument("--dis", type=Path, help="dis_XXXXXXXX.pt")
    command.add_argument("--optimizer", type=Path, help="optimizer.pt, to resume its training")
    command.add_argument("--config", type=Path, help="the reference's YAML; else inferred")
    command.add_argument("--out", type=Path, required=True, metavar="RUN", help="the new run")
    command.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    _plugin(command)
    for name, files in _SYSTEMS.items():
        command = _add(projects, name, "_run:import_checkpoint", f"the original's {files}")
        command.set_defaults(system=name)
        command.add_argument("files", nargs="+", metavar="FILE", help=f"{files}, those there are")
        command.add_argument(
            "--options",
            "--config",
            type=Path,
            metavar="FILE",
            help=_OPTIONS.get(name, "train_opt.txt"),
        )
        command.add_argument("--out", type=Path, required=True, metavar="RUN", help="the new run")
        command.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
        _plugin(command)
    return parser


_SYSTEMS = {
    "cyclegan": "…_net_{G_A,G_B,D_A,D_B}.pth, or …_net_G.pth alone",
    "pix2pix": "…_net_{G,D}.pth",
    "bicyclegan": "…_net_{G,E,D,D2}.pth",
    "stargan": "…-{G,D}.ckpt",
    "drit": "00000.pth",
    "funit": "gen_….pt, dis_….pt",
    "imaginaire_munit": "…_checkpoint.pt",
    "imaginaire_unit": "…_checkpoint.pt",
    "starganv2": "…_{nets,nets_ema,optims}.ckpt",
    "cut": "…_net_{G,D,F}.pth, also FastCUT's",
}
"""Systems whose checkpoints are imported, and what their files are called."""
_OPTIONS = {
    "bicyclegan": "opt.txt",
    "drit": "of its training, which it does not save: YAML or JSON",
    "funit": "config.yaml",
    "imaginaire_munit": "YAML of its training",
    "imaginaire_unit": "YAML of its training",
    "stargan": "of its training: YAML or JSON",
    "starganv2": "of its training: YAML or JSON",
}
"""The file of a training's options, where it is not called train_opt.txt."""


def _study(study: argparse.ArgumentParser) -> None:
    study.set_defaults(run="_show:config_help", parser=study)
    actions = study.add_subparsers(title="actions", metavar="ACTION")
    command = _add(actions, "make", "_comparison:make_study", "write a page of questions")
    command.add_argument("paths", metavar="RUN", type=Path, nargs="+", help="two runs or more")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    command.add_argument("--questions", type=int, default=500, help="in all (500)")
    command.add_argument("--controls", type=int, help="control questions beside them (a tenth)")
    command.add_argument(
        "--pairs", choices=["first", "all"], default="first", help="each against the first, or all"
    )
    command.add_argument("--ways", nargs="+", default=[], help="directions, as a2b (all)")
    command.add_argument("--each", type=int, metavar="N", help="questions a person (all)")
    command.add_argument("--seed", type=int, default=0, help="of images, styles and order (0)")
    _device(command)
    _plugin(command)
    command = _add(actions, "score", "_comparison:score_study", "score what was answered")
    command.add_argument("answers", type=Path, nargs="+", metavar="ANSWERS.json")
    command.add_argument("--key", type=Path, required=True, help="the study's folder, or key.json")
    command.add_argument(
        "--controls", type=float, default=0.8, help="share that must be right to be kept (0.8)"
    )
    command.add_argument("--out", type=Path, metavar="SCORES.json", help="write them as JSON, too")


def _ablate(command: argparse.ArgumentParser) -> None:
    command.add_argument("plan", metavar="PLAN", help="a shipped name (paper_table1), or a .yaml")
    command.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of plan, or configs")
    command.add_argument("--out", type=Path, metavar="DIR", help="its folder (ablations/PLAN)")
    command.add_argument("--dry-run", action="store_true", help="say what would be done")
    command.add_argument(
        "--from",
        dest="from_results",
        choices=["results"],
        help="run nothing: make tables, plots and page of what is there",
    )
    command.add_argument(
        "--launcher",
        choices=["local", "submitit", "print"],
        default="local",
        help="here, by Slurm (or submitit's local one), or print a command a cell (local)",
    )
    command.add_argument(
        "--jobs", type=int, metavar="N", help="processes, or jobs at a time (one a GPU, else one)"
    )
    command.add_argument("--cluster", help="submitit's: slurm, local (what there is)")
    command.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="submitit's: timeout_min=240, slurm_partition=gpu, gpus_per_node=1, …",
    )
    command.add_argument(
        "--cell", action="append", default=[], metavar="KEY", help="work on this cell alone"
    )
    command.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    _weights(command)
    _device(command)
    _plugin(command)


def _bench(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "overrides",  # and configs: both may stand anywhere
        nargs="*",
        metavar="CONFIG|KEY=VALUE",
        help="configs, and overrides for all of them; MUNIT as published, against the reference",
    )
    command.add_argument("--mode", help="train,translate,decode,component,data (translate,train)")
    command.add_argument("--batch", default="1", help="batch sizes, as 1,8,32 (1)")
    command.add_argument("--size", type=int, help="side of the images (the config's own)")
    command.add_argument("--precision", help="fp32,tf32,bf16 (what the device can do)")
    command.add_argument(
        "--compile", default="off", help="off,default,max-autotune,graphs (off); graphs is for CUDA"
    )
    command.add_argument(
        "--channels-last", nargs="?", const="on", help="on, off or off,on (the config's own)"
    )
    command.add_argument(
        "--vary", action="append", default=[], metavar="KEY=V,V", help="compare values of a key"
    )
    command.add_argument("--styles", type=int, default=10, help="translations of an image (10)")
    command.add_argument("--components", help="as norm:*,decoder:adain_resnet, alone")
    command.add_argument("--reference", action="store_true", help="the original's way, too; ratios")
    command.add_argument("--seconds", type=float, default=5.0, help="an arm, at the least (5)")
    command.add_argument("--rounds", type=int, default=5, help="at the least (5)")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the result")
    command.add_argument("--md", type=Path, metavar="FILE", help="write it as Markdown")
    command.add_argument("--plot", type=Path, metavar="FILE", help="draw img/s over batch")
    command.add_argument("--compare", type=Path, metavar="OLD.json", help="with an older result")
    command.add_argument(
        "--fail-below", type=float, metavar="R", help="exit with 3 below R of the old speed"
    )
    _device(command)
    _plugin(command)


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, run: str, text: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.set_defaults(run=run)
    return command


def _config(command: argparse.ArgumentParser) -> None:
    command.add_argument("config", help="a shipped name, or a path ending in .yaml")
    command.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    _plugin(command)


def _averaged(command: argparse.ArgumentParser) -> None:
    """Which of a run's weights to use."""
    command.add_argument(
        "--no-ema", dest="ema", action="store_false", help="the last weights, not their average"
    )


def _weights(command: argparse.ArgumentParser, *, download: bool = True) -> None:
    command.add_argument(
        "--weights-dir",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="look for trained weights here first, then in MUNIT_ZOO_WEIGHTS and torch's cache",
    )
    if download:
        command.add_argument(
            "--download", action="store_true", help="fetch trained weights that are nowhere"
        )


def _device(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--device", default="auto", choices=["auto", "cpu", "cuda", "mps"], help="where (auto)"
    )


def _plugin(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--plugin", type=Path, action="append", metavar="FILE.py", help="use its components, too"
    )
