"""Outputs of the reference implementations: what cards declare is there, is checked, and nothing there is left out."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from places import load_golden_recipe
from shared_passes import share_passes

import fssbench
from fssbench.plugins.registry import METHODS

DECLARED = {
    file.partition(":")[0]: name for name in METHODS.names() for file in METHODS.get(name).card.parity
}
"""Method by file."""
SLOW = {"vat"}
BY_OWN_TEST = {"abcdfss", "ifa", "pmms", "repri", "ssp"}
"""Methods whose files have fields of other names, which the method's own test compares."""
BY_SCRIPT = sorted(set(DECLARED.values()) - BY_OWN_TEST)
"""Methods whose files the acceptance script reads whole."""


def leave_out_classifier(values: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Draw no values for the ImageNet classifier of a VGG: nine tenths of its weights, which no method reads."""
    classifier = re.compile(r"backbone\.classifier\.\d\.weight")

    def draw(name: str, shape: tuple[int, ...], salt: str = "") -> torch.Tensor:
        return torch.zeros(()).expand(shape) if classifier.fullmatch(name) else values(name, shape, salt)

    return draw


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "method", [pytest.param(m, marks=pytest.mark.slow) if m in SLOW else m for m in BY_SCRIPT]
)
def test_equals_the_reference(
    method: str, shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = str(shared / "golden" / "check_golden.py")
    monkeypatch.setattr(sys, "argv", [script, method])
    monkeypatch.setattr(sys, "path", [*sys.path])  # to which the script adds its folder
    load, recipe = fssbench.load_method, load_golden_recipe(shared)
    monkeypatch.setattr(fssbench, "load_method", lambda *given, **named: share_passes(load(*given, **named)))
    monkeypatch.setitem(sys.modules, "recipe", recipe)
    monkeypatch.setattr(recipe, "values", leave_out_classifier(recipe.values))
    with torch.no_grad(), pytest.raises(SystemExit) as end:  # the script leaves gradients off
        runpy.run_path(script, run_name="__main__")
    shown = capsys.readouterr().out
    assert not end.value.code, shown
    assert "golden files equal" in shown


def test_cards_declare_the_files_there_are(shared: Path) -> None:
    files = [*(shared / "golden").glob("*.npz"), *(shared / "golden" / "wave2").glob("*.npz")]
    there = {path.stem for path in files if path.stem.partition("_")[0] in METHODS.names()}
    if not there:
        pytest.skip("no golden files")
    assert there == set(DECLARED)


@pytest.mark.parametrize("file", sorted(DECLARED))
def test_what_is_declared_is_compared(file: str, shared: Path) -> None:
    """By the script, which must find the fields it compares; or by the method's own test, which names the file."""
    path = next((shared / "golden").rglob(f"{file}.npz"), None)
    if path is None:
        pytest.skip(f"no golden file {file}")
    method, fields = DECLARED[file], set(np.load(path).files)
    if method in BY_SCRIPT:
        assert file.startswith(f"{method}_")
        assert "logits_1shot" in fields
        assert fields & {"logits_5shot", "pred_5shot"}
    else:
        tests = next(Path(__file__).parent.rglob(f"test_{method}.py"))
        assert file in tests.read_text()
