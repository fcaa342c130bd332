from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fssbench.cli import cache as module, main
from fssbench.files.cache import cache_folder


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FSSBENCH_CACHE", str(tmp_path / "cache"))
    for name in ("weights/resnet50.pth", "scans/1.json"):
        path = tmp_path / "cache" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(3 << 10))
    return cache_folder()


def call(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(main, ["cache", *arguments], input=answer)


def test_it_shows_kinds_sizes_and_dates(folder: Path) -> None:
    result = call()
    assert result.exit_code == 0
    weights = next(line for line in result.stdout.splitlines() if line.startswith("weights"))
    assert "resnet50.pth" in weights
    assert "3.0 KiB" in weights
    assert "downloaded" in weights
    rows = [json.loads(line) for line in call("--json").stdout.splitlines()]
    assert {row["kind"]: row["bytes"] for row in rows} == {"weights": 3072, "scans": 3072}


def test_a_removal_without_a_terminal_needs_yes(folder: Path) -> None:
    refused = call("--clear", "scans")
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert (folder / "scans").is_dir()
    assert call("--clear", "scans", "--yes").exit_code == 0
    assert not (folder / "scans").exists()
    assert (folder / "weights" / "resnet50.pth").is_file()


@pytest.mark.parametrize(("answer", "is_kept"), [("n\n", True), ("y\n", False)])
def test_a_removal_at_a_terminal_asks(
    folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str, is_kept: bool
) -> None:
    monkeypatch.setattr(module, "_confirm", lambda _: module.click.confirm("Remove?", abort=True))
    call("--clear", "weights", answer=answer)
    assert (folder / "weights" / "resnet50.pth").exists() is is_kept


def test_features_need_their_folder_and_other_kinds_cannot_be_cleared() -> None:
    assert "--feature-cache" in call("--clear", "features").stderr
    assert call("--clear", "machine", "--yes").exit_code == 2
