"""Scaffolding: packages that work, to fill in (`munit-zoo new-plugin`)."""

from munit_zoo.scaffold.new_plugin import KINDS, write_plugin

__all__ = ["KINDS", "write_plugin"]
