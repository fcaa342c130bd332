"""Cards of methods without torch: kept between calls, and never older than the code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fssbench.plugins.registry import METHODS

ASK = """
import json, sys, time
seconds, site, *names = sys.argv[1:]
now = time.time_ns
time.time_ns = lambda: now() + int(seconds) * 1_000_000_000
sys.path.insert(0, site)
from fssbench.plugins.method_cards import METHODS, read_method_cards
cards = read_method_cards(names)
answer = {name: getattr(card, "title", None) or f"error: {card}" for name, card in cards.items()}
answer["torch"] = "torch" in sys.modules
answer["imported"] = any(METHODS.plugin(name).value is not None for name in names)
print(json.dumps(answer), flush=True)
"""
FORKS = f"""
import json, os, sys, traceback
# once for all questions, with torch; what reads and keeps cards is imported by each
import fssbench.contracts.methods, fssbench.files.cache, fssbench.plugins.registry
assert "fssbench.plugins.kept_facts" not in sys.modules
for line in sys.stdin:
    words, environment = json.loads(line)
    if os.fork():
        os.wait()
        continue
    try:
        os.environ.update(environment)
        sys.path[1:1] = filter(None, [environment.get("PYTHONPATH")])
        sys.argv = ["-c", *words]
        exec({ASK!r})
    except BaseException:
        print(json.dumps({{"failure": traceback.format_exc()}}), flush=True)
    finally:
        os._exit(0)
"""
WHILE = 10
"""Seconds that have passed since files were changed, unless said otherwise; after two a change is trusted."""
METHOD = """
from __future__ import annotations
import os
from typing import ClassVar
import {helper}
from fssbench.api import ImageMethod, MethodCard

class Mine(ImageMethod):
    card: ClassVar[MethodCard] = MethodCard(
        name="mine", title={title}, paper="p", year=2026, kind="other", backbone="none", size=64, trained=False,
        reference="none", licence="none",
    )
    def logits(self, query, support, masks): ...
"""


class Processes:
    """Processes that are forked from one that has imported torch; each answers one question."""

    def __init__(self) -> None:
        self.parent = subprocess.Popen(
            [sys.executable, "-B", "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, words: list[str], environment: dict[str, str]) -> str:
        assert self.parent.stdin is not None
        assert self.parent.stdout is not None
        self.parent.stdin.write(json.dumps([words, environment]) + "\n")
        self.parent.stdin.flush()
        return self.parent.stdout.readline()


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    processes = Processes()
    yield processes
    processes.parent.communicate()


class Plugin:
    """An installed method of a stranger, in a folder of its own."""

    def __init__(self, folder: Path, processes: Processes) -> None:
        self.site, self.cache, self.processes = folder / "site", folder / "cache", processes
        self.site.mkdir(parents=True)
        info = self.site / "stranger-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[fssbench.methods]\nmine = stranger:Mine\n")
        (self.site / "stranger_helper.py").write_text("")
        self.write('"First"')

    def write(self, title: str, helper: str = "stranger_helper") -> None:
        (self.site / "stranger.py").write_text(METHOD.format(title=title, helper=helper))

    def ask(
        self, *names: str, seconds: int = WHILE, fresh: bool = False, **environment: str
    ) -> dict[str, Any]:
        """Titles by name, and whether the module of a method was imported.

        Args:
            names: of the methods.
            seconds: what the clock of the process is ahead.
            fresh: ask a process that begins without torch; the answer then says whether torch was imported.
            environment: variables of the process.
        """
        words = [str(seconds), str(self.site), *(names or ("mine",))]
        environment = {"FSSBENCH_CACHE": str(self.cache), **environment}
        if not fresh:
            answer = json.loads(self.processes.ask(words, environment))
            assert answer.pop("torch"), answer
            return answer  # type: ignore[no-any-return]
        done = subprocess.run(
            [sys.executable, "-B", "-c", ASK, *words],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, **environment},
        )
        answer = json.loads(done.stdout)
        assert answer["torch"] == answer.pop("imported")
        return answer  # type: ignore[no-any-return]


@pytest.fixture
def plugin(tmp_path: Path, processes: Processes) -> Plugin:
    return Plugin(tmp_path, processes)


def test_second_call_reads_cards_without_torch(plugin: Plugin) -> None:
    """That of a stranger, and those of all built-in methods."""
    names = METHODS.names()
    first = plugin.ask("mine", *names)
    assert first.pop("imported") is True
    again = plugin.ask("mine", *names, fresh=True)
    assert again.pop("torch") is False
    assert again == first == {"mine": "First"} | {name: METHODS.get(name).card.title for name in names}


def test_edited_card_is_read_anew(plugin: Plugin) -> None:
    plugin.ask()
    before = (plugin.site / "stranger.py").stat()
    plugin.write('"Other"')  # of the same size
    os.utime(plugin.site / "stranger.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert plugin.ask()["mine"] == "Other"


def test_card_changed_right_after_it_was_written_is_not_kept(plugin: Plugin) -> None:
    later = time.time_ns() + 3_600_000_000_000  # however slow the machine is
    os.utime(plugin.site / "stranger.py", ns=(later, later))
    assert plugin.ask(seconds=0)["mine"] == "First"
    assert not list(plugin.cache.rglob("*.json"))


def test_method_whose_helper_no_longer_imports_is_broken(plugin: Plugin) -> None:
    plugin.ask()
    (plugin.site / "stranger_helper.py").unlink()
    assert "stranger_helper" in plugin.ask()["mine"]


@pytest.mark.parametrize(
    "title",
    ['os.environ["TITLE"]', '"".join(["a", str(os.getpid())])'],
)
def test_card_that_is_computed_is_never_kept(plugin: Plugin, title: str) -> None:
    plugin.write(title)
    first = plugin.ask(TITLE="one")
    assert plugin.ask(TITLE="two")["mine"] != first["mine"]


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"installation": 1}'])
def test_damaged_cache_is_read_past(plugin: Plugin, content: bytes) -> None:
    plugin.ask()
    (kept,) = plugin.cache.rglob("*.json")
    kept.write_bytes(content)
    assert plugin.ask() == {"mine": "First", "imported": True}
    assert plugin.ask() == {"mine": "First", "imported": False}


def test_cache_that_cannot_be_written_is_done_without(plugin: Plugin) -> None:
    plugin.cache.write_text("a file where the folder should be")
    assert plugin.ask()["mine"] == "First"


def test_card_that_was_kept_before_others_is_never_older_than_its_code(plugin: Plugin) -> None:
    plugin.ask("mine")
    plugin.ask("panet")  # imports another method, and not the one whose card is kept
    assert plugin.ask("mine", "panet")["imported"] is False
    plugin.write('"Other"')
    assert plugin.ask("mine")["mine"] == "Other"


def test_module_that_hides_another_one_is_noticed(plugin: Plugin, tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    assert plugin.ask(PYTHONPATH=str(first))["mine"] == "First"
    assert plugin.ask(PYTHONPATH=str(first))["imported"] is False
    (first / "stranger_helper.py").write_text("raise ImportError('hidden by another')")
    (plugin.site / "stranger_helper.py").rename(plugin.site / "gone.py")
    assert "hidden by another" in plugin.ask(PYTHONPATH=str(first))["mine"]


def test_two_installations_keep_their_cards_side_by_side(plugin: Plugin, tmp_path: Path) -> None:
    """As a clone and a wheel do: the same names and versions, another card."""
    other = Plugin(tmp_path / "other", plugin.processes)
    other.cache = plugin.cache
    other.write('"Second"')
    plugin.ask()
    other.ask()
    assert plugin.ask(seconds=0) == {"mine": "First", "imported": False}
    assert other.ask(seconds=0) == {"mine": "Second", "imported": False}
