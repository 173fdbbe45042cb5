"""Train on two folders of images, then translate one in five styles.

    python examples/two_folders.py photos paintings --run runs/mine

Everything that `munit/photos_64` says can be overridden by KEY=VALUE behind the folders.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import munit_zoo as mz


def main() -> None:
    """Train, or go on with a run; then translate the first image of the first folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("paintings", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--run", type=Path, default=Path("runs/two_folders"))
    chosen = parser.parse_intermixed_args()

    folders = f"DATA.FOLDERS={{PHOTO: {chosen.photos}, PAINTING: {chosen.paintings}}}"
    domains = "DOMAINS={PHOTO: {CHANNELS: 3}, PAINTING: {CHANNELS: 3}}"
    resume = (chosen.run / "config.yaml").exists()
    if resume:
        end = mz.train(run=chosen.run, resume=True)
    else:
        end = mz.train("munit/photos_64", domains, folders, *chosen.overrides, run=chosen.run)
    print(f"trained to iteration {end.iteration}: {chosen.run / 'index.html'}")

    model = mz.load_model(chosen.run)
    first = sorted(chosen.photos.iterdir())[0]
    x = mz.read_image(first, convert="rgb")
    translations = model.translate(x, to="painting", styles=5)
    for number, image in enumerate(translations[0]):
        mz.save_image(chosen.run / f"painting_{number}.png", image)


if __name__ == "__main__":
    main()
