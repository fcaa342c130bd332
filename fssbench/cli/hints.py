"""Composes the next commands in messages; they repeat the options that the user gave."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import click

from fssbench.errors import FssbenchError
from fssbench.files.secrets import HIDDEN, is_secret

PLUGINS = "fssbench.plugins"
"""Key of the values of `--plugin` in the metadata of click's context."""
FOLDERS = "fssbench.data-folders"
"""Key of the values of `--data-folder` there."""
_KEPT = {"plugins": PLUGINS, "data_folders": FOLDERS}
CARRIED = (
    "--plugin",
    "--data",
    "--data-folder",
    "--splits",
    "--backbone",
    "--weights",
    "--set",
    "--ablate",
    "--size",
)
"""Options that a next command repeats if it has them."""
BASELINE = "panet"
"""Method without training that next commands run beside a new plugin."""
_QUOTED = re.compile(r"`fssbench ([^`]*)`")


class Verb(click.Command):
    """A command whose errors name next commands with the options that were given."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and complete the next commands in the message of an error."""
        try:
            return super().invoke(ctx)
        except FssbenchError as error:
            error.args = (complete_hints(str(error)), *error.args[1:])
            raise


def complete_hints(text: str) -> str:
    """Add the options given to the running command to every `fssbench VERB ...` in backquotes.

    Commands that contain `...` or `--help` stay unchanged, because they are not run literally.
    """

    def complete(match: re.Match[str]) -> str:
        command: str = match[1]
        if "..." in command or "--help" in command:
            return match[0]
        return f"`fssbench {' '.join([command, *_select_carried(command.split(), CARRIED)])}`"

    return _QUOTED.sub(complete, text)


def compose_next_command(*words: object, carried: tuple[str, ...] = CARRIED) -> str:
    """Compose a command line that takes over options of the running command.

    Args:
        words: verb and arguments, each a word; they are quoted for the shell if necessary.
        carried: options that are taken over if the verb has them and `words` does not name them.

    Returns:
        The command line, beginning with `fssbench`.
    """
    named = [str(word) for word in words]
    return " ".join([shlex.join(["fssbench", *named]), *_select_carried(named, carried)])


def compose_plugin_command(kind: str, name: str, plugin: str | None) -> str:
    """Compose the command that uses a plugin, on miniature data if it has any, or a benchmark, on the given data.

    Args:
        kind: `method`, `dataset`, `reporter`, `backbone` or `benchmark`.
        name: the registered name.
        plugin: what `--plugin` takes; None for a plugin that is found by its name.
    """
    if kind == "benchmark":
        return compose_next_command("run", "--method", BASELINE, "--benchmark", name)
    words = ["run"] if kind != "reporter" else ["report"]
    if plugin is not None:
        words += ["--plugin", plugin]
    if kind == "reporter":
        return compose_next_command(*words, "--format", name)
    methods = (name, BASELINE) if kind == "method" else (BASELINE,)
    for method in dict.fromkeys(methods):
        words += ["--method", method]
    words += ["--benchmark", name if kind == "dataset" else "pascal-to-isic2018"]
    if kind != "dataset":
        words += ["--data", "mini"]
    elif "--data" not in _read_given_options():
        words += _choose_data(name)
    if kind == "backbone":
        words += ["--backbone", name, "--weights", "random"]
    return compose_next_command(*words)


def _choose_data(name: str) -> list[str]:
    """Return the option that names the files of a data set: none for a folder of the user's own."""
    from fssbench.plugins.registry import DATASETS

    if name not in DATASETS.names():  # `fssbench new` has just written it, with a miniature
        return ["--data", "mini"]
    cls = DATASETS.get(name)
    if cls.home is not None:
        return []
    return ["--data", "mini" if cls.has_miniature() else "DIR"]


def _select_carried(words: list[str], carried: tuple[str, ...]) -> list[str]:
    """Options to append to a command, quoted for the shell."""
    options, values = _find_options(words), _read_given_options()
    appended: list[str] = []
    for option in carried:
        if option in values and option in options and not options[option] & set(words):
            appended += _split_option(option, values[option])
    return [shlex.quote(word) for word in appended]


def _find_options(words: list[str]) -> dict[str, set[str]]:
    """Long options of the verb that `words` begin with, each with all its spellings."""
    from fssbench.cli import main

    command: click.Command | None = main
    context = click.Context(main)
    for word in words:
        if not isinstance(command, click.Group):
            break
        command = command.get_command(context, word)
    return {
        spelling: set(parameter.opts)
        for parameter in (command.params if command is not None else ())
        if isinstance(parameter, click.Option)
        for spelling in parameter.opts
    }


def _read_given_options() -> dict[str, Any]:
    """Return values that the user gave to the running command, by long option."""
    context = click.get_current_context(silent=True)
    if context is None:
        return {}
    values: dict[str, Any] = {}
    for parameter in context.command.params:
        if not isinstance(parameter, click.Option) or parameter.name is None:
            continue
        source = context.get_parameter_source(parameter.name)
        if source in {click.core.ParameterSource.COMMANDLINE, click.core.ParameterSource.DEFAULT_MAP}:
            kept = _KEPT.get(parameter.name)
            value = context.meta.get(kept) if kept else context.params.get(parameter.name)
            values |= {spelling: value for spelling in parameter.opts if value is not None}
    return values


def _split_option(option: str, value: Any) -> Iterator[str]:
    """Return an option with its value, as words of a command line."""
    if isinstance(value, bool):
        yield from [option] * value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from (option, f"{key}={HIDDEN if is_secret(str(key), str(entry)) else entry}")
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from (option, str(entry))
    else:
        yield from (option, str(value))
