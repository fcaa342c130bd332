"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from fssbench.cli.hints import PLUGINS
from fssbench.cli.output import one_line, printable
from fssbench.errors import PluginError, UsageError


def plugin_option(*, tolerant: bool = False, exposed: bool = False) -> Callable[[Any], Any]:
    """Make the option `--plugin`, which loads plugins before the verb begins.

    Args:
        tolerant: whether a plugin that does not load is a warning and not an error: for verbs that list.
        exposed: whether the command receives what was given, as the tuple `plugins`.

    Returns:
        A decorator.
    """

    def load(context: click.Context, _: click.Parameter, plugins: tuple[str, ...]) -> tuple[str, ...]:
        context.meta[PLUGINS] = plugins
        if plugins:
            from fssbench.plugins.registry import load_plugin
        for plugin in plugins:
            try:
                load_plugin(plugin)
            except (PluginError, UsageError) as error:
                if not tolerant:
                    raise
                click.echo(f"warning: {printable(one_line(str(error)))}", err=True)
        return plugins

    return click.option(
        "--plugin",
        "plugins",
        multiple=True,
        metavar="FILE|FOLDER|MODULE",
        callback=load,
        expose_value=exposed,
        help="Plugin: a file, a folder or a module that can be imported; repeatable.",
    )
