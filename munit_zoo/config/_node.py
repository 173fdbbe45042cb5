"""The resolved config: a yacs tree that nothing can change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NoReturn

from yacs.config import CfgNode

from munit_zoo.config._yaml import dump
from munit_zoo.errors import FrozenConfigError, suggest

__all__ = ["Config"]


class Config(CfgNode):  # type: ignore[misc]  # yacs has no types
    """A resolved config: read by attribute (`config.MODEL.STYLE_DIM`), never changed.

    A stock yacs node, though frozen, can still be written by `node[key] = value`, `update` and
    merges. Here each way of writing raises FrozenConfigError; lists are tuples. To vary a config,
    load it again with an override: `load_config(name, "MODEL.STYLE_DIM=16")`.
    Copies, clones and pickles as the same frozen tree.
    """

    def __init__(self, values: Mapping[str, object]) -> None:
        dict.__init__(self, {key: _immutable(value) for key, value in values.items()})
        self.__dict__[CfgNode.IMMUTABLE] = True
        self.__dict__[CfgNode.NEW_ALLOWED] = False
        self.__dict__[CfgNode.DEPRECATED_KEYS] = set()
        self.__dict__[CfgNode.RENAMED_KEYS] = {}

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        hint = suggest(name, self) or f"It has: {', '.join(self)}."
        raise AttributeError(f"this part of the config has no key {name!r}. {hint}")

    def _refuse(self, *change: object, **_: object) -> NoReturn:
        key = " = ".join(map(str, change)) + ": " if change and isinstance(change[0], str) else ""
        raise FrozenConfigError(
            f"{key}a resolved config cannot be changed; load it again with the override you want, "
            'as in load_config("munit/shapes", "MODEL.STYLE_DIM=16")'
        )

    __setitem__ = __delitem__ = __setattr__ = __delattr__ = __ior__ = _refuse
    update = pop = popitem = setdefault = clear = _refuse
    defrost = set_new_allowed = _refuse
    merge_from_file = merge_from_list = merge_from_other_cfg = _refuse
    register_deprecated_key = register_renamed_key = _refuse

    def freeze(self) -> None:
        """Nothing to do: a resolved config is frozen from the start."""

    def clone(self) -> Config:
        """The same tree again."""
        return Config(self)

    def __copy__(self) -> Config:
        return Config(self)

    def __deepcopy__(self, memo: dict[int, object]) -> Config:
        return Config(self)

    def __reduce__(self) -> tuple[object, ...]:
        return (Config, (self.plain(),))

    def plain(self) -> dict[str, Any]:
        """Nested dicts and lists, the caller's to change."""
        return {key: _plain(value) for key, value in self.items()}

    def dump(self, **_: object) -> str:
        """YAML text that loads as this config."""
        return dump(self.plain())

    def digest(self) -> str:
        """SHA-256 of the tree, independent of the order of keys."""
        text = json.dumps(self.plain(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _immutable(value: object) -> object:
    if isinstance(value, Mapping):
        return Config(value)
    if isinstance(value, (list, tuple)):
        return tuple(_immutable(item) for item in value)
    return value


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _plain(child) for key, child in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
