"""Writes the start of a plugin from the templates, as one file or an installable project, or a benchmark file."""

from __future__ import annotations

import builtins
import keyword
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from importlib.machinery import PathFinder
from pathlib import Path

from fssbench.benchmarks.catalogue import BENCHMARKS
from fssbench.benchmarks.suites import SUITES
from fssbench.errors import DataError, UsageError
from fssbench.plugins.execution import is_installed
from fssbench.plugins.registry import BACKBONES, DATASETS, METHODS, REPORTERS

TEMPLATES = {
    "method": ("method", "trainable_method", "wrapped_method"),
    "dataset": ("dataset",),
    "backbone": ("backbone",),
    "reporter": ("reporter",),
}
"""Templates of each kind of plugin."""
WORDS = {"dataset": "data set"}
"""Kinds whose name in a sentence differs."""
LONGEST_NAME = 50
"""Characters of a name; names of run folders contain it."""

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_NOT_MODULES = frozenset({"conftest", "setup", "src", "test", "tests"})
"""Names that tools for packaging and tests use; plugin files of these names are not imported from a folder."""
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
)
"""Names that Windows gives to devices, so that no file can have them."""


@dataclass(frozen=True)
class Start:
    """The start of a plugin, before it is written."""

    files: Mapping[str, str]
    """Text of each file, by its path below the output folder."""
    target: str
    """The file or folder that `--plugin` or `--benchmark` takes, relative to the output folder."""


def make_start(kind: str, name: str, *, template: str | None = None, package: bool = False) -> Start:
    """Make the files of a new plugin.

    Args:
        kind: one of the keys of `TEMPLATES`, as the entry point groups spell them in the plural.
        name: name of the plugin on the command line, such as `my-method`.
        template: one of `TEMPLATES` of its kind; the first by default.
        package: whether to make a project with an entry point and a test, instead of one file.

    Raises:
        UsageError: for a name that is not allowed or is taken.
    """
    require_free_name(name)
    module = name.replace("-", "_")
    file = f"{kind}.py" if package else f"{module}.py"
    text = _read_template(f"{template or kind}.py")
    class_name = make_class_name(name, kind, text)
    code = rename_plugin(text, name, class_name, datetime.now(UTC).year)
    if not package:
        return Start({file: code}, file)
    facts = {
        "name": name,
        "module": module,
        "kind": kind,
        "word": WORDS.get(kind, kind),
        "title": make_title(name),
        "class_name": class_name,
    }
    source = f"{name}/src/{module}"
    files = {
        f"{name}/pyproject.toml": _render("pyproject.toml.j2", facts),
        f"{name}/README.md": _render("README.md.j2", facts),
        f"{source}/__init__.py": f'"""{make_title(name)}: a {facts["word"]} for fssbench."""\n',
        f"{source}/py.typed": "",
        f"{source}/{file}": code,
        f"{name}/tests/test_{module}.py": _render("test_plugin.py.j2", facts),
    }
    return Start(files, name)


def make_benchmark_start(name: str) -> Start:
    """Make the file of a new benchmark.

    Args:
        name: id of the benchmark, such as `my-skin`.

    Raises:
        UsageError: for a name that is not allowed or is taken.
    """
    require_free_name(name)
    file = f"{name}.toml"
    return Start({file: _render("benchmark.toml.j2", {"name": name, "title": make_title(name)})}, file)


def rename_plugin(code: str, name: str, class_name: str, year: int) -> str:
    """Give a template, whose plugin is called `mine`, another name.

    Args:
        code: the template.
        name: the name on the command line.
        class_name: name of the class.
        year: the year on the card of a method.

    Example:
        >>> rename_plugin('class Mine: name, title = "mine", "Mine"', "my-net", "MyNet", 2026)
        'class MyNet: name, title = "my-net", "My net"'
    """
    code = re.sub(r'"Mine"', f'"{make_title(name)}"', code)
    code = re.sub(r"\bMine\b", class_name, code)
    code = re.sub(r"\byear=\d+", f"year={year}", code)
    return re.sub(r"\bmine\b", name, code)


def make_class_name(name: str, kind: str, code: str) -> str:
    """Make the name of a class: `my-net` becomes `MyNet`, and `settings` becomes `SettingsMethod`.

    Args:
        name: the name on the command line.
        kind: the kind of the plugin, which is appended to a name that has another meaning.
        code: the template, whose names have a meaning.
    """
    class_name = "".join(part.capitalize() for part in re.split("[-_]", name))
    meant = {*re.findall(r"\w+", code), *dir(builtins), *keyword.kwlist} - {"Mine"}
    return f"{class_name}{kind.capitalize()}" if class_name in meant else class_name


def make_title(name: str) -> str:
    """Make a title: `my-net` becomes `My net`."""
    return re.sub("[-_]", " ", name).capitalize()


def require_free_name(name: str) -> None:
    """Refuse a name that cannot be a file, a module and a plugin, or that something else has.

    Raises:
        UsageError: with the reason and, if possible, a name that is allowed.
    """
    module = name.replace("-", "_")
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        similar = _suggest_name(name)
        meant = f" Did you mean {similar}?" if similar else ""
        raise UsageError(
            f"the name {name!r} is not allowed. Allowed: at most {LONGEST_NAME} letters a-z, digits, and single dashes "
            f"or underscores between them; the first is a letter.{meant}"
        )
    if keyword.iskeyword(module) or module in _DEVICES:
        owner = "Python" if keyword.iskeyword(module) else "Windows"
        raise UsageError(f"the name {name!r} is reserved by {owner}. Next: choose another name")
    if module in _NOT_MODULES or module.startswith("test_") or module.endswith("_test"):
        raise UsageError(f"the name {name!r} is one of setup and test files. Next: choose another name")
    if (kind := _find_kind(name)) is not None:
        raise UsageError(f"the name {name!r} is taken by a {kind}. Next: choose another name")
    if module in sys.stdlib_module_names or module == "fssbench" or _is_installed(module):
        raise UsageError(
            f"the name {name!r} is that of a Python module on this machine, which the file would hide. "
            "Next: choose another name"
        )


def _is_installed(module: str) -> bool:
    """Return whether an installed package has a module of this name."""
    folders = [folder for folder in sys.path if is_installed(os.path.join(folder, ""))]  # noqa: PTH118
    return PathFinder.find_spec(module, folders) is not None


def _suggest_name(name: str) -> str:
    """Make the nearest name that is allowed; empty if there is none."""
    if any(separator in name for separator in "/\\"):
        return ""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
    similar = re.sub(r"[^a-z0-9]+", "-", parts).strip("-")
    return similar if _NAME.fullmatch(similar) and len(similar) <= LONGEST_NAME else ""


def _find_kind(name: str) -> str | None:
    """Return what has this name already, in words; None if nothing has."""
    for registry in (METHODS, DATASETS, REPORTERS, BACKBONES):
        if name in registry.names():
            return f"{WORDS.get(registry.kind, registry.kind)} ({registry.plugin(name).origin})"
    if name in BENCHMARKS:
        return "benchmark"
    return "suite of benchmarks" if name in SUITES else None


def write_start(start: Start, folder: Path) -> list[Path]:
    """Write the files of a new plugin; nothing is overwritten.

    Args:
        start: the files.
        folder: the output folder, which is made if it does not exist.

    Returns:
        The paths of the files.

    Raises:
        UsageError: if one of the files, or the folder of the project, exists.
        DataError: if a file cannot be written; no file is left behind.
    """
    taken = folder / start.target
    if taken.exists() or taken.is_symlink():
        raise UsageError(
            f"{taken} exists already and is not overwritten. Next: choose another name, or another folder with --out"
        )
    written: list[Path] = []
    try:
        for name, text in start.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise DataError(f"{folder / name} cannot be written ({error.strerror})") from None
    return written


def _read_template(name: str) -> str:
    return (resources.files("fssbench.templates") / name).read_text(encoding="utf-8")


def _render(name: str, facts: Mapping[str, str]) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(keep_trailing_newline=True, undefined=StrictUndefined, autoescape=False)
    return environment.from_string(_read_template(name)).render(facts)
