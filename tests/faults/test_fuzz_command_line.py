"""No command line ends in a traceback, in an exit code that is not documented, or in raw control characters."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner
from fuzzing import command_lines, find_faults, list_commands, make_paths
from hypothesis import HealthCheck, given, settings, strategies as st
from registries import plugins_restored

from fssbench.cli import main

QUICK = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
LONG = settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
HEAVY = {"run", "train", "bench", "predict", "data mini", "check", "new"}
"""Verbs that compute, draw or write for long if a command line happens to be right."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """A folder with files of every kind, in which the commands work; its names."""
    folder = tmp_path_factory.mktemp("strangers")
    with contextlib.chdir(folder):
        yield make_paths(folder)


def answer(line: list[str]) -> list[str]:
    with plugins_restored():
        before = dict(os.environ)
        try:
            result = CliRunner().invoke(main, line)
        finally:
            os.environ.clear()
            os.environ.update(before)
    return [*find_faults(result)]


@pytest.fixture(scope="module")
def light() -> dict[str, click.Command]:
    return {words: command for words, command in list_commands().items() if words not in HEAVY}


@QUICK
@given(data=st.data())
def test_command_lines_at_random(
    data: st.DataObject, light: dict[str, click.Command], place: tuple[str, ...]
) -> None:
    line = data.draw(command_lines(light, place))
    assert answer(line) == [], line


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@LONG
@given(data=st.data())
def test_many_command_lines(data: st.DataObject, place: tuple[str, ...]) -> None:
    line = data.draw(command_lines(list_commands(), place))
    assert answer(line) == [], line
