"""Loads the authors' outputs of transformer backbones: their recipe, and a backbone with the weights of a file."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from drawn_values import read_values
from places import load_golden_recipe, load_module
from undrawn_weights import nothing_hashed

from fssbench.backbones.vit.network import TimmBackbone


def load_modern_golden(shared: Path, name: str) -> Any:
    """Load a file of the authors' outputs; the test skips without it or without timm."""
    pytest.importorskip("timm")
    return open_modern_golden(shared, name)


def open_modern_golden(shared: Path, name: str) -> Any:
    """Load a file of the authors' outputs, for what needs no backbone of timm; the test skips without it."""
    path = shared / "golden" / "modern" / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"{path.name} is absent")
    return np.load(path)


def load_vit_recipe(shared: Path) -> ModuleType:
    """Load the module that makes the weights and episodes of the files."""
    sys.modules.setdefault("recipe", load_golden_recipe(shared))
    return load_module(shared / "golden" / "recipe_vit.py", "golden_recipe_vit")


def load_as_authors(cls: type[TimmBackbone], golden: Any, recipe: ModuleType) -> TimmBackbone:
    """Build a backbone with the weights of a file, in the authors' names."""
    skipped = tuple(map(str, golden["skip"])) or ("nothing is skipped",)
    state = {}
    for name, text in zip(map(str, golden["names"]), map(str, golden["shapes"]), strict=True):
        shape = tuple(int(part) for part in text.split(",") if part)
        is_skipped = name.endswith(skipped)
        state[name] = (
            torch.zeros(shape) if is_skipped else read_values(recipe.values, name, shape, str(golden["salt"]))
        )
    backbone = cls()
    with nothing_hashed():
        backbone.load(state, "reference")
    return backbone
