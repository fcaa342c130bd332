"""Versions of installed packages are those of the standard library, now, and are read once."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from pathlib import Path

import pytest

from fssbench.installed import find_version, map_entry_points


def test_versions_of_all_installed_packages_are_those_of_the_standard_library() -> None:
    names = {distribution.metadata["Name"] for distribution in importlib.metadata.distributions()}
    assert len(names) > 20
    expected = {name: importlib.metadata.version(name) for name in names}
    assert {name: find_version(name) for name in names} == expected
    assert find_version("no-such-package") is None


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("odd.dist-info/METADATA", "Metadata-Version: 2.1\nName: odd\nversion: 3.1\n\nVersion: 9\n"),
        ("odd.dist-info/METADATA", "Name: odd\r\nVersion:   3.1\r\n\r\nText.\r\n"),
        ("odd.egg-info/PKG-INFO", "Name: odd\nVersion: 3.1\n"),
    ],
    ids=["other letters", "other line ends", "an egg"],
)
def test_a_version_is_read_from_the_header(
    file: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_bytes(text.encode())
    assert find_version("odd") == importlib.metadata.version("odd") == "3.1"


def install(site: Path, version: str) -> None:
    """Install a package with one entry point as pip does: the metadata of the old version go, those of the new come."""
    for old in site.glob("*.dist-info"):
        shutil.rmtree(old)
    folder = site / f"little_fish-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: little-fish\nVersion: {version}\n")
    (folder / "entry_points.txt").write_text("[little.group]\nfirst = little:Fish\nsecond = little:Fish\n")
    later = site.stat().st_mtime_ns + 1_000_000_000  # two installations of a user are never so close
    os.utime(site, ns=(later, later))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages in which Python searches."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_an_installation_an_upgrade_and_a_removal_are_noticed(site: Path) -> None:
    assert find_version("little-fish") is None
    install(site, "1.0")
    assert find_version("little-fish") == "1.0"
    assert map_entry_points("little.group") == {"little:Fish": "little-fish 1.0"}
    install(site, "1.1")
    assert find_version("little-fish") == importlib.metadata.version("little-fish") == "1.1"
    assert map_entry_points("little.group") == {"little:Fish": "little-fish 1.1"}
    shutil.rmtree(site / "little_fish-1.1.dist-info")
    later = site.stat().st_mtime_ns + 1_000_000_000
    os.utime(site, ns=(later, later))
    assert find_version("little-fish") is None
    assert map_entry_points("little.group") == {}


def test_metadata_are_read_once(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(site, "2.0")
    assert find_version("little-fish") == "2.0"
    monkeypatch.setattr(importlib.metadata, "distribution", None)
    assert find_version("little-fish") == "2.0"
