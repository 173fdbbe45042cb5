"""Nothing asks a network that was not told to: every command runs with sockets forbidden."""

from __future__ import annotations

import subprocess
import sys

import pytest

from munit_zoo.cli import main

_FORBIDDEN = {"on": False, "tried": []}


def _watch(event: str, arguments: tuple) -> None:
    """Every way of Python code to a network, names' look-ups too; sockets of this machine's own
    files, by which loader processes talk, are none."""
    if not _FORBIDDEN["on"] or not event.startswith("socket."):
        return
    local = event == "socket.connect" and isinstance(arguments[1], (str, bytes))
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        if local:
            return
        _FORBIDDEN["tried"].append((event, arguments[1:]))
        raise OSError(f"a socket was opened: {event} {arguments[1:]}")


sys.addaudithook(_watch)


@pytest.fixture
def forbidden():
    _FORBIDDEN.update(on=True, tried=[])
    yield _FORBIDDEN["tried"]
    _FORBIDDEN["on"] = False


def test_the_watch_sees_a_socket(forbidden):
    import socket

    with pytest.raises(OSError, match="a socket was opened"):
        socket.create_connection(("127.0.0.1", 9), timeout=1)
    assert forbidden


def test_no_command_opens_a_socket(tmp_path, tiny, forbidden, capfd, monkeypatch):
    for name in ("MUNIT_ZOO_WEIGHTS", "TORCH_HOME", "MUNIT_ZOO_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))  # where no weights are
    run, out = tmp_path / "run", tmp_path / "out"
    both = [str(run), str(tmp_path / "weights")]
    few = [*tiny, "ENGINE.ITERATIONS=1", "ENGINE.WORKERS=1"]
    commands = [
        ["list", "--check"],
        ["list", "configs"],
        ["describe", "model", "munit"],
        ["config", "check", "munit/shapes", "--data", "all", "--memory", *tiny],
        ["train", "munit/shapes", *few, "--run", str(run), "--device", "cpu"],
        ["train", "--run", str(run), "--resume", "ENGINE.ITERATIONS=2", "--device", "cpu"],
        ["samples", str(run / "config.yaml"), "--domain", "a", "--count", "1", "--out", str(out)],
        ["translate", str(run), str(out), "--to", "b", "--styles", "1", "--device", "cpu"],
        ["runs", str(tmp_path)],
        ["weights", str(run), "--out", str(tmp_path / "weights")],
        ["pack", str(out), "--out", str(tmp_path / "shards")],
        ["compare", *both, "--no-cost", "--device", "cpu", "--out", str(tmp_path / "c.html")],
        [
            "study",
            "make",
            *both,
            "--questions",
            "2",
            "--device",
            "cpu",
            "--out",
            str(tmp_path / "s"),
        ],
    ]
    for command in commands:
        assert main(command) == 0, (command, capfd.readouterr().err[-2000:])
    # it wants weights that are nowhere: it says so, and fetches nothing unasked
    assert main(["evaluate", str(run), "--metrics", "fidelity", "--device", "cpu"]) == 2
    assert forbidden == []


def test_importing_opens_no_socket():
    code = (
        "import sys\n"
        "def watch(event, arguments):\n"
        "    if event.startswith('socket.c') or 'host' in event: raise OSError(event)\n"
        "sys.addaudithook(watch)\n"
        "import munit_zoo, munit_zoo.api, munit_zoo.cli, munit_zoo.config, munit_zoo.registry\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
