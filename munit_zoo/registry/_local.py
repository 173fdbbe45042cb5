"""Local files whose components are made known for one program: `--plugin FILE.py`."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path

from munit_zoo.errors import MunitZooError, UsageError

__all__ = ["load_plugin_file"]


def load_plugin_file(path: Path) -> str:
    """Run a Python file that registers components by decorator (`@NORMS.register("mine")`).

    Returns the module's name. Raises UsageError where the file is absent or fails; the package's
    own errors (a broken contract, a name that is taken) pass through.
    """
    if path.suffix != ".py" or not path.is_file():
        raise UsageError(f"--plugin {path}: there is no such .py file")
    # two files of one name in different folders are two modules
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    name = f"munit_zoo_local_{path.stem}_{place}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"--plugin {path} cannot be read as a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (MunitZooError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise UsageError(f"--plugin {path} fails: {type(error).__name__}: {error}") from error
    return name
