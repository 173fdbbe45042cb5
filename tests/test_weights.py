"""Weights on disk: found, checked, and never fetched unasked."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import pytest
import torch

from munit_zoo import weights
from munit_zoo.errors import WeightsError
from munit_zoo.state_dicts import read_state_dict
from munit_zoo.weights import KNOWN, KnownWeights, WeightsFile, find_weights, known_as, looking_in

CONTENT = b"trained"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
TRAINED = Path(os.environ.get("MUNIT_ZOO_WEIGHTS") or "../shared/weights")


@pytest.fixture
def nowhere(tmp_path, monkeypatch) -> Path:
    """No folder of weights but torch's empty one; a known file `net.pth`; no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("MUNIT_ZOO_WEIGHTS", raising=False)
    file = WeightsFile("net.pth", DIGEST, url="https://example.org/net.pth")
    monkeypatch.setattr(weights, "KNOWN", {"net": KnownWeights("net", "the network", (file,))})
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: pytest.fail("asked"))
    return tmp_path


def put(folder: Path, content: bytes = CONTENT) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.pth").write_bytes(content)
    return folder


def test_places_in_order(nowhere, monkeypatch):
    torchs = put(nowhere / "torch/hub/checkpoints")
    assert find_weights("net").path.parent == torchs
    named = put(nowhere / "named")
    monkeypatch.setenv("MUNIT_ZOO_WEIGHTS", os.pathsep.join([str(nowhere / "none"), str(named)]))
    assert find_weights("net").path.parent == named
    given = put(nowhere / "given")
    with looking_in(given):
        found = find_weights("net")
    assert found.path.parent == given
    assert found.record() == {"name": "net", "file": "net.pth", "sha256": DIGEST}
    assert find_weights("net").path.parent == named


def test_what_is_absent_is_said_with_name_places_and_digest(nowhere):
    (nowhere / "given").mkdir()
    with looking_in(nowhere / "given"), pytest.raises(WeightsError) as caught:
        find_weights("net")
    expected = ("net.pth", DIGEST, str(nowhere / "given"), "hub/checkpoints", "--weights-dir")
    for part in (*expected, "--download"):
        assert part in str(caught.value)
    with pytest.raises(WeightsError, match="there is no folder of weights"), looking_in("nowhere"):
        pass


def test_another_file_under_a_trusted_name_is_refused(nowhere):
    with (
        looking_in(put(nowhere / "given", b"random")),
        pytest.raises(WeightsError, match=f"is not the network: its SHA-256 .* {DIGEST}"),
    ):
        find_weights("net")


def test_fetches_only_when_asked(nowhere, monkeypatch):
    asked = []

    def answer(url, timeout):
        asked.append(url)
        return io.BytesIO(CONTENT if len(asked) == 1 else b"something else")

    monkeypatch.setattr("urllib.request.urlopen", answer)
    folder = nowhere / "given"
    folder.mkdir()
    with looking_in(folder, download=True):
        assert find_weights("net").path == folder / "net.pth"
        assert find_weights("net").path == folder / "net.pth"
        assert asked == ["https://example.org/net.pth"]
        (folder / "net.pth").unlink()
        with pytest.raises(WeightsError, match="sent something else"):
            find_weights("net")
    assert not list(folder.iterdir())


def test_a_failed_download_says_why(nowhere, monkeypatch):
    def offline(url, timeout):
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(WeightsError, match="cannot be downloaded: no route to host"):
        find_weights("net", download=True)


def test_files_of_ones_own(nowhere):
    path = put(nowhere / "own") / "net.pth"
    found = find_weights(str(path))
    assert (found.name, found.sha256) == ("net.pth", DIGEST)
    assert known_as(found) == "net"
    with looking_in(nowhere / "own"):
        assert find_weights("net.pth").path == path
    with pytest.raises(WeightsError, match=r"'nett' is neither a file .*Did you mean 'net'"):
        find_weights("nett")


def test_lpips_heads_come_with_a_package():
    pytest.importorskip("torchmetrics")
    found = find_weights("lpips_alex")
    assert found.name == "lpips_alex"
    assert found.path.name == "alex.pth"


def test_state_dicts(tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"state_dict": {"w": torch.ones(2)}, "epoch": 3}, path)
    assert read_state_dict(path)["w"].tolist() == [1, 1]
    torch.save([1], path)
    with pytest.raises(WeightsError, match="holds list"):
        read_state_dict(path)


@pytest.mark.parametrize(
    ("name", "first"),
    [("alexnet", (0.1186, 0.0941, 0.0954)), ("vgg16", (-0.5537, 0.1427, 0.5290))],
)
def test_the_trained_weights_at_hand(name, first):
    """The files' digests and first filters are those on record."""
    if not any((TRAINED / file.name).is_file() for file in KNOWN[name].files):
        pytest.skip(f"no weights of {name} in {TRAINED} (set MUNIT_ZOO_WEIGHTS)")
    with looking_in(TRAINED):
        state = read_state_dict(find_weights(name).path)
    filters = state["features.0.weight"].flatten()[:3].tolist()
    assert filters == pytest.approx(first, abs=5e-5)
