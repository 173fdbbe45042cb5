"""The standing workloads: run them on this machine and keep the results.

    python benchmarks/workloads.py NAME [WORKLOAD …]

writes benchmarks/results/NAME/WORKLOAD.json, where NAME says what machine it is, and makes
docs/performance.md anew (`python benchmarks/render.py` does only that).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
MUNIT = "munit/edges2shoes --reference"

CPU = {
    "training": f"{MUNIT} --mode train --channels-last on --compile off,default "
    "--vary ENGINE.SHARE=derived,fakes --rounds 4",
    "inference": f"{MUNIT} --mode translate --channels-last on --compile off,default",
    "savings": f"{MUNIT} --mode train --precision fp32 --channels-last on --rounds 3 "
    "--vary ENGINE.SHARE=none,derived,fakes --vary MODEL.DECODER.FOLD=false,true",
    "layout": f"{MUNIT} --mode train --precision fp32,bf16 --channels-last off,on --rounds 3",
    "savings_inference": f"{MUNIT} --mode translate --precision fp32,bf16 --channels-last off,on "
    "--vary MODEL.DECODER.FOLD=false,true",
    "optimizer": f"{MUNIT} --mode train --precision fp32 --channels-last on --rounds 3 "
    "--vary OPTIM.DEFAULT.FUSED=false,true",
    "components": "--mode component --precision fp32 --channels-last off,on "
    "--components norm:*,activation:*,content_encoder:resnet,style_encoder:conv,decoder:*,"
    "mapping:*,discriminator:*,loss:l1,loss:lsgan --seconds 2",
    "layout_small": "munit/shapes --reference --mode train --batch 8 --channels-last off,on",
    "zoo": "unit/edges2shoes cyclegan/images pix2pix/images bicyclegan/edges2shoes stargan/celeba "
    "funit/animals starganv2/afhq --reference --mode train --precision fp32 --rounds 3",
    "data": "munit/edges2shoes DATA.ROOT=benchmarks/images --mode data --batch 8",
}
CUDA = {
    "training": f"{MUNIT} --mode train --batch 1,8,32 --channels-last on "
    "--compile off,default,max-autotune,graphs",
    "inference": f"{MUNIT} --mode translate --styles 1 --batch 1,8,32 --channels-last on "
    "--compile off,default,max-autotune,graphs",
    "savings": f"{MUNIT} --mode train --batch 8 --precision bf16 --channels-last off,on "
    "--vary ENGINE.SHARE=none,derived,fakes --vary MODEL.DECODER.FOLD=false,true",
    "components": CPU["components"].replace("fp32", "tf32,bf16") + " --batch 8",
}


def draw_images() -> None:
    """Images for the workload `data`: 64 a domain, 256×256 PNG, in benchmarks/images."""
    command = [sys.executable, "-m", "munit_zoo", "samples", "munit/shapes", "DATA.SIZE=256"]
    for domain in ("a", "b"):
        folder = HERE / "images" / f"train{domain.upper()}"
        if not folder.is_dir():
            more = ["--domain", domain, "--count", "64", "--split", "train", "--out", str(folder)]
            subprocess.run([*command, *more], check=True)


def run(name: str, chosen: list[str]) -> int:
    """Measure; the exit status of the first workload that could not be."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    workloads = CUDA if device == "cuda" else CPU
    unknown = [word for word in chosen if word not in workloads]
    if unknown:
        sys.stderr.write(f"no workload {unknown[0]!r} on {device}: {', '.join(workloads)}\n")
        return 2
    folder = HERE / "results" / name
    folder.mkdir(parents=True, exist_ok=True)
    for workload in chosen or workloads:
        if workload == "data":
            draw_images()
        arguments = workloads[workload].split()
        command = [sys.executable, "-m", "munit_zoo.bench", *arguments]
        file = folder / f"{workload}.json"
        status = subprocess.run([*command, "--json", str(file)], check=False).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    code = run(sys.argv[1], sys.argv[2:])
    if not code:
        from render import write

        write()
    sys.exit(code)
