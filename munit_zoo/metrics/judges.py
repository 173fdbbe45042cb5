"""Judges: small networks that read the factors off an image, trained on real renders."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from munit_zoo.metrics.protocol import FactoredDataset

__all__ = [
    "Judge",
    "JudgeSettings",
    "Realism",
    "Verdict",
    "cache_folder",
    "train_judge",
    "train_realism",
]

POSITIONS = ("x", "y", "size")
VERSION = 1  # raised when training changes: older cached judges are not used


@dataclass(frozen=True)
class JudgeSettings:
    """How a judge is trained.

    images: real renders. epochs: passes over them. held_out: renders it is tested on. seed: of
    weights and augmentation.
    """

    images: int = 12_000
    epochs: int = 4
    held_out: int = 1000
    batch: int = 64
    width: int = 24
    seed: int = 0


@dataclass(frozen=True)
class Verdict:
    """What a judge sees in N images.

    classes: per categorical factor the most likely value (N,). probabilities: (N, levels) each.
    positions: (N, 3): x, y (half images from the middle) and size (half images).
    """

    classes: Mapping[str, Tensor]
    probabilities: Mapping[str, Tensor]
    positions: Tensor


class Realism(nn.Module):
    """Tells a domain's images from other domains': (N, 3, H, W) in [-1, 1] to logits (N,)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        previous = channels
        for wider in (width, 2 * width, 2 * width):
            layers += [
                nn.Conv2d(previous, wider, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(wider),
                nn.ReLU(),
            ]
            previous = wider
        self.layers = nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * previous, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)[:, 0]
        return logits

    @torch.no_grad()
    def real(self, images: Tensor, *, batch: int = 512) -> Tensor:
        """Whether images (N, C, H, W) are the domain's: (N,) of bool."""
        device = next(self.parameters()).device
        parts = [self(part.to(device, torch.float32)) > 0 for part in images.split(batch)]
        return torch.cat(parts).cpu()


class Judge(nn.Module):
    """A convolutional network with a head per factor: images (N, 3, H, W) in [-1, 1] to logits."""

    def __init__(self, channels: int, levels: Mapping[str, int], width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        previous = channels
        for wider in (width, 2 * width, 4 * width):
            layers += [
                nn.Conv2d(previous, wider, 3, padding=1, bias=False),
                nn.BatchNorm2d(wider),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            previous = wider
        layers += [nn.Conv2d(previous, previous, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4)]
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * previous, 128), nn.ReLU())
        self.heads = nn.ModuleDict({name: nn.Linear(128, count) for name, count in levels.items()})
        self.positions = nn.Linear(128, len(POSITIONS))

    def forward(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        features = self.trunk(x)
        return {name: head(features) for name, head in self.heads.items()}, self.positions(features)

    @torch.no_grad()
    def judge(self, images: Tensor, *, batch: int = 512) -> Verdict:
        """Factors of images (N, C, H, W) in [-1, 1], in evaluation mode."""
        device = next(self.parameters()).device
        logits: dict[str, list[Tensor]] = {name: [] for name in self.heads}
        positions = []
        for part in images.split(batch):
            found, where = self(part.to(device, torch.float32))
            positions.append(where.cpu())
            for name, value in found.items():
                logits[name].append(value.softmax(1).cpu())
        probabilities = {name: torch.cat(parts) for name, parts in logits.items()}
        classes = {name: value.argmax(1) for name, value in probabilities.items()}
        return Verdict(classes, probabilities, torch.cat(positions))


def cache_folder(folder: str | None = None) -> Path:
    """Where judges are kept: the given folder, MUNIT_ZOO_CACHE, or ~/.cache/munit_zoo."""
    chosen = folder or os.environ.get("MUNIT_ZOO_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "munit_zoo"


def train_judge(
    dataset: FactoredDataset,
    settings: JudgeSettings,
    *,
    cache: Path | None,
    device: str = "cpu",
    progress: Callable[[str], None] | None = None,
) -> tuple[Judge, dict[str, float]]:
    """A judge of a domain, and its accuracy on held-out real renders.

    The accuracies are shares by factor, and `position` and `size`, mean absolute errors in pixels.
    cache: a folder in which judges are kept between calls; a damaged file is trained again, with a
    warning. Global random state is left alone.
    """
    names = (*dataset.content_factors, *dataset.style_factors)
    levels = {name: dataset.levels(name) for name in names}
    probe = dataset.render(dataset.fresh("judge", 1))
    channels, side = probe.shape[1], probe.shape[-1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        judge = Judge(channels, levels, settings.width)
    what = {"version": VERSION, **asdict(settings), "levels": levels, "data": dataset.describe()}
    what["side"] = side
    what["data"].pop("images", None)
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
    stored = cache / f"judge-{key}.safetensors" if cache is not None else None
    accuracy = _load(judge, stored)
    if accuracy is None:
        if progress is not None:
            progress(f"training a judge of {', '.join(names)}")
        _fit(judge, dataset, settings, device)
        accuracy = _accuracy(judge, dataset, settings)
        if stored is not None:
            _store(judge, accuracy, stored)
    return judge.eval(), accuracy


def train_realism(
    dataset: FactoredDataset,
    others: Sequence[FactoredDataset],
    settings: JudgeSettings,
    *,
    cache: Path | None,
    device: str = "cpu",
    progress: Callable[[str], None] | None = None,
) -> tuple[Realism, dict[str, float]]:
    """A network that tells a domain's images from copies of other domains', and its accuracy.

    Trained on real renders of the domain against the others' and blends of both in which the other
    has at least half a say, all blurred, tinted and bent alike. A third of a judge's images and
    half of its epochs do. Else as `train_judge`.
    """
    side = dataset.render(dataset.fresh("judge", 1)).shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = Realism(side[1], settings.width // 2)
    what = {"version": VERSION, **asdict(settings), "real": dataset.describe(), "side": side[-1]}
    what["others"] = [other.describe() for other in others]
    for described in (what["real"], *what["others"]):
        described.pop("images", None)
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
    stored = cache / f"realism-{key}.safetensors" if cache is not None else None
    accuracy = _load(network, stored)
    if accuracy is None:
        if progress is not None:
            progress("training a judge of realism")
        count = max(settings.batch, settings.images // 3)
        real = _rendered(dataset, dataset.fresh("judge", count))
        foreign = [_rendered(o, o.fresh("judge", count)) for o in others]
        foreign = [x for x in foreign if x.shape[1:] == real.shape[1:]]
        _fit_realism(network, real, foreign, settings, device)
        held = settings.held_out
        right = [network.real(_rendered(dataset, dataset.fresh("judge-test", held)))]
        right += [~network.real(_rendered(o, o.fresh("judge-test", held))) for o in others]
        accuracy = {"real": float(torch.cat(right).double().mean())}
        if stored is not None:
            _store(network, accuracy, stored)
    return network.eval(), accuracy


def _fit_realism(
    network: Realism,
    real: Tensor,
    foreign: Sequence[Tensor],
    settings: JudgeSettings,
    device: str,
) -> None:
    generator = torch.Generator().manual_seed(settings.seed)
    network.to(device).train()
    epochs = max(1, settings.epochs // 2)
    steps = epochs * (len(real) // settings.batch)
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, total_steps=max(steps, 4))
    for _ in range(epochs):
        for chosen in torch.randperm(len(real), generator=generator).split(settings.batch):
            if len(chosen) < settings.batch:
                continue  # batch norm dislikes a remainder
            ours, _ = _augment(real[chosen], generator)
            seen = torch.cat([ours, *(_strange(x, ours, generator) for x in foreign)]).to(device)
            wanted = (torch.arange(len(seen), device=device) < len(ours)).float()
            loss = F.binary_cross_entropy_with_logits(network(seen), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.to("cpu").eval()


def _strange(foreign: Tensor, real: Tensor, generator: torch.Generator) -> Tensor:
    """As many images that are not of the domain: another's, half of them blended with real ones."""
    picks = torch.randint(len(foreign), (len(real),), generator=generator)
    others, _ = _augment(foreign[picks], generator)
    share = torch.empty(len(others), 1, 1, 1).uniform_(0.5, 1.5, generator=generator).clamp_max(1)
    return share * others + (1 - share) * real.flip(0)


def _rendered(dataset: FactoredDataset, factors: Any) -> Tensor:
    return torch.cat([dataset.render(factors[i : i + 1000]) for i in range(0, len(factors), 1000)])


def _load(judge: nn.Module, stored: Path | None) -> dict[str, float] | None:
    if stored is None or not stored.is_file():
        return None
    try:
        judge.load_state_dict(load_file(stored))
        accuracy: dict[str, float] = json.loads(stored.with_suffix(".json").read_text())
    except Exception as error:
        warnings.warn(
            f"the cached judge {stored} cannot be used ({error}); it is trained again", stacklevel=3
        )
        return None
    judge.eval()
    return accuracy


def _store(judge: nn.Module, accuracy: Mapping[str, float], stored: Path) -> None:
    stored.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=stored.parent) as work:
        weights, figures = Path(work) / "w", Path(work) / "a"
        save_file({k: v.cpu().contiguous() for k, v in judge.state_dict().items()}, weights)
        figures.write_text(json.dumps(dict(accuracy)))
        figures.replace(stored.with_suffix(".json"))
        weights.replace(stored)


def _fit(judge: Judge, dataset: FactoredDataset, settings: JudgeSettings, device: str) -> None:
    generator = torch.Generator().manual_seed(settings.seed)
    factors = dataset.fresh("judge", settings.images)
    images = _rendered(dataset, factors)
    labels = {n: torch.as_tensor(getattr(factors, n)) for n in judge.heads}
    where = _positions(factors)
    judge.to(device).train()
    steps = settings.epochs * (settings.images // settings.batch)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=max(steps, 4))
    for _ in range(settings.epochs):
        order = torch.randperm(settings.images, generator=generator)
        for chosen in order.split(settings.batch):
            if len(chosen) < settings.batch:
                continue  # batch norm dislikes a remainder
            augmented, moved = _augment(images[chosen], generator)
            logits, positions = judge(augmented.to(device))
            loss = sum(
                (F.cross_entropy(logits[n], labels[n][chosen].to(device)) for n in judge.heads),
                start=torch.zeros((), device=device),
            )
            target = (where[chosen] + moved).to(device)
            loss = loss + 5 * F.smooth_l1_loss(positions, target, beta=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    judge.to("cpu").eval()


def _augment(images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images as a translator might blur, tint and bend them; and how far that moves positions.

    Warp (smooth and a small shift), blur, halo (unsharp mask), colour drift, noise: a judge shall
    see a star in an imperfect star.
    """
    count, _, side, _ = images.shape

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.empty(count, *(shape or (1, 1, 1))).uniform_(low, high, generator=generator)

    coarse = torch.empty(count, 2, 4, 4).normal_(0, 0.025, generator=generator)
    bend = F.interpolate(coarse, (side, side), mode="bicubic", align_corners=False)
    bend = bend - bend.mean(dim=(2, 3), keepdim=True)
    shift = uniform(-0.06, 0.06, 2)
    base = F.affine_grid(
        torch.eye(2, 3).expand(count, 2, 3), [count, 1, side, side], align_corners=False
    )
    grid = base + bend.permute(0, 2, 3, 1) - shift[:, None, None]
    x = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    kernel = torch.tensor([1.0, 2.0, 1.0])
    kernel = (kernel[:, None] * kernel) / 16
    channels = x.shape[1]
    blurred = F.conv2d(
        F.pad(x, (1, 1, 1, 1), mode="replicate"),
        kernel.expand(channels, 1, 3, 3),
        groups=channels,
    )
    x = x + uniform(-0.6, 1.0) * (blurred - x)
    x = x * uniform(0.85, 1.05) + uniform(-0.08, 0.08, channels, 1, 1)
    noise = torch.empty_like(x).normal_(0, 1, generator=generator)
    x = x + uniform(0, 0.1) * noise
    return x.clamp(-1, 1), torch.cat([shift, torch.zeros(count, 1)], dim=1)


def _positions(factors: object) -> Tensor:
    return torch.stack(
        [torch.as_tensor(getattr(factors, name), dtype=torch.float32) for name in POSITIONS], dim=1
    )


def _accuracy(judge: Judge, dataset: FactoredDataset, settings: JudgeSettings) -> dict[str, float]:
    factors = dataset.fresh("judge-test", settings.held_out)
    images = dataset.render(factors)
    verdict = judge.judge(images)
    found = {
        name: float(
            (verdict.classes[name] == torch.as_tensor(getattr(factors, name))).float().mean()
        )
        for name in judge.heads
    }
    return {**found, **position_errors(verdict.positions, _positions(factors), images.shape[-1])}


def position_errors(ours: Tensor, truth: Tensor, side: int) -> dict[str, float]:
    """Mean distance of the centres and mean error of the size, in pixels."""
    pixels = (ours - truth) * side / 2
    return {
        "position": float(pixels[:, :2].norm(dim=1).mean()),
        "size": float(pixels[:, 2].abs().mean()),
    }
