"""Configs: strict YAML, resolved against the components' signatures, checked, frozen."""

from munit_zoo.config._library import (
    find_config,
    find_plan,
    list_configs,
    list_plans,
    require_sound_plugins,
    shelved,
    shelves,
)
from munit_zoo.config._load import (
    Resolved,
    bind,
    domains_of,
    engine_settings,
    free_on_resume,
    load_config,
    resolve,
    resolve_component,
    resolve_data,
    update_settings,
)
from munit_zoo.config._migrations import SCHEMA_VERSION
from munit_zoo.config._node import Config
from munit_zoo.config._resolve import Dropped
from munit_zoo.config._schema import expected
from munit_zoo.config._yaml import (
    Node,
    dump,
    dump_value,
    node_from,
    parse_override,
    parse_text,
    read_yaml,
)
from munit_zoo.config.networks import entry_of, names_of, network_problems

__all__ = [
    "SCHEMA_VERSION",
    "Config",
    "Dropped",
    "Node",
    "Resolved",
    "bind",
    "domains_of",
    "dump",
    "dump_value",
    "engine_settings",
    "entry_of",
    "expected",
    "find_config",
    "find_plan",
    "free_on_resume",
    "list_configs",
    "list_plans",
    "load_config",
    "names_of",
    "network_problems",
    "node_from",
    "parse_override",
    "parse_text",
    "read_yaml",
    "require_sound_plugins",
    "resolve",
    "resolve_component",
    "resolve_data",
    "shelved",
    "shelves",
    "update_settings",
]
