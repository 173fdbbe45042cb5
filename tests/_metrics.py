"""Translators and data without training, and stand-ins for trained weights."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from munit_zoo.weights import KnownWeights, WeightsFile, looking_in

TRAINED = Path(os.environ.get("MUNIT_ZOO_WEIGHTS") or "../shared/weights")
"""Folder of trained weights; tests that need them are skipped where it has none."""


class Images:
    """A domain of noisy images that differ by a colour."""

    def __init__(
        self, count: int, side: int = 32, channels: int = 3, seed: int = 0, *, range_: float = 0.8
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.rand(count, channels, side, side, generator=generator) * 0.2 - 0.1
        self.colours = (torch.rand(count, channels, 1, 1, generator=generator) * 2 - 1) * range_
        self.size = (side, side)

    def __len__(self) -> int:
        return len(self.images)

    def test(self, index: int) -> Tensor:
        return self.images[index] + self.colours[index]

    def name(self, index: int) -> str:
        return f"{index:04d}.png"

    def describe(self) -> dict[str, int]:
        return {"images": len(self)}


class Tinter:
    """Adds a colour: the style code itself, or an example's mean."""

    style_dim = 3
    ways = (("a", "b"), ("b", "a"))

    def __init__(self, strength: float = 0.3) -> None:
        self.strength, self.calls = strength, 0

    def translate(self, x, to, styles=1, *, paired=False, generator=None) -> Tensor:
        self.calls += 1
        if isinstance(styles, int):
            codes = torch.randn(len(x), styles, 3, generator=generator)
        else:
            codes = styles.mean((2, 3))[None].expand(len(x), -1, -1) / self.strength
        return (x[:, None] + self.strength * codes[..., None, None].to(x)).clamp(-1, 1)


def stand_in(network: nn.Module, path: Path, *, seed: int = 0) -> Path:
    """A file of random weights of a network."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, value in network.state_dict().items():
        fan = max(1, value[0].numel()) if value.dim() > 1 else 1
        noise = torch.randn(value.shape, generator=generator).abs() if fan == 1 else None
        if noise is None:
            noise = torch.randn(value.shape, generator=generator) / fan**0.5
        state[name] = noise if value.is_floating_point() else torch.zeros_like(value)
    torch.save(state, path)
    return path


@contextmanager
def stand_ins(folder: Path, monkeypatch) -> Iterator[Path]:
    """AlexNet's and LPIPS' weights by random ones that the package takes for known."""
    from torchvision.models import alexnet

    channels = (64, 192, 384, 256, 256)
    heads = nn.Module()
    for level, count in enumerate(channels):
        layer = nn.Sequential(nn.Dropout(), nn.Conv2d(count, 1, 1, bias=False))
        heads.add_module(f"lin{level}", _Head(layer))
    with torch.random.fork_rng():
        trunk = nn.Module()
        trunk.features = alexnet().features
    stand_in(trunk, folder / "alexnet.pth")
    state = {k: v.abs() for k, v in heads.state_dict().items()}
    torch.save(state, folder / "heads.pth")
    known = {
        name: KnownWeights(name, name, (WeightsFile(file, digest(folder / file)),))
        for name, file in (("alexnet", "alexnet.pth"), ("lpips_alex", "heads.pth"))
    }
    monkeypatch.setattr("munit_zoo.weights.KNOWN", known)
    with looking_in(folder):
        yield folder


class _Head(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
