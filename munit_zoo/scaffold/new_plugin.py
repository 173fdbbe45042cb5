"""A new plug-in package: components that work, their entry points, a config, tests."""

from __future__ import annotations

import ast
import importlib.util
import keyword
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from munit_zoo._version import __version__
from munit_zoo.errors import UsageError, suggest
from munit_zoo.registry import CONTRACTS, CORE, REGISTRIES, canonical

__all__ = ["KINDS", "write_plugin"]

SKELETONS = Path(__file__).parent / "skeletons"

# Where a component of each kind is named in munit/shapes
_PLACES = {
    "norm": "MODEL:\n  DECODER: {{UPSAMPLE_NORM: {{NAME: {name}}}}}",
    "activation": "MODEL:\n  DECODER: {{ACTIVATION: {{NAME: {name}}}}}",
    "content_encoder": "MODEL:\n  CONTENT_ENCODER: {{NAME: {name}, DIM: 16, DOWNSAMPLES: 1}}",
    "style_encoder": "MODEL:\n  STYLE_ENCODER: {{NAME: {name}, DIM: 16}}",
    "decoder": "MODEL:\n  DECODER: {{NAME: {name}, DIM: 16}}",
    "generator": "MODEL:\n  NAME: cyclegan\n  GENERATOR: {{NAME: {name}, DIM: 16}}\n"
    "  DISCRIMINATOR: {{NAME: patch, DIM: 16, LAYERS: 2}}\n"
    "LOSSES:\n  IMAGE_RECON: null\n  STYLE_RECON: null\n  CONTENT_RECON: null\n"
    "  CYCLE_A: {{NAME: l1, WEIGHT: 10}}\n  CYCLE_B: {{NAME: l1, WEIGHT: 10}}",
    "mapping": "MODEL:\n  DECODER: {{MAPPING: {{NAME: {name}}}}}",
    "discriminator": "MODEL:\n  DISCRIMINATOR: {{NAME: {name}, DIM: 16}}",
    "loss": "LOSSES:\n  IMAGE_RECON: {{NAME: {name}}}",
    "adversarial_loss": "LOSSES:\n  ADVERSARIAL: {{NAME: {name}}}",
    "penalty": "LOSSES:\n  PENALTY: {{NAME: {name}, WEIGHT: 10, PAIRS: [[d_a, x_a], [d_b, x_b]], "
    "UPDATES: [discriminators]}}",
    "model": "MODEL:\n  NAME: {name}\n"
    "  DISCRIMINATOR: {{NAME: multiscale_patch, LAYERS: 2, SCALES: 2}}\n"
    "LOSSES: {{STYLE_RECON: null, CONTENT_RECON: null, CYCLE_RECON: {{NAME: l1, WEIGHT: 10}}}}",
    "dataset": "DATA: {{NAME: {name}}}\nMETRICS: null",
    "metric": "METRICS:\n  CHANGE: {{NAME: {name}}}",
}
# Skeletons of one kind that differ in their contract
_VARIANTS = {"adversarial_loss": "loss", "penalty": "loss"}
KINDS = (*_PLACES, "configs")


def write_plugin(name: str, out: Path, kinds: Sequence[str] = ("norm", "loss")) -> list[Path]:
    """Write a package `name` with a component of each kind; its tests pass as they are.

    name: of the distribution (`my-stains`); module and component names are made of it.
    kinds: of components; `loss` compares tensors, beside `adversarial_loss` and `penalty`, and
    `configs` ships configs alone.
    out: the folder to write the package's folder into.
    Returns the files. Raises UsageError for a name that cannot be one or is taken, an unknown kind,
    or a folder that exists.
    """
    _check_name(name)
    kinds = [kind.replace("-", "_") for kind in kinds]
    for kind in kinds:
        if kind not in KINDS:
            hint = f"{suggest(kind, KINDS)} Kinds: {', '.join(KINDS)}.".strip()
            raise UsageError(f"no skeleton for the kind {kind!r}. {hint}")
    folder = out / name
    if folder.exists():
        raise UsageError(f"{folder} exists; choose another name or --out")
    module, short = name.replace("-", "_"), name.removeprefix("munit-zoo-").replace("-", "_")
    chosen = [kind for kind in dict.fromkeys(kinds) if kind != "configs"]
    stems = _stems(chosen)
    components = {kind: (f"{short}_{stems[kind]}", _class(kind)) for kind in chosen}
    files = {
        "pyproject.toml": _pyproject(name, module, components),
        "README.md": _readme(name, short, components),
        f"{module}/__init__.py": f'"""{_summary(components)}"""\n',
        f"{module}/configs/__init__.py": '"""Configs, found by name."""\n',
        f"tests/test_{module}.py": _tests(name, short, components, "configs" in kinds),
    }
    if "configs" in kinds:
        files[f"{module}/configs/{short}/shapes.yaml"] = (
            "# munit/shapes with longer style codes.\n"
            "_BASE_: munit/shapes\nSCHEMA_VERSION: 2\nMODEL: {STYLE_DIM: 8}\n"
        )
    for kind, (component, _) in components.items():
        source = (SKELETONS / f"{kind}.py").read_text(encoding="utf-8")
        files[f"{module}/{kind}.py"] = source
        place = _PLACES[kind].format(name=component)
        files[f"{module}/configs/{short}/{stems[kind]}.yaml"] = (
            f"# munit/shapes with this package's {_words(kind)}.\n"
            f"_BASE_: munit/shapes\nSCHEMA_VERSION: 2\n{place}\n"
        )
    written = []
    for relative, text in files.items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _check_name(name: str) -> None:
    """Raises UsageError where a distribution, or its module, cannot have a name."""
    module = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(module):
        raise UsageError(
            f"{name!r} is no name for a distribution: lower-case words joined by '-', as my-stains"
        )
    spec = None if name == CORE else importlib.util.find_spec(module)
    ours = {canonical(e.distribution) for one in REGISTRIES.values() for e in one.entries()}
    # an installed plug-in of this very name may be written anew; a bare folder is no module
    taken = spec is not None and spec.origin is not None and name not in ours
    if name == CORE or taken:
        raise UsageError(f"{name!r} is taken: a module {module} is installed; choose another name")


def _words(kind: str) -> str:
    return kind.replace("_", " ")


def _summary(components: Mapping[str, object]) -> str:
    what = "Components" if components else "Configs"
    listed = f": {', '.join(map(_words, components))}" if components else ""
    return f"{what} for munit_zoo{listed}."


def _class(kind: str) -> str:
    """The class that a skeleton defines."""
    tree = ast.parse((SKELETONS / f"{kind}.py").read_text(encoding="utf-8"))
    return next(node.name for node in tree.body if isinstance(node, ast.ClassDef))


def _stems(kinds: Sequence[str]) -> dict[str, str]:
    """What components are called by kind; those that would be called alike, with their kind."""
    plain = {kind: _stem(kind) for kind in kinds}
    alike = {stem for stem in plain.values() if list(plain.values()).count(stem) > 1}
    return {k: f"{stem}_{k}" if stem in alike else stem for k, stem in plain.items()}


def _stem(kind: str) -> str:
    """`PixelNorm` of kind norm is `pixel`."""
    words = re.findall(r"[A-Z][a-z]+|[A-Z]+(?=[A-Z][a-z]|$)", _class(kind))
    tail = kind.split("_")[-1]
    kept = [word.lower() for word in words if word.lower() not in (tail, "content", "style")]
    return "_".join(kept) or words[0].lower()


def _pyproject(name: str, module: str, components: dict[str, tuple[str, str]]) -> str:
    groups: dict[str, str] = {}
    for kind, (component, cls) in components.items():
        group = CONTRACTS[_VARIANTS.get(kind, kind)].group or ""
        groups.setdefault(group, f'\n[project.entry-points."{group}"]\n')
        groups[group] += f'{component} = "{module}.{kind}:{cls}"\n'
    points = "".join(groups.values())
    return f'''[build-system]
requires = ["hatchling>=1.24"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "0.1.0"
description = "{_summary(components)}"
readme = "README.md"
requires-python = ">=3.10"
dependencies = ["munit-zoo>={__version__}"]

[project.optional-dependencies]
test = ["pytest>=8"]
{points}
[project.entry-points."munit_zoo.configs"]
{module} = "{module}.configs"

[tool.pytest.ini_options]
testpaths = ["tests"]
addopts = "-ra --import-mode=importlib"
'''


def _readme(name: str, short: str, components: dict[str, tuple[str, str]]) -> str:
    lines = "\n".join(
        f"- {_words(kind)} `{component}`: `{cls}`" for kind, (component, cls) in components.items()
    )
    first = next(iter(_stems(list(components)).values()), "shapes")
    head = f"Components for munit_zoo:\n\n{lines}" if components else _summary(components)
    return f"""# {name}

{head}

```sh
pip install .
munit-zoo list                                    # they stand beside the built-ins
munit-zoo train {short}/{first} --run runs/{short}
pip install .[test] && pytest                     # munit_zoo's conformance kit
```
"""


_CONFORMANCE = """@pytest.mark.parametrize("check", checks_of("{name}"), ids=str)
def test_conformance(check):
    check()


"""


def _tests(name: str, short: str, components: dict[str, tuple[str, str]], shapes: bool) -> str:
    stems = [*_stems(list(components)).values(), *(["shapes"] if shapes else [])]
    configs = ", ".join(f'"{short}/{stem}"' for stem in stems)
    what = "The components keep their contracts, and the" if components else "The"
    kit = "from munit_zoo.testing import checks_of\n" if components else ""
    conformance = _CONFORMANCE.format(name=name) if components else ""
    return f'''"""{what} configs fit together."""

import pytest

from munit_zoo.cli import main
{kit}

{conformance}@pytest.mark.parametrize("config", [{configs}])
def test_config(config):
    assert main(["config", "check", config]) == 0
'''
