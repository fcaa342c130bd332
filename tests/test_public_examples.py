"""Every public function has type hints, a docstring with its arguments, and an example that runs."""

from __future__ import annotations

import contextlib
import doctest
import inspect
import typing
import warnings
from pathlib import Path
from typing import Any

import pytest

import fssbench
from fssbench.contracts.episodes import Plan

FUNCTIONS = [name for name in fssbench.__all__ if not name.startswith("_")]
NO_EXAMPLE_RUNS = {"predict": "it needs images; docs/notebooks/own-images.ipynb runs it"}


def find_example(documented: Any) -> str:
    text = inspect.getdoc(documented) or ""
    assert "Example:\n" in text
    return text.partition("Example:\n")[2]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_typed_and_documented(name: str) -> None:
    function = getattr(fssbench, name)
    parameters = inspect.signature(function).parameters
    hints = typing.get_type_hints(function)
    text = inspect.getdoc(function) or ""
    assert "return" in hints
    for parameter in parameters:
        assert parameter in hints, parameter
        assert f"{parameter}:" in text, parameter
    find_example(function)


def test_examples_run_as_they_stand(mini: Path, tmp_path: Path) -> None:
    """In one folder, one after another; the miniature is that of the session."""
    parser = doctest.DocTestParser()
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    objects = {name: getattr(fssbench, name) for name in FUNCTIONS} | {
        "fssbench": fssbench,
        "show": Plan.show,
    }
    with contextlib.chdir(tmp_path), warnings.catch_warnings(action="ignore"):
        for name, documented in objects.items():
            test = parser.get_doctest(find_example(documented), vars(fssbench).copy(), name, None, 0)
            test.globs.update({n: getattr(fssbench, n) for n in FUNCTIONS})
            skipped = [e for e in test.examples if e.options.get(doctest.SKIP)]
            assert test.examples
            assert bool(skipped) == (name in NO_EXAMPLE_RUNS), name
            for example in test.examples:
                example.source = example.source.replace('"mini"', repr(str(mini)))
            folder = tmp_path / name
            folder.mkdir()
            with contextlib.chdir(folder):
                assert runner.run(test).failed == 0, name
