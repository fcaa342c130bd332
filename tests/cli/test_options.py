"""Options that several verbs share mean the same everywhere, and follow-up commands carry them."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from fuzzing import list_commands

from fssbench.cli import VERBS, main

SHARED = ("--data", "--splits", "--json", "--plugin", "--resamples", "--device")
"""Options that mean one thing in every verb that has them."""
PLUGIN = Path(__file__).parents[1] / "support" / "null_plugin.py"


@pytest.mark.parametrize("option", SHARED)
def test_option_has_one_definition(option):
    kinds: dict[object, list[str]] = defaultdict(list)
    for words, command in list_commands().items():
        if words in {"data prepare", "data fetch"}:
            continue  # their --data is a folder to write to
        for parameter in command.params:
            if option in parameter.opts:
                kinds[parameter.name, str(parameter.type), parameter.metavar, parameter.is_flag].append(words)
    assert len(kinds) == 1, dict(kinds)


READERS = ("report", "leaderboard", "compare", "power", "score", "verify", "list")
"""Verbs that read stored runs."""


@pytest.mark.parametrize("words", READERS)
def test_runs_are_an_argument_of_one_word_in_every_verb_that_reads_them(words):
    command = list_commands()[words]
    (argument,) = [
        p for p in command.params if isinstance(p, click.Argument) and "RUNS" in p.make_metavar(context())
    ]
    assert argument.nargs == -1
    text = " ".join(str(command.help).split())
    assert "RUNS (run folders, or folders of them" in text
    assert argument.required or "default: runs" in text


def context() -> click.Context:
    return click.Context(main)


@pytest.mark.parametrize(
    "words",
    [w for w, command in list_commands().items() if any("--device" in p.opts for p in command.params)],
)
def test_device_that_is_not_there_is_refused(words):
    given = {"run": ["-m", "panet"], "train": ["-m", "pmnet", "-b", "pascal5i"], "bench": ["-m", "panet"]}
    result = CliRunner().invoke(main, [*words.split(), *given.get(words, []), "--device", "gpu"])
    assert result.exit_code == 2
    assert "device 'gpu' cannot be used" in result.stderr


def test_next_command_of_a_missing_data_set_carries_plugin_and_data(tmp_path):
    folder = tmp_path / "with space"
    folder.mkdir()
    result = CliRunner().invoke(main, ["data", "verify", "--plugin", str(PLUGIN), "--data", str(folder)])
    assert result.exit_code == 3
    assert f"--plugin {PLUGIN} --data '{folder}'" in result.stderr


@pytest.mark.parametrize("words", [["report"], ["compare"], ["leaderboard"], ["verify"]])
def test_next_command_without_runs_can_be_run(tmp_path, words):
    result = CliRunner().invoke(main, [*words, str(tmp_path)])
    assert result.exit_code in {2, 3}
    for command in re.findall(r"`fssbench ([^`]*)`", result.stderr):
        assert command.split()[0] in VERBS
