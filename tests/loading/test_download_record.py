"""The record of downloads: licence, address and full hash of each file, which it has to keep."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from fssbench.contracts.backbones import PublishedWeights
from fssbench.errors import DataError
from fssbench.loading import backbone_weights as weights
from fssbench.loading.download_record import FILE, find_recorded_hash, read_downloads, record_download
from fssbench.plugins.registry import BACKBONES

CONTENT = b"weights of a network"
SHA = hashlib.sha256(CONTENT).hexdigest()
RECORD = PublishedWeights(
    id="mine",
    file="mine.pth",
    sha256=SHA[:8],
    licence="a licence",
    source="me",
    origin="url",
    key="https://u:pw@h/x",
)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache into which the weights were downloaded."""
    cls = BACKBONES.get("resnet50")
    monkeypatch.setattr(cls, "card", cls.card.model_copy(update={"weights": (RECORD,)}))

    def fetch(url: str, target: Path, *, sha256: str) -> Path:
        assert SHA.startswith(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(CONTENT)
        return target

    monkeypatch.setattr(weights, "fetch", fetch)
    weights.locate_weights("resnet50", "mine", download=True)
    return weights.find_weights_folder()


def test_a_download_is_recorded_with_licence_and_full_hash_and_without_a_password(folder: Path) -> None:
    ((place, entry),) = read_downloads(folder).items()
    assert (entry["sha256"], entry["licence"], entry["bytes"]) == (SHA, "a licence", len(CONTENT))
    assert "pw" not in entry["address"]
    assert find_recorded_hash(folder, folder / place) == SHA
    assert (
        find_recorded_hash(folder, folder / "other") == find_recorded_hash(folder, Path("/elsewhere")) == ""
    )


def test_a_file_with_the_same_first_digits_is_refused_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = weights.locate_weights("resnet50", "mine")
    path.write_bytes(b"another network")
    monkeypatch.setattr(weights, "hash_weights_file", lambda _: SHA[:8] + "0" * 56)
    with pytest.raises(DataError, match="another one"):
        weights.locate_weights("resnet50", "mine")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', '{"a": {"sha256": 3}}', "[" * 100_000, "\xff"])
def test_a_damaged_record_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(text.encode("latin-1"))
    (tmp_path / "w").write_bytes(CONTENT)
    for act in (
        lambda: read_downloads(tmp_path),
        lambda: record_download(tmp_path, RECORD, tmp_path / "w", RECORD.key),
    ):
        with pytest.raises(DataError, match=FILE):
            act()


def test_downloads_are_kept_beside_each_other(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
        record_download(tmp_path, RECORD, tmp_path / name, "https://h/x")
    assert sorted(json.loads((tmp_path / FILE).read_text())) == ["a", "b"]
