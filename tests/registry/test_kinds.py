"""The table of kinds, and every place that names kinds besides."""

from __future__ import annotations

from pathlib import Path

import pytest

import munit_zoo.registry as package
from munit_zoo.registry import CONTRACTS, REGISTRIES, Slot, registry
from munit_zoo.registry.builtins import BUILTINS

ROOT = Path(__file__).resolve().parents[2]
OPEN = {kind for kind, contract in CONTRACTS.items() if contract.group}


@pytest.mark.parametrize("kind", CONTRACTS)
def test_each_kind_has_a_registry_by_its_plural(kind: str):
    contract = CONTRACTS[kind]
    assert getattr(package, contract.plural.upper()) is REGISTRIES[kind]
    assert contract.plural.upper() in package.__all__
    for spelling in (kind, contract.plural, kind.replace("_", "-")):
        assert registry(spelling) is REGISTRIES[kind]


def test_the_table_of_contents_has_every_kind_in_order():
    assert list(BUILTINS) == list(CONTRACTS)


def test_each_slot_type_names_a_kind():
    markers = {
        name: found
        for name in package.__all__
        if isinstance(found := getattr(package, name), type) and hasattr(found, "kind")
    }
    kinds = [Slot.kind_of(Slot[marker]) for marker in markers.values()]
    assert len(set(kinds)) == len(kinds)
    assert set(kinds) <= set(CONTRACTS)
    assert {"norm", "mapping", "schedule"} <= set(kinds)
    parts = {kind for kind in OPEN if "Image" in CONTRACTS[kind].summary or kind == "decoder"}
    assert parts - {"metric", "dataset", "extractor"} <= set(kinds)


def test_what_is_checked_measured_and_written_are_kinds():
    from munit_zoo.bench.components import KINDS as measured
    from munit_zoo.scaffold import KINDS as written
    from munit_zoo.scaffold.new_plugin import _VARIANTS
    from munit_zoo.testing.subjects import KINDS as checked

    order = list(CONTRACTS)
    assert [kind for kind in order if kind in measured] == list(measured)
    assert [kind for kind in order if kind in checked] == list(checked)
    assert set(measured) == set(checked) - {"model"}
    assert {_VARIANTS.get(kind, kind) for kind in written} - {"configs"} <= OPEN


def test_the_documentation_names_every_group():
    text = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    for kind in OPEN:
        assert f"`{CONTRACTS[kind].group}`" in text, kind
