"""An output folder is tried before anything is computed for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fssbench.errors import DataError
from fssbench.files.writable import require_writable


def test_a_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    require_writable(tmp_path / "a/b", "--out")
    assert [*(tmp_path / "a/b").iterdir()] == []


def test_a_folder_that_cannot_be_made_names_itself_and_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file.*Next: .*--out"):
        require_writable(tmp_path / "file", "--out")


def test_a_full_disk_is_known_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DataError, match=r"No space left on device.*-o"):
        require_writable(tmp_path, "-o")
    assert [*tmp_path.iterdir()] == []
