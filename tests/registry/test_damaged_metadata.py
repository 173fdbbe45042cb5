"""Damaged metadata of one distribution: nobody who does not name it is hurt."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from munit_zoo.config import list_configs, load_config
from munit_zoo.errors import AmbiguousComponentError, BrokenComponentError, UsageError
from munit_zoo.registry import CONTRACTS, Registry, load_plugin_file

POINTS = "[munit_zoo.norms]\nroot = pl:Root\n[munit_zoo.configs]\npl = pl\n"
GOOD = "Metadata-Version: 2.1\nName: pl\nVersion: 1\n"
MODULE = """
class Root:
    num_parameters = 0
    def __init__(self, num_features: int) -> None: ...
    def forward(self, x): return x
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("MUNIT_ZOO_PLUGINS", raising=False)
    (tmp_path / "pl").mkdir()
    (tmp_path / "pl" / "__init__.py").write_text(MODULE)
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "pl"]:
        del sys.modules[name]


def damage(site: Path, name: str, points: str | bytes | None, metadata: str | bytes | None) -> None:
    info = site / f"{name}-1.dist-info"
    info.mkdir()
    for file, text in (("entry_points.txt", points), ("METADATA", metadata)):
        if text is not None:
            (info / file).write_bytes(text if isinstance(text, bytes) else text.encode())


UNDECODABLE = GOOD.encode() + b"Summary: \xff\xfe\n"
CASES = {
    "no METADATA": ("pl", POINTS, None, "has metadata that cannot be read"),
    "empty METADATA": ("pl", POINTS, "", "has metadata that cannot be read"),
    "undecodable METADATA": ("pl", POINTS, UNDECODABLE, "has metadata that cannot be read"),
    "a requirement that is none": (
        "pl",
        POINTS,
        GOOD + "Requires-Dist: munit-zoo >= what is this\n",
        "has metadata that cannot be read .InvalidRequirement",
    ),
    "a bad requirement of others": ("pl", POINTS, GOOD + "Requires-Dist: other >= what\n", None),
    "a marker that is none": (
        "pl",
        POINTS,
        GOOD + "Requires-Dist: munit-zoo; sys_platform ~= 'linux'\n",
        "has metadata that cannot be read",
    ),
    "undecodable entry points": ("pl", POINTS.encode() + b"[x]\n\xff\n", GOOD, None),
    "malformed entry points of others": (
        "pl",
        "[console_scripts]\nnothing at all\n=\n" + POINTS,
        GOOD,
        None,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_told_to_who_asks_for_it(site: Path, case: str):
    name, points, metadata, why = CASES[case]
    damage(site, name, points, metadata)
    norms = Registry(CONTRACTS["norm"])
    assert norms.get("instance")
    assert "root" in norms.list()
    assert "munit/shapes" in list_configs()
    assert load_config("munit/shapes").MODEL.NAME == "munit"
    if why is None:
        assert norms.get("root").__name__ == "Root"
    else:
        with pytest.raises(BrokenComponentError, match=f"norm 'root' of pl.*{why}"):
            norms.get("root")


OTHERS = {
    "no METADATA": ("[console_scripts]\nx = y:z\n", None),
    "malformed scripts": ("[console_scripts]\nnothing at all\n", GOOD),
    "undecodable": (b"\xff\xfe[munit", b"\xff\xfe"),
    "a requirement that is none": ("[x]\ny = z\n", GOOD + "Requires-Dist: a >= what is this\n"),
}


def test_all_commands_work_beside_the_damaged(site: Path):
    """In a process of its own, with every case installed at once."""
    for at, (points, metadata) in enumerate(OTHERS.values()):
        damage(site, f"other{at}", points, metadata)
    for at, (_, points, metadata, _) in enumerate(CASES.values()):
        text = points if isinstance(points, bytes) else points.encode()
        text = text.replace(b"root =", b"root%d =" % at).replace(b"pl = pl", b"pl%d = pl" % at)
        damage(site, f"zoo{at}", text, metadata)
    commands = [
        ["list"],
        ["config", "check", "munit/shapes"],
        ["describe", "norm", "instance"],
        ["doctor"],
    ]
    code = f"from munit_zoo.cli import main\nprint([main(c) for c in {commands!r}])"
    path = os.pathsep.join([str(site), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "[0, 0, 0, 1]"  # doctor names what is broken
    assert "broken: norm zoo0:root0" in done.stdout
    told = [line for line in done.stdout.splitlines() if "other1" in line]
    assert [line.split(",")[0] for line in told] == ["damaged metadata"]  # no fault of ours


def test_an_entry_point_listed_twice(site: Path):
    damage(site, "pl", "[munit_zoo.norms]\nroot = pl:Root\nroot = pl:Other\nsame = pl:Root\n", GOOD)
    norms = Registry(CONTRACTS["norm"])
    with pytest.raises(AmbiguousComponentError, match="pl 1 lists the norm 'root' twice, as pl:"):
        norms.get("root")
    assert norms.get("same")


def test_the_same_entry_point_twice_is_one(site: Path):
    damage(site, "pl", "[munit_zoo.norms]\nroot = pl:Root\nroot = pl:Root\n", GOOD)
    assert Registry(CONTRACTS["norm"]).get("root")


def test_an_entry_point_without_a_value(site: Path):
    damage(site, "pl", "[munit_zoo.norms]\nroot\n", GOOD)
    with pytest.raises(BrokenComponentError, match="names no class"):
        Registry(CONTRACTS["norm"]).get("root")


ENDS = ["class Ends(BaseException): ...\nraise Ends('over')", "raise GeneratorExit", "import pl.no"]


@pytest.mark.parametrize("code", ENDS)
def test_whatever_an_import_raises_is_the_plugins(site: Path, code: str, tmp_path: Path):
    damage(site, "pl", POINTS, GOOD)
    (site / "pl" / "__init__.py").write_text(code)
    with pytest.raises(BrokenComponentError, match="cannot be imported"):
        Registry(CONTRACTS["norm"]).get("root")
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(UsageError, match=r"mine\.py fails"):
        load_plugin_file(tmp_path / "mine.py")


def test_a_class_that_raises_when_looked_at(site: Path):
    damage(site, "pl", POINTS, GOOD)
    text = "class Meta(type):\n    def __getattr__(cls, name): raise RuntimeError(name)\n"
    (site / "pl" / "__init__.py").write_text(
        text + MODULE.replace("Root:", "Root(metaclass=Meta):")
    )
    with pytest.raises(BrokenComponentError, match="cannot be looked at: RuntimeError"):
        Registry(CONTRACTS["norm"]).get("root")
