"""Who starts the processes, and the launch lines of docs/scaling.md."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from munit_zoo.engine.devices import launched_by, processes
from munit_zoo.engine.runs import Run
from munit_zoo.errors import UsageError

PAGE = Path(__file__).parents[2] / "docs/scaling.md"
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}
SRUN = {"SLURM_PROCID": "3", "SLURM_NTASKS": "6", "SLURM_NNODES": "3", "SLURM_JOB_NAME": "train"}


def test_launchers_say_how_many(monkeypatch):
    assert launched_by() is None
    assert processes(None, None) == (1, 1)
    assert processes(2, 3) == (2, 3)
    with monkeypatch.context() as patch:
        for name, value in TORCHRUN.items():
            patch.setenv(name, value)
        assert launched_by() == ("torchrun", 4, 2)
        assert processes(None, None) == processes(4, 2) == (4, 2)
        with pytest.raises(UsageError, match="torchrun started 4 processes on each of 2 machines"):
            processes(8, None)
    for name, value in SRUN.items():
        monkeypatch.setenv(name, value)
    assert processes(None, None) == (2, 3)
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")  # a shell in an allocation
    assert processes(None, None) == (1, 1)
    with pytest.raises(UsageError, match="--nodes is the number of machines, 1 or more"):
        processes(None, 0)


@pytest.mark.skipif(not PAGE.is_file(), reason="docs/ is not in this distribution")
def test_the_manifest_parses_and_fits_together():
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), flags=re.S)
    service, job = yaml.safe_load_all(block)
    name = service["metadata"]["name"]
    spec = job["spec"]
    assert (service["kind"], job["kind"], spec["completionMode"]) == ("Service", "Job", "Indexed")
    assert service["spec"]["selector"]["job-name"] == job["metadata"]["name"]
    pod = spec["template"]["spec"]
    assert pod["subdomain"] == name
    (container,) = pod["containers"]
    (script,) = container["args"]
    assert f"--nnodes {spec['parallelism']} " in script
    assert f"--nproc-per-node {container['resources']['limits']['nvidia.com/gpu']} " in script
    assert f"{job['metadata']['name']}-0.{name}:" in script
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    assert subprocess.run(["bash", "-n", "-c", script], check=False).returncode == 0
    (slurm,) = re.findall(r"```sh\n(#!/bin/bash.*?)```", PAGE.read_text(), flags=re.S)
    assert subprocess.run(["bash", "-n", "-c", slurm], check=False).returncode == 0


@pytest.mark.slow
def test_torchrun_starts_one_training(tmp_path, tiny):
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    words += ["-m", "--", "munit_zoo", "train", "munit/shapes", "--device", "cpu"]
    done = subprocess.run(
        [*words, "--run", str(tmp_path / "run"), *tiny],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("done: iteration 4") == 1
    lines = (tmp_path / "run/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [1, 2, 3, 4]
    assert [s.iteration for s in Run(tmp_path / "run").snapshots()] == [2, 4]
