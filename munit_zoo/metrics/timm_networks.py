"""timm's networks: as extractors of features, and as classifiers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from munit_zoo.errors import ContractError, UsageError, WeightsError, suggest
from munit_zoo.metrics.extractors import Extractor, Resize, eight_bits, resized
from munit_zoo.pretrained.backbones import load_exactly
from munit_zoo.registry.ranges import Positive
from munit_zoo.state_dicts import read_state_dict
from munit_zoo.weights import Found, find_weights, may_download

__all__ = ["Classifier", "ClassifierCard", "TimmExtractor", "timm_network"]


def timm_network(
    model: str,
    weights: str | None,
    *,
    classes: int = 0,
    chance: bool = False,
    size: int | None = None,
) -> tuple[nn.Module, tuple[Found, ...], Mapping[str, Any]]:
    """A network of timm's, the files of its weights, and its `pretrained_cfg`.

    weights: a file by path or by its name in a folder of weights; None for those that timm fetches,
    where that is allowed. classes: outputs of a fresh last layer; 0 leaves it off.
    chance: random weights where none are given. size: side of the images it is to take, where its
    architecture has to be told.
    Raises ContractError for an unknown model, WeightsError where weights are absent or do not fit.
    """
    import timm

    if model.partition(".")[0] not in timm.list_models():
        hint = suggest(model, timm.list_models()) or "timm.list_models() lists them."
        raise ContractError(f"timm has no MODEL {model!r}. {hint}")
    options: dict[str, Any] = {"num_classes": classes}
    if size is not None and _fixed_size(model):
        options["dynamic_img_size"] = True  # transformers: positions are interpolated
    if weights is None:
        if not chance and not may_download():
            raise WeightsError(
                f"weights of timm's {model}: give a file of them (WEIGHTS: path.safetensors), or "
                "allow timm to fetch its own with --download. Random ones would score nothing"
            )
        try:
            network: Any = timm.create_model(model, pretrained=not chance, **options)
        except Exception as error:
            raise WeightsError(f"timm cannot fetch weights of {model}: {error}") from error
        return network, (), dict(network.pretrained_cfg or {})
    found = find_weights(weights)
    network = timm.create_model(model, pretrained=False, **options)
    config: dict[str, Any] = dict(network.pretrained_cfg or {})
    heads = config.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    state = {
        key: value
        for key, value in read_state_dict(found.path).items()
        if not any(key.startswith(f"{head}.") for head in heads)
    }
    fresh = {
        key: value
        for key, value in network.state_dict().items()
        if any(key.startswith(f"{head}.") for head in heads)
    }
    load_exactly(network, {**state, **fresh}, f"{found.path} as timm's {model}")
    return network, (found,), config


def _fixed_size(model: str) -> bool:
    """Whether an architecture takes images of other sizes only if asked to."""
    import timm

    with torch.device("meta"):
        try:
            timm.create_model(model, num_classes=0, dynamic_img_size=True)
        except (TypeError, RuntimeError, AssertionError):
            return False
    return True


class TimmExtractor(Extractor):
    """The pooled features of any network of timm: ResNets, DINOv2, CLIP's image towers and others.

    model: timm's name (`resnet50`, `vit_small_patch14_dinov2`). weights: a file of them, by path or
    by its name in a folder of MUNIT_ZOO_WEIGHTS; null for timm's own, fetched where `--download`
    allows it. size: side that images are resized to; null for the one it was trained on.
    resize: `clean` or `legacy`.
    """

    def __init__(
        self,
        *,
        model: str = "resnet50",
        weights: str | None = None,
        size: Positive | None = None,
        resize: Resize = "clean",
    ) -> None:
        super().__init__()
        self.model, self.weights, self.size, self.resize = model, weights, size, resize

    def build(self) -> nn.Module:
        """The network without its last layer."""
        network, self.files, config = timm_network(self.model, self.weights, size=self.size)
        self.size = self.size or int(config.get("input_size", (3, 224, 224))[-1])
        self.mean, self.std = config.get("mean", self.mean), config.get("std", self.std)
        return network

    def describe(self) -> dict[str, Any]:
        """Which network."""
        return {**super().describe(), "extractor": f"timm {self.model}"}


@dataclass(frozen=True)
class ClassifierCard:
    """What a classifier's file says of itself.

    model: timm's name. classes: their names, in the order of the outputs. size: side of the images
    it was trained on. mean, std: what they are normalised by, in 0..1. accuracy: on held-out
    images. trained: how.
    """

    model: str
    classes: tuple[str, ...]
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    accuracy: float
    trained: Mapping[str, object]


class Classifier(nn.Module):
    """A network of timm that tells classes of images apart: images (N, 3, H, W) in [-1, 1] to
    logits (N, K)."""

    def __init__(self, network: nn.Module, card: ClassifierCard) -> None:
        super().__init__()
        self.network, self.card = network, card

    def forward(self, images: Tensor) -> Tensor:
        pixels = resized(eight_bits(images), self.card.size, "clean")
        mean, std = (
            pixels.new_tensor(v)[:, None, None] * 255 for v in (self.card.mean, self.card.std)
        )
        logits: Tensor = self.network((pixels - mean) / std)
        return logits

    def save(self, path: Path) -> None:
        """One file: weights, and the card as its metadata."""
        state = {k: v.detach().cpu().contiguous() for k, v in self.network.state_dict().items()}
        save_file(state, path, metadata={"munit_zoo_classifier": json.dumps(asdict(self.card))})

    @classmethod
    def open(cls, name: str) -> tuple[Classifier, Found]:
        """A classifier from its file (found as weights are), and the file.

        Raises UsageError for a file that `munit-zoo classifier train` did not write.
        """
        found = find_weights(name)
        try:
            with safe_open(found.path, "pt") as file:
                noted = (file.metadata() or {}).get("munit_zoo_classifier")
        except Exception as error:
            raise UsageError(f"{found.path} is no classifier: {error}") from error
        if noted is None:
            raise UsageError(
                f"{found.path} is no classifier: `munit-zoo classifier train FOLDER` writes them"
            )
        data: dict[str, Any] = json.loads(noted)
        for key in ("classes", "mean", "std"):
            data[key] = tuple(data[key])
        card = ClassifierCard(**data)
        import timm

        with torch.device("meta"):
            network = timm.create_model(card.model, num_classes=len(card.classes))
        load_exactly(network, load_file(found.path), str(found.path))
        return cls(network, card).eval().requires_grad_(False), found
