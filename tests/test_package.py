"""The package as a whole: what importing it costs, and who may know whom."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import munit_zoo

PACKAGE = Path(munit_zoo.__file__).parent

LAYERS = {
    "errors": 0,
    "domains": 0,
    "inputs": 0,
    "weights": 0.5,
    "_version": 0,
    "registry": 1,
    "config": 2,
    "state_dicts": 2.5,
    "pretrained": 2.6,
    "blocks": 3,
    "losses": 3,
    "data": 3,
    "metrics": 3,
    "optim": 3,
    "models": 4,
    "interop": 4,
    "testing": 5,
    "scaffold": 4,
    "engine": 5,
    "bench": 6,
    "comparison": 6.2,
    "api": 6.5,
    "cli": 7,
    "__init__": 8,
    "__main__": 8,
}
NO_TORCH = ("errors", "domains", "inputs", "weights", "registry", "config", "_version")


def imports() -> list[tuple[str, str, str]]:
    """(file, its part of the package, imported module) of every import, lazy ones too."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        relative = file.relative_to(PACKAGE)
        if relative.parts[:2] == ("scaffold", "skeletons"):
            continue  # a plug-in's files: they come to stand outside the package
        part = relative.parts[0] if len(relative.parts) > 1 else relative.stem
        if relative.stem == "__main__":  # `python -m`: as high as the command line
            part = "__main__"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{relative}: relative import"
                modules = [node.module or ""]
                if node.module == "munit_zoo":
                    modules = [f"munit_zoo.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            else:
                continue
            found += [(str(relative), part, module) for module in modules]
    return found


def test_a_file_imports_only_from_lower_layers_or_its_own_package():
    wrong = []
    for file, part, module in imports():
        names = module.split(".")
        if names[0] != "munit_zoo" or len(names) == 1:
            continue
        target = names[1]
        if target == part or target == "__version__":
            continue
        if LAYERS[target] >= LAYERS[part]:
            wrong.append(f"{file} imports {module}")
    assert not wrong


def test_components_know_no_config():
    for file, part, module in imports():
        if LAYERS[part] == 3:
            assert not module.startswith("munit_zoo.config"), file


def test_lower_layers_import_no_torch():
    for file, part, module in imports():
        if part in NO_TORCH:
            assert module.split(".")[0] not in ("torch", "torchvision", "timm"), file


def test_a_module_with_an_underscore_is_its_packages_own():
    outside = [(f"{file}", part, module) for file, part, module in imports()]
    for folder in ("plugins", "benchmarks"):
        for file in sorted((PACKAGE.parent / folder).rglob("*.py")):
            if "tests" in file.parts[len(PACKAGE.parts) :]:
                continue  # tests look inside
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and not node.level:
                    outside.append((f"{folder}/{file.name}", "", node.module or ""))
                elif isinstance(node, ast.Import):
                    outside += [(f"{folder}/{file.name}", "", name.name) for name in node.names]
    wrong = []
    for file, _, module in outside:
        names = module.split(".")
        private = next((at for at, name in enumerate(names) if name.startswith("_")), None)
        if names[0] != "munit_zoo" or private is None or module == "munit_zoo._version":
            continue
        home = "/".join(names[1:private])
        if not file.startswith(f"{home}/"):
            wrong.append(f"{file} imports {module}")
    assert not wrong


def test_timm_is_imported_by_its_adapters_alone():
    users = {file for file, _, module in imports() if module.split(".")[0] == "timm"}
    assert users <= {
        "blocks/timm_backbones.py",
        "metrics/timm_networks.py",
        "optim/timm_optimizers.py",
    }


def loaded_after(code: str) -> set[str]:
    listing = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import munit_zoo",
        "import munit_zoo; munit_zoo.list_components('norm'); munit_zoo.list_configs()",
        "from munit_zoo.cli import main; main(['list', 'norm'])",
    ],
)
def test_looking_around_loads_no_torch(code: str):
    modules = loaded_after(code)
    assert "munit_zoo" in modules
    assert modules.isdisjoint({"torch", "torchvision", "timm", "lightning_fabric", "numpy"})


def test_import_loads_nothing_of_the_package_beyond_its_front():
    assert {m for m in loaded_after("import munit_zoo") if m.startswith("munit_zoo.")} == {
        "munit_zoo._version",
        "munit_zoo.errors",
    }


def test_public_names_exist():
    for name in munit_zoo.__all__:
        assert getattr(munit_zoo, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'creat_model'"):
        _ = munit_zoo.creat_model


def test_every_module_says_what_it_is_for():
    for file in PACKAGE.rglob("*.py"):
        assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))), file


def test_any_is_rare():
    """`Any` turns the type checker off where it stands: fewer than 10 in 1,000 lines.

    Without import lines. What is only passed on is `object`; what is used has a type or a Protocol.
    """
    lines = [
        line
        for file in PACKAGE.rglob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    used = [line for line in lines if not re.match(r"\s*(from|import) ", line)]
    found = sum(len(re.findall(r"\bAny\b", line)) for line in used)
    assert found < len(lines) / 100, f"{found} times in {len(lines)} lines"


def test_engine_settings_have_one_door_and_it_is_typed():
    """`config.ENGINE.GRID_EVRY` would pass the type checker: the tree answers Any."""
    wrong = [
        f"{file.relative_to(PACKAGE)}:{node.lineno}"
        for file in PACKAGE.rglob("*.py")
        if file.relative_to(PACKAGE).parts[0] != "config"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "ENGINE"
    ]
    assert not wrong, "use munit_zoo.config.engine_settings"


def test_the_map_names_every_room():
    root = PACKAGE.parent
    if not (root / "CONTRIBUTING.md").is_file():
        pytest.skip("the map lies beside the sources")
    house = (root / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```")[1]
    rooms = [f"{p.name}/" if p.is_dir() else p.name for p in PACKAGE.iterdir()]
    missing = [r for r in rooms if not r.startswith(("_", "py.typed")) and r not in house]
    assert not missing
