"""Images of a dataset as files."""

from __future__ import annotations

import numpy as np

from munit_zoo.config import resolve
from munit_zoo.data.images import read_image, write_image
from munit_zoo.engine.samples import write_samples


def test_every_image_has_a_file_of_its_own(tmp_path, tiny):
    """Names that differ in folder or format alone."""
    for number, name in enumerate(("x/1.png", "x_1.png", "x_1.tif", "x_1_2.png")):
        (tmp_path / "testA" / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / "testA" / name, np.full((3, 16, 16), 40 * number, np.uint8))
    (tmp_path / "testB").mkdir()
    kept = [o for o in tiny if not o.startswith("DATA.")]
    data = f"DATA={{NAME: image_folder, ROOT: {tmp_path}, SIZE: 16}}"
    files = write_samples(resolve("munit/shapes", [*kept, data]).config, "a", tmp_path / "out")
    assert len(set(files)) == 4
    assert {int(read_image(file)[0, 0, 0]) for file in files} == {0, 40, 80, 120}
