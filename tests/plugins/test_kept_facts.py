"""Facts of plugins that are kept between calls: of parts of fssbench alone, and never older than their files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fssbench.plugins import kept_facts
from fssbench.plugins.kept_facts import Collected, KeptFacts
from fssbench.plugins.registry import Plugin

BUILT_IN = "fssbench 0.1.0 (fssbench.methods.panet.method:PANet)"


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("FSSBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kept_facts, "_LOADING_SINCE", 1 << 62)  # files of this moment count as settled
    return tmp_path / "cache"


def ask(origin: str, fact: str, *files: Path) -> str:
    """What a new process would be told of a plugin whose class says `fact`."""
    plugin = Plugin("panet", origin, lambda: str)
    kept = KeptFacts.read()
    facts = kept.facts_of(plugin, "topic", lambda _: Collected({"fact": fact}, files))
    kept.save()
    return str(facts["fact"])


def test_facts_of_a_part_of_fssbench_are_kept() -> None:
    assert [ask(BUILT_IN, "first"), ask(BUILT_IN, "second")] == ["first", "first"]


@pytest.mark.parametrize(
    "origin", ["stranger 1.0 (stranger:Mine)", "fssbench-extra 1.0 (extra:Mine)", "mine.py"]
)
def test_facts_of_other_plugins_are_those_of_now(origin: str) -> None:
    assert [ask(origin, "first"), ask(origin, "second")] == ["first", "second"]


def test_facts_are_dropped_with_any_change_in_their_files(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    file = folder / "a.safetensors"
    file.write_bytes(b"1")
    assert ask(BUILT_IN, "first", folder, file) == "first"
    assert ask("fssbench 0.1.0 (fssbench.methods.hsnet:HSNet)", "other") == "other"  # and no file of its own
    before = file.stat()
    file.write_bytes(b"2")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert ask(BUILT_IN, "second", folder, file) == "second"
    (folder / "b.safetensors").write_bytes(b"1")
    assert ask(BUILT_IN, "third", folder, file) == "third"


def test_facts_are_not_kept_if_a_file_may_have_changed_meanwhile(
    monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    monkeypatch.setattr(kept_facts, "_LOADING_SINCE", 0)
    assert [ask(BUILT_IN, "first"), ask(BUILT_IN, "second")] == ["first", "second"]
    assert not list(own_cache.rglob("*"))


def test_a_plugin_that_is_loaded_is_asked_itself() -> None:
    ask(BUILT_IN, "first")
    plugin = Plugin("panet", BUILT_IN, lambda: str, value=str)
    assert KeptFacts.read().facts_of(plugin, "topic", lambda _: Collected({"fact": "now"})) == {"fact": "now"}


def test_facts_of_few_installations_are_kept(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    files: list[Path] = []
    for n in range(kept_facts.MOST_FILES + 3):
        monkeypatch.setattr(kept_facts, "__version__", f"0.{n}")
        assert ask(BUILT_IN, f"of version {n}") == f"of version {n}"
        (newest,) = set(own_cache.rglob("*.json")) - set(files)
        os.utime(newest, ns=(n, n))
        files.append(newest)
    assert [path.exists() for path in files] == [False] * 3 + [True] * kept_facts.MOST_FILES
