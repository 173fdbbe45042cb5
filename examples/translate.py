"""Translate images with a trained run: in drawn styles, in an example's style, between two styles.

python examples/translate.py runs/mine image.png --to b --example other.png --out translations
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import munit_zoo as mz


def main() -> None:
    """Write a row of translations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--to", default="b")
    parser.add_argument("--example", type=Path, help="an image of the target domain")
    parser.add_argument("--out", type=Path, default=Path("translations"))
    chosen = parser.parse_args()

    model = mz.load_model(chosen.run)
    x = mz.read_image(chosen.image, convert="rgb")
    first, last = model.sample_styles(2, torch.Generator().manual_seed(0), to=chosen.to)
    between = torch.stack([torch.lerp(first, last, step / 4) for step in range(5)])
    images = list(model.translate(x, to=chosen.to, styles=between)[0])
    if chosen.example:
        example = mz.read_image(chosen.example, convert="rgb")
        images += list(model.translate(x, to=chosen.to, styles=example)[0])
    chosen.out.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        mz.save_image(chosen.out / f"{chosen.image.stem}_{chosen.to}_{number}.png", image)


if __name__ == "__main__":
    main()
