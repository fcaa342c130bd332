"""A cache of facts of plugins, for later commands.

The module of a method or backbone imports torch, which takes seconds, but listing or showing plugins needs only facts.
Facts are used again as long as all modules that were loaded when they were collected, and Python's search path, are
unchanged.  Each installation has its own file, so a clone and a wheel do not overwrite each other's facts.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fssbench import __version__
from fssbench.clone import NAME
from fssbench.errors import UsageError
from fssbench.files.atomic import replace_file
from fssbench.files.cache import cache_folder
from fssbench.plugins.execution import CORE_FOLDER
from fssbench.plugins.registry import Plugin

FOLDER = "plugin-facts"
"""Folder in the cache folder, with one file per installation."""
MOST_FILES = 8
"""Number of installations whose facts are kept; the file that was written longest ago is deleted first."""
_LOADING_SINCE = time.time_ns() - 2_000_000_000
"""Files that changed later than this may have changed after their import; some file systems only store seconds."""
_Stamp = list[int]


@dataclass(frozen=True)
class Collected:
    """Facts of the class of a plugin, and the files on which they depend."""

    facts: dict[str, Any]
    """JSON values."""
    files: tuple[Path, ...] = ()
    """Files and folders on which they depend, without modules."""


@dataclass
class KeptFacts:
    """The facts that are still true, and those that this process adds."""

    _facts: dict[str, Any] = field(default_factory=dict)
    _stamps: dict[str, _Stamp | None] = field(default_factory=dict)
    """Stamps of the files on which the facts depend, from before the facts were collected."""
    _added: dict[str, Any] = field(default_factory=dict)
    _other_files: set[str] = field(default_factory=set)
    """Files of the added facts that are not modules."""

    @classmethod
    def read(cls) -> KeptFacts:
        """Read the facts of this installation; none if anything may have changed since they were collected."""
        try:
            content = json.loads(_facts_file().read_bytes())
            stamps = content["stamps"]
            if content["installation"] != _describe_installation() or any(
                _stamp(file) != stamp for file, stamp in stamps.items()
            ):
                return cls()
            return cls(dict(content["facts"]), dict(stamps))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, UsageError):
            return cls()

    def look_up(self, topic: str, plugin: Plugin) -> Any:
        """Return the kept fact of a plugin; None if there is none, or if the plugin is loaded and can be asked."""
        return self._facts.get(_key(topic, plugin)) if plugin.value is None else None

    def add(self, topic: str, plugin: Plugin, fact: Any, files: Iterable[str | Path] = ()) -> None:
        """Add a fact that depends on the code of the plugin alone.

        Args:
            topic: what kind of fact it is.
            plugin: the plugin, which is loaded.
            fact: a JSON value.
            files: other files and folders on which it depends.
        """
        self._added[_key(topic, plugin)] = fact
        self._other_files.update(map(str, files))

    def facts_of(self, plugin: Plugin, topic: str, collect: Callable[[Any], Collected]) -> Any:
        """Return facts of a plugin: the kept ones if it is a part of fssbench, else those of its class as it is now.

        The import of a part of fssbench takes seconds, and its facts depend on its code alone.  Nobody knows what
        the facts of other plugins depend on.

        Args:
            plugin: the plugin.
            topic: what kind of facts these are.
            collect: collects the facts of the class.

        Raises:
            PluginError: if the plugin does not load.
        """
        facts = self.look_up(topic, plugin) if is_built_in(plugin) else None
        if facts is None:
            collected = collect(plugin.get())
            facts = json.loads(json.dumps(collected.facts))  # the same types whether they were kept or not
            if is_built_in(plugin):
                self.add(topic, plugin, facts, collected.files)
        return facts

    def save(self) -> None:
        """Store the added facts together with the earlier ones; do nothing if the folder cannot be written."""
        if not self._added:
            return
        modules = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
        files = {str(file) for file in modules if file} | self._other_files | set(_folders_searched())
        stamps = {file: _stamp(file) for file in sorted(files - self._stamps.keys())}
        if any(stamp and max(stamp[1:]) > _LOADING_SINCE for stamp in stamps.values()):
            return
        content = {
            "installation": _describe_installation(),
            "stamps": stamps | self._stamps,
            "facts": self._facts | self._added,
        }
        try:
            target = _facts_file()
            target.parent.mkdir(parents=True, exist_ok=True)
            replace_file(target, json.dumps(content).encode())
            for old in sorted(target.parent.glob("*.json"), key=_age)[MOST_FILES:]:
                old.unlink()
        except (OSError, UsageError):  # UsageError: this user has no home folder
            pass


def is_built_in(plugin: Plugin) -> bool:
    """Return whether a plugin is a part of fssbench; its facts then depend only on its code."""
    return plugin.origin.startswith(f"{NAME} ") and f"({NAME}." in plugin.origin


def _key(topic: str, plugin: Plugin) -> str:
    return f"{topic}: {plugin.origin}"


def _facts_file() -> Path:
    name = hashlib.sha256(json.dumps(_describe_installation()).encode()).hexdigest()[:16]
    return cache_folder() / FOLDER / f"{name}.json"


def _describe_installation() -> list[str]:
    """Return folder and version of fssbench, and the interpreter, version and search path of Python."""
    return [CORE_FOLDER, __version__, sys.executable, sys.version, *_folders_searched()]


def _folders_searched() -> list[str]:
    """Folders and archives in which Python looks for modules; a new file in one may hide a module of another."""
    return [os.path.abspath(folder) for folder in sys.path]  # noqa: PTH100 - the empty text is the working folder


def _age(path: Path) -> int:
    return -path.stat().st_mtime_ns


def _stamp(file: str) -> _Stamp | None:
    """Size of a file, and when its bytes and its entry were last changed, in ns; None if there is none."""
    try:
        state = os.stat(file)  # noqa: PTH116 - of a thousand files
    except (OSError, ValueError):
        return None
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
