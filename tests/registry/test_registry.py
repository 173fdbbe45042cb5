"""Names to classes: listing, finding, binding, and what goes wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from munit_zoo.errors import (
    AmbiguousComponentError,
    BrokenComponentError,
    ContractError,
    UnknownComponentError,
    UsageError,
)
from munit_zoo.registry import (
    CONTRACTS,
    NORMS,
    Norm,
    Registry,
    Slot,
    load_plugin_file,
    read_signature,
    registry,
    slot,
)
from munit_zoo.registry._summary import summary_of_target


@pytest.fixture
def norms() -> Registry:
    """A registry of norms that a test may fill."""
    return Registry(CONTRACTS["norm"])


class Half(torch.nn.Module):
    """Halves."""

    num_parameters = 0

    def __init__(self, num_features: int, *, factor: float = 0.5) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


def test_list_takes_wildcards():
    assert NORMS.list("*a*n*") == ["adain", "instance"]
    assert "none" in NORMS
    assert "nope" not in NORMS


def test_an_unknown_name_gets_its_nearest():
    with pytest.raises(UnknownComponentError, match="'instnace'. Did you mean 'instance'"):
        NORMS.get("instnace")


def test_part_of_a_name_is_near_enough():
    with pytest.raises(UnknownComponentError, match="Did you mean 'adain_resnet'"):
        registry("decoder").get("adian")


def test_kinds_have_two_spellings():
    assert registry("content-encoders") is registry("content_encoder")
    with pytest.raises(UsageError, match="Did you mean 'norm'"):
        registry("nrom")


def test_registered_by_decorator(norms: Registry):
    norms.register("half")(Half)
    assert norms.get("half") is Half
    assert norms.entry("half").origin == "local"
    assert norms.bind("half", factor=2.0)(4)(torch.ones(1)).item() == 2.0


def test_registering_again_replaces_what_a_notebook_cell_defined(norms: Registry):
    norms.register("half")(Half)
    again = type("Half", (Half,), {"__module__": Half.__module__})
    norms.register("half")(again)
    assert norms.get("half") is again


def test_a_builtin_cannot_be_shadowed(norms: Registry):
    with pytest.raises(AmbiguousComponentError, match="taken by munit-zoo"):
        norms.register("instance")(Half)


def test_an_unknown_setting_is_refused(norms: Registry):
    norms.register("half")(Half)
    with pytest.raises(ContractError, match="no setting 'facto'. Did you mean 'factor'"):
        norms.bind("half", facto=1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def __init__(self, channels): ...", r"takes the positional parameters \(channels\)"),
        ("def __init__(self, num_features, **kw): ...", r"takes \*\*kw: a component spells out"),
        ("def __init__(self, num_features, *, eps=1): ...", "`eps` has no type annotation"),
        ("def __init__(self, num_features, *, eps: Nope = 1): ...", "cannot be read"),
        ("def __init__(self, num_features): ...", "lacks the method forward"),
    ],
)
def test_a_class_that_breaks_the_contract(norms: Registry, source: str, message: str):
    scope: dict[str, type] = {}
    exec(f"class Wrong:\n    {source}", {"__name__": "test"}, scope)
    if "lacks" not in message:
        scope["Wrong"].forward = lambda self, x: x
    with pytest.raises(ContractError, match=message):
        norms.register("wrong")(scope["Wrong"])


@pytest.mark.parametrize(
    ("kind", "source", "message"),
    [
        ("norm", "class Wrong(torch.nn.Module):\n    def __init__(self, num_features): ...",
         "lacks the method forward"),
        ("activation", "def Wrong(x): ...", "is the function 'Wrong', not a class; an activation"),
        ("activation", "class Wrong:\n    def __init__(self, x): ...\n    def forward(self): ...",
         "an activation takes"),
        ("model", "class Wrong:\n    def __init__(self, domains): ...",
         r"check_config .*Subclass munit_zoo\.models\.TranslationModel"),
        ("dataset", "class Wrong:\n    def __init__(self, domain, split): ...",
         "lacks the methods __len__, prepare, train, test, name, describe"),
        ("loss", "class Wrong: ...", "give the class the attribute contract"),
    ],
)  # fmt: skip
def test_contracts_of_other_kinds(kind: str, source: str, message: str):
    scope: dict[str, type] = {"torch": torch}
    exec(source, scope)
    scope["Wrong"].__module__ = "test"
    with pytest.raises(ContractError, match=message):
        Registry(CONTRACTS[kind]).register("wrong")(scope["Wrong"])


@pytest.mark.parametrize("kind", ["list", "list[int]", "torch.Tensor | None", "dict", "set[str]"])
def test_a_setting_that_no_config_can_hold(norms: Registry, kind: str):
    scope: dict[str, type] = {"torch": torch}
    exec(f"def init(self, num_features, *, p: {kind} = None): ...", scope)
    wrong = type("Wrong", (Half,), {"__init__": scope["init"]})
    with pytest.raises(ContractError, match="the setting `p` has the type .*; a config can hold"):
        norms.register("wrong")(wrong)


def test_documentation_is_a_classs_own(norms: Registry):
    norms.register("bare")(type("Bare", (Half,), {"__module__": "elsewhere"}))
    assert norms.describe("bare").doc == ""


def test_an_instance_without_its_attributes():
    encoders = Registry(CONTRACTS["content_encoder"])

    @encoders.register("bare")
    class Bare:
        """No attributes."""

        def __init__(self, in_channels: int) -> None: ...
        def forward(self, x): ...

    with pytest.raises(ContractError, match="no attribute out_channels, stride"):
        encoders.bind("bare")(3)


def test_slots_are_read_from_the_signature():
    class Block:
        def __init__(self, width: int, *, norm: Slot[Norm] = slot("instance", affine=True)):
            self.norm = NORMS.factory(norm)(width)

    setting = read_signature(Block, "Block").settings["NORM"]
    assert setting.slot == "norm"
    assert Block(4).norm.weight is not None


def test_factory_takes_names_classes_and_callables():
    assert type(NORMS.factory("batch")(3)).__name__ == "BatchNorm"
    assert isinstance(NORMS.factory(Half)(3), Half)
    assert NORMS.factory(lambda n: n + 1)(3) == 4
    with pytest.raises(ContractError, match="42 is no norm"):
        NORMS.factory(42)


# Real distributions, found by their metadata


def distribution(
    folder, name: str, version: str, points: str, module: str = "", requires: str = ""
) -> None:
    """An installed distribution: metadata with entry points, and perhaps a module."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    demand = f"Requires-Dist: {requires}\n" if requires else ""
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{demand}"
    (info / "METADATA").write_text(text)
    (info / "entry_points.txt").write_text(points)
    if module:
        (folder / f"{name.replace('-', '_')}.py").write_text(module)


GOOD = """
class Scale:
    'Scales.'
    num_parameters = 0
    def __init__(self, num_features: int, *, by: float = 2.0) -> None:
        self.by = by
    def forward(self, x):
        return x * self.by
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("MUNIT_ZOO_PLUGINS", raising=False)
    return tmp_path


def test_a_plugin_is_found_by_its_metadata(site, norms: Registry):
    distribution(site, "zoo-good", "1.2", "[munit_zoo.norms]\nscale = zoo_good:Scale\n", GOOD)
    assert "scale" in norms.list()
    entry = norms.entry("scale")
    assert (entry.source, entry.origin) == ("zoo-good 1.2", "plugin")
    assert norms.describe("scale").settings["BY"].default == 2.0


def test_listing_imports_no_plugin(site, norms: Registry):
    points = "[munit_zoo.norms]\nbad = zoo_bad:Scale\n"
    distribution(site, "zoo-bad", "0.1", points, "raise RuntimeError('listed')")
    assert "bad" in norms.list()


def test_a_broken_plugin_hurts_only_who_asks_for_it(site, norms: Registry):
    points = "[munit_zoo.norms]\nbad = zoo_sad:Scale\n"
    distribution(site, "zoo-sad", "0.1", points, "raise RuntimeError('out of luck')")
    assert norms.get("instance")
    with pytest.raises(BrokenComponentError, match=r"zoo-sad 0\.1.*RuntimeError: out of luck"):
        norms.get("bad")
    assert list(norms.broken()) == ["zoo-sad:bad"]
    with pytest.raises(UnknownComponentError, match="Failed to load: zoo-sad:bad"):
        norms.get("other")


def test_strictness_makes_any_broken_plugin_fatal(site, norms: Registry, monkeypatch):
    points = "[munit_zoo.norms]\nbad = zoo_mad:Scale\n"
    distribution(site, "zoo-mad", "0.1", points, "raise RuntimeError('out of luck')")
    monkeypatch.setenv("MUNIT_ZOO_STRICT_PLUGINS", "0")
    assert norms.get("instance")
    norms.refresh()
    monkeypatch.setenv("MUNIT_ZOO_STRICT_PLUGINS", "1")
    with pytest.raises(BrokenComponentError, match="zoo-mad"):
        norms.get("instance")


def test_two_distributions_with_one_name(site, norms: Registry):
    for name in ("zoo-one", "zoo-two"):
        module = name.replace("-", "_")
        distribution(site, name, "1", f"[munit_zoo.norms]\nscale = {module}:Scale\n", GOOD)
    with pytest.raises(AmbiguousComponentError, match="'zoo-one:scale' or 'zoo-two:scale'"):
        norms.get("scale")
    assert norms.get("zoo-two:scale").__module__ == "zoo_two"
    assert [n for n in norms.list() if "scale" in n] == ["zoo-one:scale", "zoo-two:scale"]


def test_a_plugin_does_not_shadow_a_builtin(site, norms: Registry):
    points = "[munit_zoo.norms]\ninstance = zoo_cuckoo:Scale\n"
    distribution(site, "zoo-cuckoo", "1", points, GOOD)
    assert norms.get("instance").__module__ == "munit_zoo.blocks.norms"
    assert norms.get("zoo-cuckoo:instance").__module__ == "zoo_cuckoo"


def test_the_environment_limits_which_distributions_are_looked_at(site, norms, monkeypatch):
    points = "[munit_zoo.norms]\nscale = zoo_limited:Scale\n"
    distribution(site, "zoo-limited", "1", points, GOOD)
    monkeypatch.setenv("MUNIT_ZOO_PLUGINS", "another")
    assert "scale" not in norms.list()
    norms.refresh()
    monkeypatch.setenv("MUNIT_ZOO_PLUGINS", "Zoo_Limited, another")
    assert "scale" in norms.list()


def test_a_plugin_that_ends_the_program_is_only_broken(site, norms: Registry):
    points = "[munit_zoo.norms]\nbad = zoo_exit:Scale\n"
    distribution(site, "zoo-exit", "0.1", points, "raise SystemExit(9)")
    with pytest.raises(BrokenComponentError, match=r"zoo-exit 0\.1.*SystemExit: 9"):
        norms.get("bad")


def test_an_entry_point_without_a_class(site, norms: Registry):
    distribution(site, "zoo-less", "0.1", "[munit_zoo.norms]\nbad = zoo_less\n", GOOD)
    with pytest.raises(BrokenComponentError, match='names no class; write "zoo_less:Class"'):
        norms.get("bad")


@pytest.mark.parametrize(
    ("requires", "broken"),
    [
        ("munit-zoo>=99", True),
        ("munit-zoo>=99; python_version < '3'", False),
        ("munit-zoo>=99; extra == 'test'", False),
    ],
)
def test_a_requirement_holds_where_its_marker_does(site, norms, requires: str, broken: bool):
    name = f"zoo-marker{len(requires)}"
    points = f"[munit_zoo.norms]\nscale = {name.replace('-', '_')}:Scale\n"
    distribution(site, name, "1", points, GOOD, requires)
    if broken:
        with pytest.raises(BrokenComponentError, match="needs munit-zoo>=99"):
            norms.get("scale")
    else:
        assert norms.get("scale").__name__ == "Scale"


def test_strictness_reaches_across_kinds(site, monkeypatch):
    points = "[munit_zoo.norms]\nbad = zoo_cross:Scale\n"
    distribution(site, "zoo-cross", "0.1", points, "raise RuntimeError('out of luck')")
    losses = registry("loss")
    monkeypatch.setenv("MUNIT_ZOO_STRICT_PLUGINS", "1")
    try:
        for one in (NORMS, losses):
            one.refresh()
        with pytest.raises(
            BrokenComponentError, match="^MUNIT_ZOO_STRICT_PLUGINS is set .*zoo-cross"
        ):
            losses.get("l1")
    finally:
        monkeypatch.undo()
        for one in (NORMS, losses):
            one.refresh()


def test_a_decorated_class_that_its_package_re_exports(site):
    package = site / "zoo_shop"
    package.mkdir()
    (package / "__init__.py").write_text("from zoo_shop.norms import Scale\n")
    decorated = GOOD.replace("class Scale", '@NORMS.register("shop")\nclass Scale')
    (package / "norms.py").write_text("from munit_zoo.registry import NORMS\n" + decorated)
    distribution(site, "zoo-shop", "1", "[munit_zoo.norms]\nshop = zoo_shop:Scale\n")
    try:
        NORMS.refresh()
        assert NORMS.get("shop").__module__ == "zoo_shop.norms"
    finally:
        NORMS.refresh()


def test_two_local_files_do_not_replace_each_other(tmp_path):
    text = GOOD.replace("class Scale", '@NORMS.register("test_local")\nclass Scale')
    files = [tmp_path / folder / "mine.py" for folder in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        file.write_text("from munit_zoo.registry import NORMS\n" + text)
    try:
        load_plugin_file(files[0])
        load_plugin_file(files[0])  # the same again
        with pytest.raises(AmbiguousComponentError, match="the name is taken"):
            load_plugin_file(files[1])
    finally:
        NORMS._local.pop("test_local", None)


def test_a_local_file_that_ends_the_program(tmp_path):
    (tmp_path / "mine.py").write_text("raise SystemExit(3)")
    with pytest.raises(UsageError, match="mine.py fails: SystemExit: 3"):
        load_plugin_file(tmp_path / "mine.py")


def test_every_builtin_says_what_it_is_and_nothing_is_imported_for_it():
    code = (
        "import sys; from munit_zoo.registry import REGISTRIES\n"
        "for one in REGISTRIES.values():\n"
        "    for name in one.list():\n"
        "        entry = one.entry(name)\n"
        "        assert entry.origin != 'builtin' or one.summary(name), (one.kind, name)\n"
        "assert 'torch' not in sys.modules and 'munit_zoo.blocks' not in sys.modules"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_a_summary_without_a_source_is_empty(tmp_path, monkeypatch):
    assert summary_of_target("no.such.module:Thing") == ""
    (tmp_path / "broken_source.py").write_text("class (:")
    (tmp_path / "plain_source.py").write_text('class Thing:\n    """One.\n\n    More."""\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    assert summary_of_target("broken_source:Thing") == ""
    assert summary_of_target("plain_source:Other") == ""
    assert summary_of_target("plain_source:Thing") == "One."
