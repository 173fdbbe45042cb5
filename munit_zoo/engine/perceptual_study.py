"""What instance norm does to VGG-16's distances: the study of MUNIT's appendix, on any photographs.

Pairs of one scene in two domains (same content) against pairs of two scenes in one domain (same
style): a distance that is invariant to the domain finds the first ones closer.
"""

from __future__ import annotations

import csv
import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as T

from munit_zoo._version import __version__
from munit_zoo.data.images import read_image
from munit_zoo.data.reading import list_images
from munit_zoo.data.transforms import convert_channels
from munit_zoo.data.values import to_unit
from munit_zoo.engine.devices import choose_device
from munit_zoo.engine.files import write_text
from munit_zoo.errors import DataError, UsageError, counted, suggest
from munit_zoo.losses.perceptual import VGGPerceptual
from munit_zoo.weights import find_weights, known_as

__all__ = ["LAYERS", "LayerStudy", "Study", "perceptual_study"]

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
BINS = 40


@dataclass(frozen=True)
class LayerStudy:
    """One layer's distances, plain or instance-normalised.

    auc: share of (same scene, other domain) pairs that are closer than (same domain, other scene)
    pairs, ties half: 1 where the distance sees content alone, .5 where it sees neither.
    same_scene, same_domain: mean distances. edges, histogram_scene, histogram_domain: shares of the
    pairs by distance.
    """

    layer: str
    normalised: bool
    auc: float
    same_scene: float
    same_domain: float
    edges: tuple[float, ...]
    histogram_scene: tuple[float, ...]
    histogram_domain: tuple[float, ...]


@dataclass(frozen=True)
class Study:
    """What came out. layers: per layer plain, then normalised. about: images, pairs, weights."""

    layers: tuple[LayerStudy, ...]
    about: Mapping[str, Any]

    def to_json(self) -> str:
        """All of it."""
        layers = [asdict(layer) for layer in self.layers]
        return json.dumps({**self.about, "layers": layers}, indent=1) + "\n"

    def markdown(self) -> str:
        """The separation a layer."""
        lines = ["| layer | plain | instance-normalised |", "|---|---:|---:|"]
        for name in dict.fromkeys(layer.layer for layer in self.layers):
            plain, normal = (layer.auc for layer in self.layers if layer.layer == name)
            lines.append(f"| {name} | {plain:.3f} | {normal:.3f} |")
        return "\n".join(lines) + "\n"


def perceptual_study(
    folder_a: Path,
    folder_b: Path,
    scenes: Path,
    out: Path,
    *,
    layers: Sequence[str] = LAYERS,
    weights: str = "IMAGENET1K_V1",
    size: tuple[int, int] | None = None,
    device: str = "auto",
    progress: Callable[[str], None] | None = None,
) -> Study:
    """Distances of VGG-16's features within scenes and within domains, with and without instance
    norm; written to `out`: `study.json`, `study.md`, `index.html` with the histograms, and
    `study.png` where matplotlib is installed.

    folder_a, folder_b: images of two domains. scenes: a CSV with the columns `file` and `scene`:
    which scene each image shows, by its path within either folder (`A/`, `B/` or the folder's own
    name before it tells two of one name apart). Images that it does not list are left out.
    size: (height, width) that images are resized to; None for the first one's. layers, weights: as
    in the loss `vgg_perceptual`.

    Distances are mean squared differences of features. Those of all images are held, a layer at a
    time: at relu1_2 256 bytes a pixel and image.
    Raises DataError for images that cannot be read, UsageError for a CSV that does not fit, or
    without a single pair to compare.
    """
    domains = {"a": folder_a, "b": folder_b}
    listed = _listed(scenes, domains)
    images, where, labels = [], [], []
    for (domain, name), scene in listed.items():
        image = _read(domains[domain] / name)
        size = size or (int(image.shape[1]), int(image.shape[2]))
        if image.shape[1:] != size:
            image = T.resize(image, list(size), antialias=True)
        images.append(image)
        where.append(domain)
        labels.append(scene)
    scene_pairs, domain_pairs = _pairs(where, labels)
    if not len(scene_pairs) or not len(domain_pairs):
        raise UsageError(
            f"{scenes} leaves {counted(len(scene_pairs), 'pair')} of one scene in both domains and "
            f"{counted(len(domain_pairs), 'pair')} of two scenes in one domain; there must be both"
        )
    chosen = choose_device(device)
    vgg = VGGPerceptual(layers=tuple(layers), weights=weights).vgg.to(chosen)
    found: list[LayerStudy] = []
    for layer in layers:
        if progress is not None:
            progress(f"{layer} of {counted(len(images), 'image')}")
        features = _features(vgg, images, layer, chosen)
        for normalised in (False, True):
            if normalised:
                features = [_normalised(part) for part in features]
            distances = [_distances(features, pairs) for pairs in (scene_pairs, domain_pairs)]
            found.append(_study(layer, normalised, *distances))
    file = find_weights(
        {"IMAGENET1K_V1": "vgg16", "IMAGENET1K_FEATURES": "vgg16_caffe"}.get(weights, weights)
    )
    about = {
        "images": {name: where.count(name) for name in domains},
        "folders": {name: str(folder) for name, folder in domains.items()},
        "scenes": len(set(labels)),
        "size": list(size or ()),
        "pairs": {"same_scene": len(scene_pairs), "same_domain": len(domain_pairs)},
        "weights": {**file.record(), "name": known_as(file) or file.name},
        "normalize": vgg.normalize,
        "munit_zoo": __version__,
        "torch": torch.__version__,
    }
    study = Study(tuple(found), about)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "study.json", study.to_json())
    write_text(out / "study.md", study.markdown())
    plotted = _plot(study, out / "study.png")
    write_text(out / "index.html", _page(study, plotted))
    return study


def _listed(scenes: Path, domains: Mapping[str, Path]) -> dict[tuple[str, str], str]:
    """Per (domain, file) the scene, in the order of the folders."""
    there = {name: [file for file, _ in list_images(folder)] for name, folder in domains.items()}
    if not scenes.is_file():
        raise UsageError(f"there is no file {scenes}")
    with scenes.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if rows.fieldnames is None or not {"file", "scene"} <= set(rows.fieldnames):
            have = ", ".join(rows.fieldnames or ()) or "none"
            raise UsageError(f"{scenes} needs the columns file and scene; it has {have}")
        table = [(number, row["file"], row["scene"]) for number, row in enumerate(rows, start=2)]
    found: dict[tuple[str, str], str] = {}
    for number, name, scene in table:
        matches = [
            (domain, file)
            for domain, files in there.items()
            for file in files
            if name in (file, f"{domain.upper()}/{file}", f"{domains[domain].name}/{file}")
        ]
        if not matches:
            hint = suggest(name, [file for files in there.values() for file in files])
            raise UsageError(
                f"{scenes}, line {number}: no image {name!r} in {domains['a']} or {domains['b']}. "
                f"{hint}".rstrip()
            )
        for match in matches:
            if found.setdefault(match, scene) != scene:
                raise UsageError(
                    f"{scenes}, line {number}: {name!r} is of the scene {found[match]!r} already, "
                    f"and of {scene!r} here; write A/{name} or B/{name}"
                )
    return {
        (domain, file): found[domain, file]
        for domain, files in there.items()
        for file in files
        if (domain, file) in found
    }


def _read(path: Path) -> Tensor:
    image = convert_channels(to_unit(read_image(path), None, what=str(path)), "rgb")
    if len(image) != 3:
        raise DataError(f"{path} has {len(image)} channels; VGG-16 sees 1 or 3")
    return image


def _pairs(where: Sequence[str], labels: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Indices (P, 2) of pairs of one scene in two domains, and of two scenes in one domain."""
    scene, domain = [], []
    for i in range(len(where)):
        for j in range(i + 1, len(where)):
            same = labels[i] == labels[j]
            if same and where[i] != where[j]:
                scene.append((i, j))
            elif not same and where[i] == where[j]:
                domain.append((i, j))
    empty = torch.empty(0, 2, dtype=torch.long)
    return (torch.tensor(scene) if scene else empty, torch.tensor(domain) if domain else empty)


def _features(
    vgg: torch.nn.Module, images: Sequence[Tensor], layer: str, device: str
) -> list[Tensor]:
    """Features of each image, flat in positions (C, P)."""
    with torch.no_grad():
        return [vgg(image[None].to(device))[layer][0].flatten(1) for image in images]


def _normalised(features: Tensor) -> Tensor:
    """Instance-normalised, as the loss `domain_invariant_vgg` has it."""
    centred = features - features.mean(1, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(1, keepdim=True) + 1e-5)


def _distances(features: Sequence[Tensor], pairs: Tensor) -> Tensor:
    """Mean squared differences, a pair each."""
    found = [(features[i] - features[j]).square().mean() for i, j in pairs.tolist()]
    return torch.stack(found).double().cpu()


def _study(layer: str, normalised: bool, scene: Tensor, domain: Tensor) -> LayerStudy:
    order = domain.sort().values
    below = torch.searchsorted(order, scene, right=True)
    ties = below - torch.searchsorted(order, scene)
    closer = len(order) - below + ties / 2
    low, high = (float(getattr(torch.cat([scene, domain]), side)()) for side in ("min", "max"))
    edges = torch.linspace(low, high if high > low else low + 1, BINS + 1, dtype=torch.float64)
    shares = [
        tuple((torch.histogram(part, edges).hist / len(part)).tolist()) for part in (scene, domain)
    ]
    return LayerStudy(
        layer,
        normalised,
        float(closer.double().mean() / len(order)),
        float(scene.mean()),
        float(domain.mean()),
        tuple(edges.tolist()),
        *shares,
    )


def _plot(study: Study, file: Path) -> bool:
    """Histograms of all layers in one image; whether matplotlib is there to draw them."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    names = list(dict.fromkeys(layer.layer for layer in study.layers))
    figure = Figure(figsize=(9, 2.2 * len(names)), layout="constrained")
    for place, layer in enumerate(study.layers, start=1):
        axes = figure.add_subplot(len(names), 2, place)
        for shares, label in (
            (layer.histogram_scene, "same scene, other domain"),
            (layer.histogram_domain, "same domain, other scene"),
        ):
            axes.stairs(shares, layer.edges, fill=True, alpha=0.5, label=label)
        how = "instance-normalised" if layer.normalised else "plain"
        axes.set_title(f"{layer.layer}, {how}: AUC {layer.auc:.3f}", fontsize=9)
        axes.tick_params(labelsize=7)
        if place == 1:
            axes.legend(fontsize=7)
    figure.savefig(file, dpi=110)
    return True


def _page(study: Study, plotted: bool) -> str:
    rows = []
    names = dict.fromkeys(layer.layer for layer in study.layers)
    for name in names:
        cells = "".join(
            f"<td>{layer.auc:.3f}</td><td>{_svg(layer)}</td>"
            for layer in study.layers
            if layer.layer == name
        )
        rows.append(f"<tr><td>{html.escape(name)}</td>{cells}</tr>")
    pairs, weights = study.about["pairs"], study.about["weights"]
    about = (
        f"{sum(study.about['images'].values())} images of {study.about['scenes']} scenes at "
        f"{' × '.join(map(str, study.about['size']))}; {pairs['same_scene']:,} pairs of one scene "
        f"in two domains (blue), {pairs['same_domain']:,} of two scenes in one domain (orange). "
        f"Mean squared distances of VGG-16's features; weights {html.escape(weights['file'])}, "
        f"SHA-256 {weights['sha256']}; input {html.escape(str(study.about['normalize']))}."
    )
    image = "<p><a href='study.png'>study.png</a></p>" if plotted else ""
    return _PAGE.format(about=about, rows="\n".join(rows), image=image)


def _svg(layer: LayerStudy) -> str:
    """The two histograms."""
    width, height = 260, 70
    top = max(*layer.histogram_scene, *layer.histogram_domain) or 1.0
    shapes = []
    for shares, colour in (
        (layer.histogram_scene, "#2563eb"),
        (layer.histogram_domain, "#f97316"),
    ):
        step = width / len(shares)
        points = " ".join(
            f"{i * step:.1f},{height - share / top * height:.1f} "
            f"{(i + 1) * step:.1f},{height - share / top * height:.1f}"
            for i, share in enumerate(shares)
        )
        shapes.append(
            f"<polygon points='0,{height} {points} {width},{height}' fill='{colour}' "
            "fill-opacity='.5'/>"
        )
    return (
        f"<svg viewBox='0 0 {width} {height}' width='{width}' height='{height}' role='img' "
        f"aria-label='histogram of {html.escape(layer.layer)}'>{''.join(shapes)}</svg>"
    )


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Perceptual study</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 900px; padding: 0 1rem;
  color: #222; background: #fff; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
td, th {{ padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #e5e5e5; }}
td:first-child, th:first-child {{ text-align: left; }} p {{ color: #666; }}
.scroll {{ overflow-x: auto; }}
</style>
<h1>What instance norm does to VGG-16's distances</h1>
<p>AUC: share of pairs of one scene in two domains that are closer than pairs of two scenes in one
domain. 1: the distance sees content alone; .5: it tells nothing; below: it sees the domain.</p>
<div class="scroll"><table>
<tr><th>layer</th><th>plain</th><th></th><th>instance-normalised</th><th></th></tr>
{rows}
</table></div>
<p>{about}</p>
{image}
</html>
"""
