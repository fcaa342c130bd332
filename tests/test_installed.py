"""Versions of installed packages are those of the standard library."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from fssbench.installed import find_version


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
