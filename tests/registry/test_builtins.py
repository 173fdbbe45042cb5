"""The table of contents against the classes."""

from __future__ import annotations

import pytest

from munit_zoo.registry import REGISTRIES

ENTRIES = [entry for registry in REGISTRIES.values() for entry in registry.entries()]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e.kind}:{e.name}")
def test_each_line_names_a_class_that_keeps_its_contract(entry):
    found = REGISTRIES[entry.kind].describe(entry.name)
    assert found.component.__module__ == entry.target.partition(":")[0]
    assert found.component.__qualname__ == entry.target.partition(":")[2]
    assert found.doc, f"{entry.target} has no documentation"


def test_names_are_sorted_in_the_table():
    for registry in REGISTRIES.values():
        builtin = [e.name for e in registry.entries() if e.origin == "builtin"]
        assert builtin == sorted(builtin)
