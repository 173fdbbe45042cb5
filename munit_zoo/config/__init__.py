"""Configs: strict YAML, resolved against the components' signatures, checked, frozen."""

from munit_zoo.config._library import (
    find_config,
    list_configs,
    require_sound_plugins,
    shelved,
    shelves,
)
from munit_zoo.config._load import (
    SCHEMA_VERSION,
    Resolved,
    bind,
    domains_of,
    load_config,
    resolve,
    resolve_component,
    resolve_data,
)
from munit_zoo.config._node import Config
from munit_zoo.config._schema import expected
from munit_zoo.config._yaml import dump, dump_value, parse_text

__all__ = [
    "SCHEMA_VERSION",
    "Config",
    "Resolved",
    "bind",
    "domains_of",
    "dump",
    "dump_value",
    "expected",
    "find_config",
    "list_configs",
    "load_config",
    "parse_text",
    "require_sound_plugins",
    "resolve",
    "resolve_component",
    "resolve_data",
    "shelved",
    "shelves",
]
