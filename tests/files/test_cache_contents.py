from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fssbench.errors import DataError, LockedError
from fssbench.files.cache_contents import KINDS, OTHER, CacheKind, clear_kind, list_cache
from fssbench.files.in_use import FOLDER, find_users, hold_folder

KIND = {kind.name: kind for kind in (*KINDS, OTHER)}
CONTENTS = {
    "weights": "weights/resnet50.pth",
    "miniatures": "mini-1-0/pascal-abc/image.png",
    "splits": "splits/pascal/fold0.txt",
    "scans": "scans/1.json",
    "facts": "plugin-facts/1.json",
    "copies": "resized/pascal-abc/400/1.png",
    "locks": "locks/prepare-1.lock",
    "machine": "machine-salt",
    "other": "mini-project/thesis.tex",
}

HOLDER = """
import sys
from pathlib import Path
from fssbench.files.in_use import hold_folder
hold_folder(Path(sys.argv[1]))
print(flush=True)
input()
"""
"""A process that uses a folder until it is ended."""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    for name in CONTENTS.values():
        write(folder / name)
    return folder


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("four")
    return path


def list_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_every_entry_has_its_kind_its_size_and_its_date(cache: Path) -> None:
    entries = list_cache(cache)
    assert {entry.kind.name: entry.bytes for entry in entries} == dict.fromkeys(CONTENTS, 4)
    assert all(entry.changed and entry.files == 1 for entry in entries)
    assert list_cache(cache / "absent") == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.is_clearable], ids=lambda kind: kind.name)
def test_a_kind_is_removed_and_nothing_else(cache: Path, tmp_path: Path, kind: CacheKind) -> None:
    features = tmp_path / "features"
    mine = write(features / "ab" / f"{'ab' * 32}.safetensors")
    theirs = write(features / "ab" / "notes.safetensors")
    before = list_files(tmp_path)
    gone = mine if kind.name == "features" else cache / CONTENTS[kind.name]
    (removed,) = clear_kind(cache, kind, features)
    assert removed.bytes == 4
    assert before - list_files(tmp_path) == {str(gone.relative_to(tmp_path))}
    assert list_files(tmp_path) <= before
    assert theirs.is_file()


def test_links_are_not_followed(cache: Path, tmp_path: Path) -> None:
    outside = write(tmp_path / "outside" / "image.png")
    (cache / "mini-1-0" / "link").symlink_to(outside.parent)
    (cache / "scans" / "1.json").unlink()
    (cache / "scans").rmdir()
    (cache / "scans").symlink_to(outside.parent)
    entries = {entry.kind.name: entry for entry in list_cache(cache)}
    assert entries["miniatures"].files == 1
    assert entries["scans"].link == str(outside.parent)
    clear_kind(cache, KIND["miniatures"])
    with pytest.raises(DataError, match="link"):
        clear_kind(cache, KIND["scans"])
    assert outside.is_file()
    assert not (cache / "mini-1-0").exists()


def test_what_a_running_process_uses_stays_until_it_has_ended(cache: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(cache / "mini-1-0")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        (entry,) = [entry for entry in list_cache(cache) if entry.kind.name == "miniatures"]
        assert (entry.users, entry.files) == ((str(other.pid),), 1)
        with pytest.raises(LockedError, match=str(other.pid)):
            clear_kind(cache, KIND["miniatures"])
        assert (cache / CONTENTS["miniatures"]).is_file()
        other.kill()
    assert find_users(cache / "mini-1-0") == []
    clear_kind(cache, KIND["miniatures"])
    assert not (cache / "mini-1-0").exists()


def test_a_process_that_begins_during_the_removal_keeps_its_folder(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "fssbench.files.cache_contents.find_users", lambda path: ["77"] if "cleared" in path.name else []
    )
    with pytest.raises(LockedError, match="77"):
        clear_kind(cache, KIND["scans"])
    assert (cache / CONTENTS["scans"]).is_file()


def test_the_rest_of_an_interrupted_removal_keeps_its_kind(cache: Path) -> None:
    (cache / "scans").rename(cache / ".scans-cleared-0123abcd")
    (removed,) = clear_kind(cache, KIND["scans"])
    assert removed.files == 1
    assert not list(cache.glob(".scans*"))


def test_the_own_process_is_no_other_user_and_an_absent_folder_is_not_made(
    cache: Path, tmp_path: Path
) -> None:
    hold_folder(cache / "scans")
    hold_folder(tmp_path / "absent")
    assert find_users(cache / "scans") == []
    assert len(list((cache / "scans" / FOLDER).iterdir())) == 1
    assert not (tmp_path / "absent").exists()
