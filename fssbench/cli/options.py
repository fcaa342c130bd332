"""Options that several verbs share, each defined once, so that a name has one meaning everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fssbench.cli.hints import FOLDERS, PLUGINS
from fssbench.cli.numbers import SEED, THREADS, Real, Whole
from fssbench.cli.output import escape_text, reserve_output_for_json, to_one_line
from fssbench.errors import PluginError, UsageError
from fssbench.files.secrets import hide_in_text

PATH = click.Path(path_type=Path)
"""A file or folder, given as a `Path`; whether it exists is checked where it is read."""

BENCHMARK = "NAME[:VARIANT]|FILE"
"""Name of a benchmark: its id or a TOML file, with a variant if wanted."""
ELSEWHERE = "fssbench.elsewhere"
"""Key in the metadata of click's context: the command will run on another machine, whose device is not known here."""
Decorator = Callable[[Any], Any]


def plugin_option(*, tolerant: bool = False, exposed: bool = False) -> Decorator:
    """Make the option `--plugin`, which loads plugins before the verb begins.

    Args:
        tolerant: whether a plugin that does not load gives a warning instead of an error.
        exposed: whether the command receives the values, as the tuple `plugins`.

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
                click.echo(f"warning: {escape_text(to_one_line(str(error)))}", err=True)
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


def data_option(*, envvar: str | None = None) -> Decorator:
    """Make the options `--data`, the folder of the data sets, and `--data-folder`, one folder of the user's own.

    Args:
        envvar: environment variable that the option reads, for a verb that does not use `fssbench.data.location`.

    Returns:
        A decorator.
    """
    text = "Folder of the data sets, or `mini`. Default: FSSBENCH_DATA."

    def add(command: Any) -> Any:
        command = data_folder_option()(command)
        return click.option("--data", metavar="DIR|mini", envvar=envvar, help=text)(command)

    return add


def data_target_option() -> Decorator:
    """Make the option `--data` of verbs that write below the folder of the data sets."""
    text = "Folder of the data sets, for the output. Default: FSSBENCH_DATA."
    return click.option("--data", metavar="DIR", help=text)


def data_folder_option() -> Decorator:
    """Make the option `--data-folder`, which names folders of the user's own before the verb begins."""

    def name_folders(context: click.Context, _: click.Parameter, texts: tuple[str, ...]) -> None:
        context.meta[FOLDERS] = texts
        if texts and not context.resilient_parsing:
            from fssbench.plugins.registry import name_data_folder

            for text in texts:
                name_data_folder(text)

    return click.option(
        "--data-folder",
        "data_folders",
        multiple=True,
        metavar="NAME=DIR",
        callback=name_folders,
        expose_value=False,
        help="Your own images and masks in DIR as data set NAME (see `fssbench data adopt`); repeatable.",
    )


def splits_option() -> Decorator:
    """Make the option `--splits`, the folder of reference lists."""
    text = "Folder of reference list files (see `fssbench data splits`)."
    return click.option("--splits", metavar="DIR", help=text)


def protocol_option() -> Decorator:
    """Make the option `--protocol`, the rule by which episodes are drawn."""
    text = "`published` or `fssbench`. Default: that of the benchmark, `published` for all that are built in."
    return click.option("--protocol", metavar="NAME", help=text)


def json_option(text: str) -> Decorator:
    """Make the option `--json`; `text` describes one line of the output.

    It is read before the options that import plugins, because a plugin may print while it is imported.
    """

    def reserve(context: click.Context, _: click.Parameter, as_json: bool) -> bool:
        if as_json and not context.resilient_parsing:
            reserve_output_for_json(context)
        return as_json

    return click.option("--json", "as_json", is_flag=True, is_eager=True, callback=reserve, help=text)


def out_option(default: str | None, text: str) -> Decorator:
    """Make the option `--out`, a folder for output."""
    folder = None if default is None else Path(default)
    return click.option(
        "--out", "-o", type=PATH, metavar="DIR", default=folder, show_default=default is not None, help=text
    )


def runs_argument(*, required: bool = False) -> Decorator:
    """Make the argument RUNS of the verbs that read stored runs: run folders, or folders of them."""
    metavar = "RUNS..." if required else "[RUNS]..."
    return click.argument("runs", nargs=-1, required=required, type=PATH, metavar=metavar)


def device_option() -> Decorator:
    """Make the option `--device`, which is refused at once if this machine lacks the device."""

    def check(context: click.Context, _: click.Parameter, name: str) -> str:
        if context.resilient_parsing or context.meta.get(ELSEWHERE):
            return name
        from fssbench.loading.load import require_device

        return str(require_device(name))

    return click.option(
        "--device", default="auto", show_default=True, callback=check, help="cpu, cuda, cuda:1, mps."
    )


def pdb_option() -> Decorator:
    """Make the option `--pdb`, which opens the debugger at the line at which a plugin fails."""

    def enable(context: click.Context, _: click.Parameter, wanted: bool) -> None:
        if not wanted or context.resilient_parsing:
            return
        from fssbench.plugins.post_mortem import debugging
        from fssbench.progress import only_lines

        command = context.find_root()  # it is closed too if another option is wrong
        command.with_resource(debugging())
        command.with_resource(only_lines())  # a bar would be drawn over what is typed

    return click.option(
        "--pdb",
        is_flag=True,
        is_eager=True,  # before --plugin, which may fail too
        expose_value=False,
        callback=enable,
        help="Open the debugger at the line at which a plugin fails.",
    )


def threads_option() -> Decorator:
    """Make the option `--threads`, which holds for this process and those that it starts."""

    def apply(context: click.Context, _: click.Parameter, number: int | None) -> None:
        if number is not None and not context.resilient_parsing and not context.meta.get(ELSEWHERE):
            from fssbench.threads import set_threads

            set_threads(number)

    return click.option(
        "--threads",
        type=THREADS,
        metavar="N",
        callback=apply,
        expose_value=False,
        help="CPU threads; default: the choice of torch, one per core.",
    )


def _stay_with_debugger(_: click.Context, __: click.Parameter, value: bool | None) -> bool | None:
    """Return False beside `--pdb`: the debugger reads from the terminal, which a child process does not have."""
    from fssbench.plugins.calls import has_debugger

    return False if has_debugger() else value


def no_isolate_option() -> Decorator:
    """Make the option `--isolate/--no-isolate` of `check`; by default a method has its own process."""
    return click.option(
        "--isolate/--no-isolate",
        "isolate",
        default=True,
        show_default=True,
        callback=_stay_with_debugger,
        help="Check a method in a separate process, which is ended if it hangs.",
    )


def isolation_options(seconds: float) -> Decorator:
    """Make the options `--isolate` and `--episode-timeout`; the command receives both.

    Args:
        seconds: default of `--episode-timeout`.
    """

    def add(command: Any) -> Any:
        for option in (
            click.option(
                "--episode-timeout",
                type=click.FloatRange(0, min_open=True),
                default=seconds,
                show_default=True,
                metavar="SECONDS",
                help="End a method in a separate process that takes longer for an episode, with its stack.",
            ),
            click.option(
                "--isolate/--no-isolate",
                "isolate",
                default=None,
                callback=_stay_with_debugger,
                help="Run each method in a separate process, or all in this one. Default: those that are not built "
                "in, on the CPU of Linux.",
            ),
        ):
            command = option(command)
        return command

    return add


def cache_mb_option(text: str) -> Decorator:
    """Make the option `--cache-mb`, the memory for features; `text` is its help."""
    return click.option("--cache-mb", type=Whole(0), default=2048, show_default=True, help=text)


def feature_cache_options(text: str) -> Decorator:
    """Make the options `--cache-mb`, `--feature-cache` and `--cache-gb`.

    Args:
        text: help of `--feature-cache`.
    """

    def add(command: Any) -> Any:
        limit = "Largest size of that folder, GiB."
        for option in (
            click.option("--cache-gb", type=Real(0), default=20.0, show_default=True, help=limit),
            click.option("--feature-cache", type=PATH, metavar="DIR", help=text),
            cache_mb_option("Memory for features, MiB."),
        ):
            command = option(command)
        return command

    return add


def settings_option(name: str) -> Decorator:
    """Make the option `--set`, settings of the method; the command receives them as the dictionary `name`."""
    return click.option(
        "--set",
        name,
        multiple=True,
        metavar="KEY=VALUE",
        callback=_parse_settings,
        help="Method setting; repeatable. With several methods, METHOD.KEY=VALUE is for one of them.",
    )


def _parse_settings(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    from fssbench.loading.settings import refuse_reserved

    settings: dict[str, str] = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{hide_in_text(value)!r} must have the form KEY=VALUE")
        settings[key] = text
    refuse_reserved(settings)
    return settings


def resamples_option(default: int | None, text: str) -> Decorator:
    """Make the option `--resamples` of the bootstrap; without a default it is the number of a report."""
    text = text if default is not None else f"{text}  [default: as a report]"
    return click.option(
        "--resamples", type=Whole(1), default=default, show_default=default is not None, help=text
    )


def bootstrap_seed_option() -> Decorator:
    """Make the option `--seed` of verbs that resample stored runs."""
    return click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the bootstrap.")
