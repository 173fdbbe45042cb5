"""Files of a run, written so that a reader, a crash or a full disk never finds half of one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from munit_zoo.errors import CheckpointError

__all__ = [
    "FORMER",
    "is_scrap",
    "read_json",
    "remove_folder",
    "sync_folder",
    "write_durably",
    "write_text",
]

FORMER = ".former-"
"""In front of the name of what gives way to a successor, until that is there."""


def write_text(path: Path, text: str) -> None:
    """Replace a file at once: a reader sees the old or the new one."""
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_durably(path: Path, content: bytes) -> str:
    """Write a file to the disk itself; its checksum."""
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(content).hexdigest()


def read_json(path: Path) -> dict[str, object]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
    if not isinstance(document, dict):
        raise CheckpointError(f"{path} is damaged: it holds no keys")
    return document


def remove_folder(folder: Path) -> None:
    """Delete a snapshot: a reader finds all of it or nothing."""
    gone = folder.with_name(f".gone-{folder.name}-{os.getpid()}")
    os.replace(folder, gone)
    shutil.rmtree(gone, ignore_errors=True)


def sync_folder(path: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_scrap(path: Path) -> bool:
    """Whether a name is that of something unfinished."""
    name = path.name
    return name.startswith(".") and (
        name.endswith((".writing", ".png")) or name.startswith((".writing-", ".gone-", FORMER))
    )
