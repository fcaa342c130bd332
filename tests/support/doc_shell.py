"""Checks and runs the shell commands of the documentation in this process."""

from __future__ import annotations

import os
import runpy
import shlex
import sys
from pathlib import Path

import click
import pytest
from command import run_command
from places import ROOT

from fssbench.cli import main

FOREIGN = {"cd", "git", "mkdocs", "mypy", "pip", "pytest", "ruff", "sha256sum", ".ci/run", "export", "."}
"""Programs of others, which are not run."""


def find_fssbench_words(command: str) -> list[str] | None:
    """The arguments of `fssbench` in a command; None if another program is called.

    Raises:
        ValueError: for a program that no page may call without being tested.
    """
    words = shlex.split(command, comments=True)
    while words and "=" in words[0] and words[0].split("=")[0].isupper():
        words = words[1:]
    if words[0] == "fssbench":
        return words[1:]
    if words[:3] == ["python", "-m", "fssbench"]:
        return words[3:]
    if words[0] == "torchrun" and "fssbench" in words:
        return words[words.index("fssbench") + 1 :]
    if words[0] in FOREIGN or words[0] == "python":
        return None
    raise ValueError(f"the program {words[0]!r} is not known to tests/support/doc_shell.py")


def parse_words(words: list[str], *, whole: bool = True) -> click.Command:
    """Compare the arguments of a command with click's tree: verb, options, numbers, choices, required values.

    Args:
        words: the arguments of `fssbench`.
        whole: whether required options and arguments must be there; a mention in a text may lack them.

    Returns:
        The command that they reach.

    Raises:
        click.UsageError: if `fssbench` would refuse them.
    """
    command: click.Command = main
    context = click.Context(main, info_name="fssbench")
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        child = command.get_command(context, rest[0])
        if child is None:
            raise click.UsageError(f"no command {rest[0]!r} in `fssbench {shlex.join(words)}`", context)
        command, context, rest = child, click.Context(child, info_name=rest[0], parent=context), rest[1:]
    options, _, order = command.make_parser(context).parse_args(list(rest))
    if "help" in options or "version" in options:
        return command
    for parameter in command.params:
        given = parameter in order and isinstance(options.get(str(parameter.name)), (str, int, list, tuple))
        if whole and parameter.required and not given:
            name = parameter.opts[0]
            raise click.UsageError(f"{name} is missing in `fssbench {shlex.join(words)}`", context)
        checked = isinstance(
            parameter.type, (click.Choice, click.types.IntParamType, click.types.FloatParamType)
        )
        if given and checked and parameter.nargs == 1 and not getattr(parameter, "is_flag", False):
            values = options[str(parameter.name)]
            for value in values if isinstance(values, (list, tuple)) else [values]:
                if isinstance(value, str) and not value.isupper():
                    parameter.type.convert(value, parameter, context)
    return command


def add_options(words: list[str], extra: list[str]) -> list[str]:
    """Add options to the arguments of `fssbench` if the verb knows the first of them, and the words lack it."""
    command = parse_words(words)
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    groups: list[list[str]] = []
    for word in extra:
        if word.startswith("-"):
            groups.append([word])
        else:
            groups[-1].append(word)
    return words + [word for group in groups if group[0] in known and group[0] not in words for word in group]


def run_line(command: str, folder: Path, stands_for: dict[str, str], extra: list[str], code: int = 0) -> str:
    """Run one command of a page in a folder, and return what it printed to standard output.

    Args:
        stands_for: what placeholders of the page stand for, such as `DATA`.
        extra: options to add.
        code: the exit code that is expected.
    """
    words = find_fssbench_words(command)
    if words is None:
        return _run_foreign(shlex.split(command, comments=True), folder, stands_for)
    words = add_options([stand_in(word, stands_for) for word in words], extra)
    done = run_command(*words, folder=folder)
    assert done.exit_code == code, f"{command}\n{done.output}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def stand_in(word: str, stands_for: dict[str, str]) -> str:
    """Replace placeholders, which are a word or a part of a path: `DATA`, `runs/RUN/plan.json`."""
    return "/".join(stands_for.get(part, part) for part in word.split("/"))


def _run_foreign(words: list[str], folder: Path, stands_for: dict[str, str]) -> str:
    if words[0] == "export":
        name, _, value = words[1].partition("=")
        os.environ[name] = stand_in(value, stands_for)
    elif words[0] == "pip":
        check_installation(words)
    elif words[0] == "python" and words[1].endswith(".py"):
        assert (folder / words[1]).is_file() or (ROOT / words[1]).is_file(), words[1]
        if (folder / words[1]).is_file():
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                patch.setattr(sys, "argv", words[1:])
                runpy.run_path(words[1], run_name="__main__")
    return ""


def check_installation(words: list[str]) -> None:
    """Check that the extras of a `pip install` command exist, and its files too."""
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in words:
        if "[" in word:
            assert set(word.split("[")[1].rstrip("]").split(",")) <= set(extras), word
        if word.endswith(".txt"):
            assert (ROOT / word).is_file(), word
