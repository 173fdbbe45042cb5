"""docs/zoo.md from the registry and the shipped configs.

    python benchmarks/zoo.py                  write the page
    python benchmarks/zoo.py --parity         first run the recorded cases of the originals anew

The second needs MUNIT_ZOO_GOLDEN and MUNIT_ZOO_GOLDEN_ZOO, and writes what it found to
benchmarks/parity.json, from which the page has it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from munit_zoo.bench.work import training_flop
from munit_zoo.config import Config, bind, domains_of, list_configs, load_config
from munit_zoo.interop.systems import SYSTEMS
from munit_zoo.models import create_model, rehearse
from munit_zoo.registry import MODELS, registry

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "zoo.md"
PARITY = HERE / "parity.json"
CASES = (
    "tests/interop/test_golden.py",
    "tests/interop/test_zoo_training.py",
    "tests/interop/test_drit.py",
    "tests/interop/test_imaginaire.py",
)

HEAD = """# The zoo

Recipes, what each is made of, and what fits where. Made by `python benchmarks/zoo.py` from the
registry and the shipped configs; a test keeps it current. `munit-zoo list` is the same at hand, and
`munit-zoo describe model NAME` draws a recipe update by update. CUT and FastCUT are in the plug-in
[munit-zoo-contrastive](zoo/cut.md)."""

RECIPES = """## Recipes

Parameters and GFLOP (of one training iteration, batch 1, convolutions and products, counted by
torch) are of the config named, the largest that ships; terms on VGG features are left out. *Parity*
is the largest error of any loss, gradient or weight against what the original implementation
computes, in float64, over so many runs (recorded cases × memory format × sharing):
max |ours − recorded| / max |recorded|, below 1e-8 wherever the tests pass."""

SLOTS = """## Slots

What of a recipe is exchanged by a config line: `MODEL.DECODER.NAME=resnet`. Slots of the parts
themselves (norms, activations, mappings) are under `munit-zoo describe KIND NAME`."""

PARTS = """## Parts

What goes into a slot, by its kind; after these what a config names beside its recipe:
augmentations, losses ([losses.md](losses.md) has their formulas), optimizers and schedules."""

PART_KINDS = (
    "content_encoder",
    "style_encoder",
    "decoder",
    "generator",
    "mapping",
    "discriminator",
    "norm",
    "activation",
    "augmentation",
    "loss",
    "optimizer",
    "schedule",
)

_PAPER = re.compile(r"([A-Z]\w+ \d{4}),[^)]*?arXiv (\d{4}\.\d{5})")


def recipes() -> list[str]:
    """The recipes that the package itself has."""
    return [entry.name for entry in MODELS.entries() if entry.origin == "builtin"]


def paper(recipe: str) -> str:
    """Venue and link, from its docstring, that of what it extends, or of a recipe beside it."""
    model = MODELS.get(recipe)
    beside = [MODELS.get(name) for name in recipes() if recipe.startswith(f"{name}_")]
    for owner in (*model.__mro__, *beside):
        found = _PAPER.search(owner.__dict__.get("__doc__") or "")
        if found:
            return f"[{found[1]}](https://arxiv.org/abs/{found[2]})"
    return ""


def measured(recipe: str) -> tuple[str, str, str, str]:
    """The largest shipped config: its name, image size, parameters and GFLOP."""
    found: list[tuple[int, int, str]] = []
    for name in list_configs():
        config = load_config(name)
        if recipe == config.MODEL.NAME:
            with torch.device("meta"):
                parameters = sum(p.numel() for p in create_model(config).parameters())
            found.append((parameters, max(map(max, _sizes(config).values())), name))
    if not found:
        return "", "", "", ""
    parameters, _, name = max(found)
    config = load_config(name, "ENGINE.BATCH_SIZE=1", *_untrained(load_config(name)))
    sizes = _sizes(config)
    flop = training_flop(rehearse(config, sizes)) / 1e9
    height, width = next(iter(sizes.values()))
    return f"`{name}`", f"{height}×{width}", f"{parameters / 1e6:.2f} M", f"{flop:,.0f}"


def _sizes(config: Config) -> dict[str, tuple[int, int]]:
    data = bind("dataset", config.DATA)
    return {domain.name: data(domain, "train").size for domain in domains_of(config)}


def _untrained(config: Config) -> list[str]:
    """What leaves out terms on trained networks, whose weights may not be here."""
    return [f"LOSSES.{name}=null" for name, term in config.LOSSES.items() if "vgg" in term.NAME]


def recipe_rows() -> Iterator[tuple[str, ...]]:
    """The table of recipes."""
    known: dict[str, Any] = json.loads(PARITY.read_text()) if PARITY.is_file() else {}
    importers = {system.recipe: name for name, system in SYSTEMS.items()}
    importers |= dict.fromkeys(("munit", "unit"), "nvlabs")
    for recipe in recipes():
        page = PAGE.parent / "zoo" / f"{recipe}.md"
        parity = known.get(recipe)
        yield (
            f"[`{recipe}`](zoo/{recipe}.md)" if page.is_file() else f"`{recipe}`",
            MODELS.summary(recipe),
            paper(recipe),
            *measured(recipe),
            "" if parity is None else f"{parity['largest_error']:.0e} ({parity['runs']} runs)",
            f"`munit-zoo import {importers[recipe]}`" if recipe in importers else "",
        )


def slot_rows() -> Iterator[tuple[str, ...]]:
    """The table of slots."""
    for recipe in recipes():
        for setting in MODELS.signature(recipe).settings.values():
            if setting.slot is None:
                continue
            default = "" if setting.required else f"`{getattr(setting.default, 'name', '')}`"
            yield f"`{recipe}`", f"`MODEL.{setting.key}`", setting.slot, default


def part_rows() -> Iterator[tuple[str, ...]]:
    """The table of what goes into slots."""
    for kind in PART_KINDS:
        for entry in registry(kind).entries():
            if entry.origin == "builtin":
                yield kind, f"`{entry.name}`", registry(kind).summary(entry.name)
        for name, summary in registry(kind).families_like("*").items():
            yield kind, f"`{name}`", summary


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A table of Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '∣') for cell in row)} |" for row in lines)


def render_parts() -> str:
    """The page's tables of slots and parts."""
    slots = table(("recipe", "key", "kind", "default"), slot_rows())
    parts = table(("kind", "name", "what it is"), part_rows())
    return f"{SLOTS}\n\n{slots}\n\n{PARTS}\n\n{parts}\n"


def render() -> str:
    """The page."""
    head = ("recipe", "what it is", "paper", "config", "size", "parameters", "GFLOP", "parity")
    rows = table((*head, "its checkpoints"), recipe_rows())
    return f"{HEAD}\n\n{RECIPES}\n\n{rows}\n\n{render_parts()}"


def measure_parity() -> int:
    """Run the recorded cases; pytest's exit status."""
    PARITY.unlink(missing_ok=True)
    environment = {**os.environ, "MUNIT_ZOO_PARITY": str(PARITY)}
    command = [sys.executable, "-m", "pytest", "-q", *CASES, "-m", "golden"]
    return subprocess.run(command, cwd=HERE.parent, env=environment, check=False).returncode


if __name__ == "__main__":
    if "--parity" in sys.argv[1:] and measure_parity():
        raise SystemExit("the recorded cases do not pass: no page was written")
    PAGE.write_text(render(), encoding="utf-8")
