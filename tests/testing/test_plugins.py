"""Plug-in packages: the template, the documentation's example, and isolation of the broken."""

from __future__ import annotations

import filecmp
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from munit_zoo.errors import UsageError
from munit_zoo.scaffold import KINDS, write_plugin

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "plugins" / "munit-zoo-template"


def install(package: Path, site: Path) -> None:
    """Install a package without its dependencies and without a network."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--target", str(site), str(package)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No module named 'hatchling'" in done.stderr or "BackendUnavailable" in done.stderr:
        pytest.skip("hatchling is not installed (the extra [dev] has it)")
    assert done.returncode == 0, done.stderr


def run(site: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`munit-zoo …` with the packages of `site` installed."""
    return subprocess.run(
        [sys.executable, "-m", "munit_zoo", *arguments],
        env={**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}", **environment},
        capture_output=True,
        text=True,
        check=False,
        cwd=site,
    )


def test_the_template_is_what_new_plugin_writes(tmp_path):
    if not TEMPLATE.is_dir():
        pytest.skip("not in a checkout")
    for file in write_plugin("munit-zoo-template", tmp_path):
        relative = file.relative_to(tmp_path / "munit-zoo-template")
        assert filecmp.cmp(file, TEMPLATE / relative, shallow=False), relative


@pytest.mark.slow
def test_a_new_plugin_of_every_kind_passes_its_tests_untouched(tmp_path):
    write_plugin("my-stains", tmp_path, KINDS)
    site = tmp_path / "site"
    install(tmp_path / "my-stains", site)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            str(tmp_path / "my-stains"),
        ],
        env={**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 150


@pytest.mark.slow
def test_a_new_plugin_may_ship_configs_alone(tmp_path):
    write_plugin("my-sets", tmp_path, ["configs"])
    install(tmp_path / "my-sets", tmp_path / "site")
    listed = run(tmp_path / "site", "list", "configs").stdout
    assert re.search(r"my_sets/shapes +plug-in, my-sets 0\.1\.0", listed)
    tests = tmp_path / "my-sets" / "tests"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)],
        env={**os.environ, "PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{ROOT}"},
        check=False,
    )
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("name", "kinds", "message"),
    [
        ("My Stains", ("norm",), "lower-case words joined by '-'"),
        ("stains", ("nrom",), "no skeleton for the kind 'nrom'. Did you mean 'norm'"),
        ("stains", ("optimizer",), "no skeleton for the kind 'optimizer'. Kinds: norm"),
        ("munit-zoo", ("norm",), "'munit-zoo' is taken: a module munit_zoo is installed"),
        ("torch", ("norm",), "'torch' is taken"),
        ("class", ("norm",), "no name for a distribution"),
        ("taken", ("norm",), "exists; choose another name"),
    ],
)
def test_what_new_plugin_refuses(tmp_path, name, kinds, message):
    (tmp_path / "taken").mkdir()
    with pytest.raises(UsageError, match=message):
        write_plugin(name, tmp_path, kinds)


@pytest.mark.slow
def test_the_documentations_example_works_as_written(tmp_path):
    text = (ROOT / "docs" / "plugins.md").read_text()
    blocks = dict(re.findall(r"```\w+\n# ([\w./]+)\n(.*?)```", text, flags=re.S))
    assert {
        "my_stains/norms.py",
        "my_stains/recipe.py",
        "restyle.yaml",
        "pyproject.toml",
        "tests/test_my_stains.py",
        "mine.yaml",
        "my_file.py",
    } == set(blocks)
    package = tmp_path / "package"
    for name, block in blocks.items():
        file = package / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block)
    (package / "my_stains/__init__.py").write_text("")
    site = tmp_path / "site"
    install(package, site)
    for config in ("mine.yaml", "restyle.yaml"):
        done = run(site, "config", "check", str(package / config))
        assert done.returncode == 0, done.stderr
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(package / "tests")],
        env={**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
        cwd=package,
    )
    assert re.search(r"\b25 passed", tests.stdout), tests.stdout[-2000:]
    cube = ["munit/shapes", "MODEL.DECODER.ACTIVATION.NAME=cube"]
    assert run(site, "config", "check", *cube).returncode == 2
    local = run(site, "config", "check", *cube, "--plugin", str(package / "my_file.py"))
    assert local.returncode == 0, local.stderr


# Isolation, with real installed distributions


def package(folder: Path, name: str, body: str, points: str, requires: str = "") -> Path:
    module = name.replace("-", "_")
    target = folder / name
    (target / module).mkdir(parents=True)
    (target / module / "__init__.py").write_text(body)
    (target / "pyproject.toml").write_text(
        f'[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        f'[project]\nname = "{name}"\nversion = "1.5"\ndependencies = [{requires}]\n{points}'
    )
    return target


NORM = """
from torch import nn
class Mine(nn.Module):
    'Does nothing.'
    num_parameters = 0
    def __init__(self, {wired}) -> None:
        super().__init__()
    def forward(self, x):
        return x
"""
GOOD = NORM.format(wired="num_features: int")
POINT = '[project.entry-points."munit_zoo.norms"]\n{name} = "{module}:Mine"\n'


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Several distributions, most of them troublesome."""
    folder, site = tmp_path_factory.mktemp("packages"), tmp_path_factory.mktemp("site")

    def point(module: str, name: str) -> str:
        return POINT.format(name=name, module=module)

    decorated = "from munit_zoo.registry import NORMS\n" + GOOD.replace(
        "class Mine", '@NORMS.register("decorated")\nclass Mine'
    )
    for name, body, points, requires in [
        ("zoo-raises", "raise RuntimeError('no luck')", point("zoo_raises", "raising"), ""),
        ("zoo-breaks", NORM.format(wired="channels: int"), point("zoo_breaks", "breaking"), ""),
        ("zoo-one", GOOD, point("zoo_one", "twice"), ""),
        ("zoo-two", GOOD, point("zoo_two", "twice"), ""),
        ("zoo-cuckoo", GOOD, point("zoo_cuckoo", "instance"), ""),
        ("zoo-newer", GOOD, point("zoo_newer", "newer"), '"munit-zoo>=99"'),
        ("zoo-decorated", decorated, point("zoo_decorated", "decorated"), ""),
        ("zoo-exits", "raise SystemExit(9)", point("zoo_exits", "exiting"), ""),
        ("zoo-misspelt", GOOD, point("zoo_misspelt", "x").replace("norms", "norm"), ""),
        ("zoo-shelf", "", '[project.entry-points."munit_zoo.configs"]\nx = "zoo_gone.y"\n', ""),
    ]:
        install(package(folder, name, body, points, requires), site)
    return site


def check_norm(site: Path, name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    override = f"MODEL.DECODER.UPSAMPLE_NORM.NAME={name}"
    return run(site, "config", "check", "munit/shapes", override, **environment)


def test_others_are_not_hurt(site):
    done = run(site, "config", "check", "munit/shapes")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raising", "zoo-raises 1.5.*RuntimeError: no luck"),
        ("breaking", r"zoo-breaks 1.5.*positional parameters \(channels\)"),
        ("exiting", "zoo-exits 1.5.*SystemExit: 9"),
        ("twice", "zoo-one 1.5 and zoo-two 1.5; write 'zoo-one:twice' or 'zoo-two:twice'"),
        ("newer", "zoo-newer 1.5.*needs munit-zoo>=99; this is munit-zoo 0.1.0"),
    ],
)
def test_the_error_names_who_and_why(site, name, message):
    done = check_norm(site, name)
    assert done.returncode == 2
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zoo-two:twice", "instance", "zoo-cuckoo:instance", "decorated"])
def test_what_can_be_used(site, name):
    done = check_norm(site, name)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_run_made_with_an_uninstalled_plugin(site, tmp_path, tiny):
    run_folder = tmp_path / "run"
    norm = ["MODEL.DECODER.UPSAMPLE_NORM.NAME=zoo-one:twice", "ENGINE.ITERATIONS=1"]
    done = run(site, "train", "munit/shapes", *tiny, *norm, "--run", str(run_folder))
    assert done.returncode == 0, done.stderr
    without = run(tmp_path, "translate", str(run_folder), str(tmp_path), "--to", "b")
    assert without.returncode == 2
    assert "The run was made with it from zoo-one 1.5; install that again" in without.stderr


def test_list_shows_origins_and_the_broken(site):
    plain = run(site, "list", "norm").stdout
    assert re.search(r"raising +plug-in, zoo-raises 1\.5\n", plain)
    assert re.search(r"zoo-cuckoo:instance +Does nothing\. · plug-in", plain)
    checked = run(site, "list", "norm", "--check").stdout
    assert re.search(r"raising +plug-in, zoo-raises 1\.5 +BROKEN: .*no luck", checked)


def test_doctor_explains_each(site):
    done = run(site, "doctor")
    assert done.returncode == 1
    for text in (
        "broken: norm zoo-raises:raising",
        "cause: RuntimeError: no luck",
        "broken: norm zoo-breaks:breaking",
        "broken: norm zoo-newer:newer",
        "broken: norm zoo-exits:exiting",
        "claimed twice: norm twice, by zoo-one 1.5 and zoo-two 1.5",
        "broken: the configs of zoo-shelf 1.5: the entry point names the package zoo_gone.y",
        "zoo-misspelt 1.5 has entry points in the group 'munit_zoo.norm', which is none. "
        "Did you mean 'munit_zoo.norms'",
    ):
        assert text in done.stdout, done.stdout


@pytest.mark.slow
def test_the_environment_chooses_plugins(site):
    assert check_norm(site, "zoo-two:twice", MUNIT_ZOO_PLUGINS="zoo-one").returncode == 2
    assert check_norm(site, "twice", MUNIT_ZOO_PLUGINS="zoo-one").returncode == 0
    strict = check_norm(site, "instance", MUNIT_ZOO_STRICT_PLUGINS="1")
    assert strict.returncode == 2
    assert run(site, "doctor", MUNIT_ZOO_PLUGINS="").returncode == 0
    absent = run(site, "doctor", MUNIT_ZOO_PLUGINS="zoo-one, zoo-absent")
    assert "MUNIT_ZOO_PLUGINS names zoo-absent, which is not installed" in absent.stdout
    assert absent.returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [("list",), ("describe", "loss", "l1"), ("config", "show", "munit/shapes")]
)
def test_strictness_stops_every_command_but_doctor(site, command):
    done = run(site, *command, MUNIT_ZOO_STRICT_PLUGINS="1")
    assert done.returncode == 2
    assert done.stderr.startswith("munit-zoo: MUNIT_ZOO_STRICT_PLUGINS is set and an installed")
    doctor = run(site, "doctor", MUNIT_ZOO_STRICT_PLUGINS="1").stdout
    assert "broken: norm zoo-newer:newer" in doctor
    shelf = run(site, *command, MUNIT_ZOO_STRICT_PLUGINS="1", MUNIT_ZOO_PLUGINS="zoo-shelf")
    assert "broken: the configs of zoo-shelf 1.5" in shelf.stderr


def test_list_configs_shows_origins_and_the_broken(site):
    text = run(site, "list", "configs").stdout
    assert "BROKEN: the configs of zoo-shelf 1.5" in text
    assert "munit/shapes\n" in text


def test_doctor_works_without_torch(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.12 is missing')")
    done = run(tmp_path, "doctor", MUNIT_ZOO_PLUGINS="")
    assert done.returncode == 1
    assert "torch cannot be imported: ImportError: libcudart.so.12 is missing" in done.stdout
    assert "Traceback" not in done.stderr
