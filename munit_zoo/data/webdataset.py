"""Images in the tar shards of WebDataset, with the order and determinism of folders."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from munit_zoo.data._files import (
    FileDataset,
    OnBadImage,
    check_domains,
    labels_from,
    share_out,
)
from munit_zoo.data.image_folder import split_folder
from munit_zoo.data.images import MAX_PIXELS
from munit_zoo.data.reading import held_by, list_images, natural
from munit_zoo.data.sources import Packed, Source, is_image, shown
from munit_zoo.data.transforms import (
    Convert,
    Crop,
    Interpolation,
)
from munit_zoo.domains import Domain
from munit_zoo.errors import DataError, UsageError
from munit_zoo.registry import MAY_CHANGE
from munit_zoo.registry.ranges import Fraction, NonNegative, Positive, PositiveFloat

__all__ = ["WebDataset", "groups_of", "list_members", "pack"]

INDEX = "index.json"


class WebDataset(FileDataset):
    """Images in tar archives, as `munit-zoo pack` and the webdataset library write them.

    Members of an image's suffix are images, whatever lies beside them; archives are uncompressed.
    Each image is read from its place in its archive, so that order, pairs and resumption are those
    of the same images in a folder.

    root: a folder with one per split and domain, laid out as `image_folder` has it, with .tar files
        in each.
    shards: instead of that, archives per split and domain, `{TRAIN_DAY: "day-{000000..000007}.tar",
        TEST_DAY: …}`: paths, or URLs that the webdataset library opens (not `pipe:`).
    hold_out: where no test shards are given, the share (below 1) or number of the images of
        `shards` that is held out; hold_out_seed: which. paired: by names without suffixes.
    fetched: folder that archives of URLs are copied to, once each.
    Other keys as those of `image_folder`.

    Raises DataError for missing, compressed or damaged archives, and per image as `on_bad_image`
    says.
    """

    def __init__(
        self,
        domain: Domain,
        split: Literal["train", "test"],
        *,
        root: Annotated[str | None, MAY_CHANGE] = None,
        shards: Annotated[dict[str, str] | None, MAY_CHANGE] = None,
        hold_out: NonNegative = 0.1,
        hold_out_seed: int = 0,
        paired: bool = False,
        fetched: Annotated[str, MAY_CHANGE] = "~/.cache/munit_zoo/shards",
        table: Annotated[str | None, MAY_CHANGE] = None,
        attributes: tuple[str, ...] | None = None,
        classes: bool = False,
        size: Positive | dict[str, Positive] | None = 256,
        crop: Crop = None,
        flip: bool = True,
        resized_crop: Fraction = 0.0,
        interpolation: Interpolation = "bilinear",
        convert: dict[str, Convert] | Convert = "none",
        on_bad_image: Annotated[OnBadImage, MAY_CHANGE] = "error",
        max_pixels: Positive = MAX_PIXELS,
        reduced_jpeg: bool = False,
        cache: Annotated[str | None, MAY_CHANGE] = None,
        cache_gb: Annotated[PositiveFloat, MAY_CHANGE] = 4.0,
    ) -> None:
        check_domains(domain, size=size, convert=convert)
        super().__init__(
            domain,
            split,
            size=size,
            crop=crop,
            flip=flip,
            resized_crop=resized_crop,
            interpolation=interpolation,
            convert=convert,
            on_bad_image=on_bad_image,
            max_pixels=max_pixels,
            reduced_jpeg=reduced_jpeg,
            labels=labels_from(table, attributes, classes),
            cache=cache,
            cache_gb=cache_gb,
        )
        if (root is None) == (shards is None):
            raise DataError(
                "say where the shards are, in one way: DATA.ROOT=folder (as munit-zoo pack writes "
                f"it) or DATA.SHARDS.TRAIN_{domain.key}=FILES.tar"
            )
        check_split_keys("SHARDS", shards or {}, domain)
        self.root = None if root is None else Path(root).expanduser()
        self.shards = shards or {}
        self.hold_out, self.hold_out_seed, self.paired = hold_out, hold_out_seed, paired
        self.fetched = Path(fetched).expanduser()

    def find(self) -> list[tuple[str, Source]]:
        """The images of this split."""
        if self.root is not None:
            return [*list_members(_archives(split_folder(self.root, self.split, self.domain)))]
        own, train = (f"{word}_{self.domain.key}" for word in (self.split.upper(), "TRAIN"))
        held = f"TEST_{self.domain.key}" not in self.shards
        key = train if held else own
        if key not in self.shards:
            raise DataError(f"the config names no shards DATA.SHARDS.{key}")
        found: list[tuple[str, Source]] = [*list_members(self._local(self.shards[key]))]
        if not held:
            return found
        return share_out(
            found,
            self.split,
            hold_out=self.hold_out,
            seed=self.hold_out_seed,
            key=self.scene_of if self.paired else str,
        )

    def _local(self, spec: str) -> list[Path]:
        """Archives on this machine: those of URLs are copied first."""
        found = []
        for name in _expanded(spec):
            remote = "://" in name
            found.append(_fetch(name, self.fetched) if remote else Path(name).expanduser())
        return found

    def origin(self) -> dict[str, Any]:
        """Where the shards are."""
        if self.root is not None:
            return {"folder": shown(split_folder(self.root, self.split, self.domain))}
        held = {"share": self.hold_out, "seed": self.hold_out_seed}
        return {"shards": dict(self.shards), "hold_out": held}


def check_split_keys(setting: str, given: Mapping[str, str], domain: Domain) -> None:
    """Raises DataError for a key that is no split and domain, as TRAIN_DAY."""
    for key in given:
        word, _, name = key.partition("_")
        if word not in ("TRAIN", "TEST") or (domain.among and name.lower() not in domain.among):
            raise DataError(
                f"DATA.{setting}.{key}: keys are a split and a domain, as TRAIN_{domain.key}, "
                f"TEST_{domain.key}"
            )


def _expanded(spec: str) -> list[str]:
    """`{000000..000007}` and `{a,b}` written out, and wildcards of paths."""
    if spec.startswith("pipe:"):
        raise DataError(f"{spec}: a config names files and URLs, no commands to run")
    names = [spec]
    if "{" in spec:
        names = _library("shardlists").expand_urls(spec)
    found: list[str] = []
    for name in names:
        if "://" in name or not set("*?[") & set(name):
            found.append(name)
            continue
        path = Path(name).expanduser()
        matches = sorted(path.parent.glob(path.name), key=lambda p: natural(p.name))
        if not matches:
            raise DataError(f"no shard matches {name} (DATA.SHARDS)")
        found += map(str, matches)
    return found


def _library(part: str) -> Any:
    try:
        return importlib.import_module(f"webdataset.{part}")
    except ImportError:
        raise DataError(
            "URLs of shards, and numbers in braces, need the webdataset library: "
            "pip install webdataset (or munit-zoo[webdataset])"
        ) from None


def _fetch(url: str, folder: Path) -> Path:
    """An archive of a URL, copied to a folder unless it is there."""
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    place = folder / f"{name}-{url.rstrip('/').rpartition('/')[2][-80:]}".replace(" ", "_")
    if place.is_file():
        return place
    library = _library("gopen")
    work = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with library.gopen(url, "rb") as source, work.open("wb") as target:
            shutil.copyfileobj(source, target)
        tarfile.open(work, "r:").close()
        os.replace(work, place)
    except Exception as error:  # whatever a library for URLs of any kind raises
        work.unlink(missing_ok=True)
        raise DataError(f"the shard {url} cannot be fetched: {error}") from error
    return place


def _archives(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.tar"), key=lambda path: natural(path.name))
    if not found:
        raise DataError(f"the folder {shown(folder)} holds no shard (.tar){held_by(folder)}")
    return found


def list_members(archives: Sequence[Path]) -> list[tuple[str, Packed]]:
    """All images in some archives, in natural order of their names.

    What `pack` wrote beside them (`index.json`) is used where it is of the same archives; others
    are searched. Raises DataError for archives that are missing, damaged or compressed, for none
    that holds an image, and for two images of one name.
    """
    found: dict[str, Packed] = {}
    indices: dict[Path, dict[str, object]] = {}
    for archive in archives:
        index = indices.setdefault(archive.parent, _index(archive.parent))
        for name, offset, size in _members(archive, index.get(archive.name)):
            if name in found:
                raise DataError(
                    f"two images are called {name}, in {shown(found[name].archive)} and "
                    f"{shown(archive)}: rename one"
                )
            found[name] = Packed(archive, name, offset, size)
    if not found:
        raise DataError(f"{', '.join(shown(a) for a in archives[:4])}: there is no image in it")
    return sorted(found.items(), key=lambda pair: natural(pair[0]))


def _index(folder: Path) -> dict[str, object]:
    try:
        found = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _members(archive: Path, known: object) -> list[tuple[str, int, int]]:
    try:
        size = archive.stat().st_size
        if isinstance(known, dict) and known.get("size") == size:
            return [(str(n), int(o), int(s)) for n, o, s in known["images"]]
        with tarfile.open(archive, "r:") as tar:
            return [
                (shown(member.name), member.offset_data, member.size)
                for member in tar
                if member.isfile() and is_image(Path(member.name))
            ]
    except FileNotFoundError:
        raise DataError(f"there is no shard {shown(archive)}") from None
    except tarfile.TarError as error:
        raise DataError(
            f"the shard {shown(archive)} is damaged, or compressed ({error}): shards are plain "
            ".tar files"
        ) from None
    except OSError as error:
        raise DataError(f"the shard {shown(archive)} cannot be read: {error.strerror}") from None


def groups_of(folder: Path) -> dict[str, list[tuple[str, Path]]]:
    """The images of a folder by what is packed together: those of one split and domain.

    `trainDAY` and `train/day`, as `image_folder` has them; all images together ("") where no folder
    begins with train, test or val.
    """
    found: dict[str, list[tuple[str, Path]]] = {}
    for name, path in list_images(folder):
        parts = path.relative_to(folder).parts
        depth = 0
        if len(parts) > 1 and parts[0].lower().startswith(("train", "test", "val")):
            depth = 1
            if len(parts) > 2 and parts[0].lower() in ("train", "test", "val"):
                depth = 2
        group = "/".join(parts[:depth])
        inside = name.split("/", depth)[depth]
        found.setdefault(group, []).append((inside, path))
    return found


def pack(folder: Path, out: Path, *, megabytes: float = 100.0) -> dict[str, tuple[int, int]]:
    """Write a folder's images as tar shards, each file as it is: images and shards by group.

    out: is to be absent or empty; it gets `GROUP/000000.tar` and so on, and `GROUP/index.json`.
    megabytes: of a shard, about. Equal images make equal shards: no times or owners are kept.
    Raises UsageError for an `out` that holds something, DataError for a folder without images.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{shown(out)} is not empty; choose another folder")
    counts = {}
    for group, images in groups_of(folder).items():
        place = out / group
        place.mkdir(parents=True, exist_ok=True)
        written = _write_shards(place, images, int(megabytes * 1e6))
        index = {
            path.name: {"size": path.stat().st_size, "images": _members(path, None)}
            for path in written
        }
        (place / INDEX).write_text(json.dumps(index) + "\n", encoding="utf-8")
        counts[group] = (len(images), len(written))
    return counts


def _write_shards(place: Path, images: Sequence[tuple[str, Path]], limit: int) -> list[Path]:
    written: list[Path] = []
    tar: tarfile.TarFile | None = None
    try:
        for name, path in images:
            if tar is None or (tar.offset and tar.offset + path.stat().st_size > limit):
                if tar is not None:
                    tar.close()
                written.append(place / f"{len(written):06d}.tar")
                tar = tarfile.open(written[-1], "w")  # noqa: SIM115  (closed when it is full)
            member = tarfile.TarInfo(name)
            member.size, member.mode = path.stat().st_size, 0o644
            with path.open("rb") as file:
                tar.addfile(member, file)
    finally:
        if tar is not None:
            tar.close()
    return written
