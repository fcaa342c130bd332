"""Data flows one way: which packages of fssbench may import which, read from the sources."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = (
    *("__main__", "cli", "launching", "new_plugins", "reporting", "testing", "conformance"),
    *(
        "methods",
        "datasets",
        "reports",
        "backbones",
        "templates",
        "api",
        "prediction",
        "verification",
        "analysis",
        "training",
        "efficiency",
        "inspection",
        "evaluation",
    ),
    *("runs", "loading", "episodes", "drawing", "data", "benchmarks", "plugins"),
    *("evidence", "metrics", "contracts", "images", "progress", "markup"),
    *(
        "files",
        "lazy",
        "plural",
        "forks",
        "threads",
        "kept_memory",
        "rare_garbage_collection",
        "termination",
        "compat",
        "clone",
        "installed",
        "errors",
    ),
)
"""Packages and modules of `fssbench`, from the user to the ground.  Each may import what stands after it."""
PLUGINS = {"methods", "datasets", "reports", "backbones", "templates"}
"""Rooms of plugins.  All but the backbones and the templates lie beside `fssbench/` in a checkout."""
FREE = {"fssbench.__version__"}


def sources() -> dict[str, Path]:
    """Every module of the program by its dotted name."""
    files = [f for folder in ("fssbench", *PLUGINS) for f in (ROOT / folder).rglob("*.py")]
    return {_dotted(f): f for f in files}


def _dotted(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "fssbench" else ("fssbench", *parts)
    return ".".join(parts).removesuffix(".__init__")


def imports(name: str, file: Path, known: set[str]) -> set[str]:
    """The modules of the program that a module imports anywhere in it, for types alone too."""
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    imported: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names if alias.name.split(".")[0] == "fssbench"}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            if module.split(".")[0] == "fssbench":
                full = {alias.name: f"{module}.{alias.name}" for alias in node.names}
                imported |= {f if f in known | FREE else module for f in full.values()}
    return imported - FREE - {name}


@cache
def graph() -> dict[str, set[str]]:
    """Imports of every module, read when a test first asks and not by each worker that collects the tests."""
    files = sources()
    return {name: imports(name, file, set(files)) for name, file in files.items()}


def room(name: str) -> str:
    """The package or module directly below `fssbench` that a module belongs to."""
    return name.split(".")[1] if "." in name else "fssbench"


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {room(name) for name in graph()} - {"fssbench"}
    assert rooms <= set(ORDER)
    assert len(set(ORDER)) == len(ORDER)


def test_imports_go_downwards_only() -> None:
    place = {name: number for number, name in enumerate(ORDER)}
    upward = sorted(
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in others
        if room(name) != room(other)
        and room(name) != "fssbench"
        and place[room(other)] < place.get(room(name), -1)
    )
    assert upward == []


def test_no_core_module_imports_a_plugin_or_the_face_of_the_contracts() -> None:
    wrong = sorted(
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in others
        if room(name) not in PLUGINS and room(other) in PLUGINS | {"api"}
    )
    assert wrong == []


@pytest.mark.parametrize("plugins", sorted(PLUGINS))
def test_built_in_plugins_import_the_api_alone(plugins: str) -> None:
    wrong = sorted(
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in others
        if room(name) == plugins and room(other) not in {plugins, "api"}
    )
    assert wrong == []


REPORT_ORDER = ("leaderboard", "formats", "paper", "sections", "content", "figures")
"""Folders of `reports`, from the reporters to the drawing.  Each may import from those that stand after it."""


def test_imports_inside_reports_go_downwards_only_and_figures_import_none_of_the_rest() -> None:
    place = {f"fssbench.reports.{name}": number for number, name in enumerate(REPORT_ORDER)}

    def folder(name: str) -> str:
        return ".".join(name.split(".")[:3])

    inside = {
        name: others for name, others in graph().items() if room(name) == "reports" and name.count(".") > 1
    }
    assert {folder(name) for name in inside} == set(place)
    upward = sorted(
        f"{name} imports {other}"
        for name, others in inside.items()
        for other in others
        if room(other) == "reports" and place.get(folder(other), -1) < place[folder(name)]
    )
    assert upward == []


def test_modules_import_in_no_circle() -> None:
    """Kahn's algorithm: take away modules that import nothing that is left, until none is left."""
    left = {name: {o for o in others if o in graph()} - {"fssbench"} for name, others in graph().items()}
    # Python imports it before any other; it imports what it offers when that is first used
    del left["fssbench"]
    while ready := [name for name, others in left.items() if not others & left.keys()]:
        for name in ready:
            del left[name]
    assert sorted(left) == []
