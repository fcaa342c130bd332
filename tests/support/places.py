"""Paths that several tests use: the checkout, plugin files, the package of plugins, the golden recipe."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

SUPPORT = Path(__file__).parent
ROOT = SUPPORT.parents[1]
DOCS = ROOT / "docs"
TEMPLATES = ROOT / "fssbench" / "templates"
PLUGIN_PACKAGE = SUPPORT.parent / "plugin_package"
NULL_PLUGIN = SUPPORT / "null_plugin.py"
TRAIN_PLUGIN = SUPPORT / "train_plugin.py"
TOY_PLUGIN = SUPPORT / "toy_plugin.py"
BENCH_PLUGIN = SUPPORT / "bench_plugin.py"
FAILING_PLUGIN = SUPPORT / "failing_plugin.py"


def load_module(file: Path, name: str) -> ModuleType:
    """Import a file that is not on the path; a second call returns the same module."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def load_golden_recipe(shared: Path) -> ModuleType:
    """Load the module that makes the weights and inputs of the golden outputs."""
    return load_module(shared / "golden" / "recipe.py", "golden_recipe")
