"""Trained weights on disk: which the package knows, where they are looked for, and that they are
what their name says.

Nothing is downloaded unless that is asked for. Torch-free, so that every layer may ask.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from munit_zoo.errors import WeightsError, suggest

__all__ = [
    "KNOWN",
    "Found",
    "KnownWeights",
    "WeightsFile",
    "find_weights",
    "known_as",
    "looking_in",
    "may_download",
    "places",
]

VARIABLE = "MUNIT_ZOO_WEIGHTS"
_TORCHVISION = "https://download.pytorch.org/models"
_FIDELITY = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0"


@dataclass(frozen=True)
class WeightsFile:
    """One file that holds known weights.

    name: as it is called in a folder of weights. sha256: all digits, or the first eight.
    url: where it can be fetched, "" for nowhere.
    package, inside: an installed package that ships it, and the path within.
    """

    name: str
    sha256: str
    url: str = ""
    package: str = ""
    inside: str = ""


@dataclass(frozen=True)
class KnownWeights:
    """Weights that the package knows by name: any one of the files holds them."""

    name: str
    about: str
    files: tuple[WeightsFile, ...]


@dataclass(frozen=True)
class Found:
    """A file of weights on disk. name: the known name, or the file's where nobody knows it."""

    name: str
    path: Path
    sha256: str

    def record(self) -> dict[str, str]:
        """What a result says of the weights it was computed with."""
        return {"name": self.name, "file": self.path.name, "sha256": self.sha256}


def _torchvision(file: str, digest: str) -> WeightsFile:
    return WeightsFile(file, digest, url=f"{_TORCHVISION}/{file}")


def _heads(net: str, digest: str) -> tuple[WeightsFile, ...]:
    file = f"{net}.pth"
    return (
        WeightsFile(
            f"lpips_{file}",
            digest,
            package="torchmetrics",
            inside=f"functional/image/lpips_models/{file}",
        ),
        WeightsFile(f"lpips_{file}", digest, package="lpips", inside=f"weights/v0.1/{file}"),
    )


KNOWN: Mapping[str, KnownWeights] = MappingProxyType(
    {
        known.name: known
        for known in (
            KnownWeights(
                "vgg16",
                "VGG-16 trained on ImageNet (torchvision's IMAGENET1K_V1)",
                (
                    _torchvision("vgg16-397923af.pth", "397923af"),
                    WeightsFile(
                        "vgg16_features.safetensors",
                        "cabd922aeb0dd6d56f2bed33221aee74b7f1e760ddd105c0e0891606cbab6d0d",
                    ),
                ),
            ),
            KnownWeights(
                "vgg16_caffe",
                "VGG-16 as its authors trained it in Caffe (torchvision's IMAGENET1K_FEATURES)",
                (_torchvision("vgg16_features-amdegroot-88682ab5.pth", "88682ab5"),),
            ),
            KnownWeights(
                "vgg19",
                "VGG-19 trained on ImageNet (torchvision's IMAGENET1K_V1)",
                (_torchvision("vgg19-dcbb9e9d.pth", "dcbb9e9d"),),
            ),
            KnownWeights(
                "alexnet",
                "AlexNet trained on ImageNet (torchvision's IMAGENET1K_V1)",
                (
                    _torchvision("alexnet-owt-7be5be79.pth", "7be5be79"),
                    WeightsFile(
                        "alexnet_features.safetensors",
                        "9f97fd313f4da83dbe6bbfbe6effca1241de9edfcd7c53386261ed9697286dd9",
                    ),
                ),
            ),
            KnownWeights(
                "lpips_alex",
                "LPIPS' weights of AlexNet's layers, version 0.1",
                _heads("alex", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"),
            ),
            KnownWeights(
                "lpips_vgg",
                "LPIPS' weights of VGG-16's layers, version 0.1",
                _heads("vgg", "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"),
            ),
            KnownWeights(
                "inception",
                "Inception-v3 of 2015-12-05, on which FID is defined",
                (
                    WeightsFile(
                        "weights-inception-2015-12-05-6726825d.pth",
                        "6726825d",
                        url=f"{_FIDELITY}/weights-inception-2015-12-05-6726825d.pth",
                    ),
                ),
            ),
        )
    }
)


@dataclass(frozen=True)
class _Search:
    folders: tuple[Path, ...] = ()
    download: bool = False


_NOWHERE_ELSE = _Search()
_search: ContextVar[_Search] = ContextVar("munit_zoo_weights", default=_NOWHERE_ELSE)


@contextmanager
def looking_in(*folders: Path | str, download: bool = False) -> Iterator[None]:
    """Look for weights in these folders first; `download` allows to fetch what is in none.

    Raises WeightsError for a folder that does not exist.
    """
    chosen = tuple(Path(folder).expanduser() for folder in folders)
    for folder in chosen:
        if not folder.is_dir():
            raise WeightsError(f"there is no folder of weights {folder} (--weights-dir)")
    before = _search.get()
    token = _search.set(_Search((*chosen, *before.folders), download or before.download))
    try:
        yield
    finally:
        _search.reset(token)


def may_download() -> bool:
    """Whether `looking_in` allows to fetch what is not on disk."""
    return _search.get().download


def places() -> tuple[Path, ...]:
    """Folders in which weights are looked for, in order.

    Those of `looking_in` (`--weights-dir`), of the variable MUNIT_ZOO_WEIGHTS (separated as PATH
    is), and torch's own (`$TORCH_HOME/hub/checkpoints`).
    """
    named = [Path(part).expanduser() for part in os.environ.get(VARIABLE, "").split(os.pathsep)]
    cache = os.environ.get("TORCH_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or "~/.cache", "torch"
    )
    torchs = Path(cache).expanduser() / "hub" / "checkpoints"
    set_folders = [folder for folder in named if folder != Path()]
    return tuple(dict.fromkeys((*_search.get().folders, *set_folders, torchs)))


def find_weights(name: str, *, download: bool = False) -> Found:
    """Known weights by name, or any file by path or, within `places()`, by its name.

    download: fetch known ones that are nowhere on disk, as `looking_in(download=True)` does.
    A file under a trusted name is checked: another one that was put there is refused.

    Raises WeightsError that names the file, where it was looked for and its SHA-256.
    """
    known = KNOWN.get(name)
    if known is None:
        return _file(name)
    for file in known.files:
        for folder in places():
            if (folder / file.name).is_file():
                return _checked(known, file, folder / file.name)
        shipped = _shipped(file)
        if shipped is not None:
            return _checked(known, file, shipped)
    if download or may_download():
        for file in known.files:
            if file.url:
                return _checked(known, file, _fetched(file))
    raise WeightsError(_absent(known))


def _file(name: str) -> Found:
    """A file that nobody vouches for but the user."""
    path = Path(name).expanduser()
    tried = [path, *(() if path.is_absolute() else [folder / path for folder in places()])]
    for candidate in tried:
        if candidate.is_file():
            return Found(candidate.name, candidate, _digest(candidate))
    hint = suggest(name, KNOWN)
    shown = ", ".join(str(candidate) for candidate in tried)
    raise WeightsError(
        f"{name!r} is neither a file of weights (looked for {shown}) nor one of "
        f"{', '.join(KNOWN)}. {hint}".rstrip()
    )


def known_as(found: Found) -> str | None:
    """The known name of a file's content, whatever the file is called."""
    for known in KNOWN.values():
        if any(found.sha256.startswith(file.sha256) for file in known.files):
            return known.name
    return None


def _checked(known: KnownWeights, file: WeightsFile, path: Path) -> Found:
    digest = _digest(path)
    if not digest.startswith(file.sha256):
        raise WeightsError(
            f"{path} is not {known.about}: its SHA-256 is {digest}, expected {file.sha256}"
            f"{'…' if len(file.sha256) < 64 else ''}. Replace it, or give weights of your own "
            "under another file name"
        )
    return Found(known.name, path, digest)


def _digest(path: Path) -> str:
    status = path.stat()
    return _sha256(str(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _sha256(path: str, mtime: int, size: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _shipped(file: WeightsFile) -> Path | None:
    """The file within an installed package, found without importing it."""
    if not file.package:
        return None
    spec = importlib.util.find_spec(file.package)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / file.inside
        if path.is_file():
            return path
    return None


def _fetched(file: WeightsFile) -> Path:
    """The file, downloaded into the first of the places that can be written."""
    folder = next((p for p in places() if os.access(p, os.W_OK)), places()[-1])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as work:
            part = Path(work) / file.name
            with urllib.request.urlopen(file.url, timeout=60) as source, part.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            digest = _digest(part)
            if not digest.startswith(file.sha256):
                raise WeightsError(
                    f"{file.url} sent something else: SHA-256 {digest}, expected {file.sha256}"
                )
            os.replace(part, folder / file.name)
            return folder / file.name
    except (OSError, urllib.error.URLError) as error:
        raise WeightsError(f"{file.url} cannot be downloaded: {error}") from error


def _absent(known: KnownWeights) -> str:
    files = []
    for file in {file.name: file for file in known.files}.values():
        digest = file.sha256 + ("…" if len(file.sha256) < 64 else "")
        files.append(f"{file.name} (SHA-256 {digest})")
    looked = ", ".join(map(str, places()))
    packages = [file.package for file in known.files if file.package]
    shipped = f", in the packages {' and '.join(packages)}" if packages else ""
    ways = [f"put the file there, or point --weights-dir or {VARIABLE} at its folder"]
    if packages:
        ways.append("pip install 'munit-zoo[metrics]'")
    if any(file.url for file in known.files):
        ways.append("allow the download with --download (in a config: DOWNLOAD: true)")
    return (
        f"{known.about}: {' or '.join(files)} is not on disk. Looked in {looked}{shipped}. "
        f"Either {'; or '.join(ways)}"
    )
