"""`fssbench new`: write the start of a plugin."""

from __future__ import annotations

from pathlib import Path

import click

from fssbench.cli.hints import Verb, compose_next_command, compose_plugin_command
from fssbench.cli.options import json_option, out_option
from fssbench.cli.output import emit_json, escape_text
from fssbench.errors import UsageError

BENCHMARK = "benchmark"
KINDS = ("method", "dataset", "backbone", "reporter", BENCHMARK)


@click.command(cls=Verb)
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
@click.option("--trainable", is_flag=True, help="A method with weights, a loss and a recipe for `train`.")
@click.option("--wrap", "wrapped", is_flag=True, help="A function or network that is wrapped as a method.")
@click.option("--package", is_flag=True, help="A project that can be installed, with entry point and test.")
@out_option(".", "Folder of the new file or project.")
@json_option("One JSON object per written file.")
def command(
    kind: str, name: str, trainable: bool, wrapped: bool, package: bool, out: Path, as_json: bool
) -> None:
    """Write a new plugin that works at once: a file NAME.py, or with --package a project NAME.

    A benchmark is a file NAME.toml, which `run --benchmark` takes.

    Existing files are never overwritten.
    """
    from fssbench.new_plugins import make_benchmark_start, make_start, write_start

    if (trainable or wrapped) and kind != "method":
        option = "--trainable" if trainable else "--wrap"
        raise UsageError(f"{option} is for methods, but a {kind} was requested. Next: leave it out")
    if trainable and wrapped:
        raise UsageError("fssbench does not train a wrapped model. Next: give --trainable or --wrap")
    template = "trainable_method" if trainable else "wrapped_method" if wrapped else kind
    if package and kind == BENCHMARK:
        raise UsageError("--package is for plugins, but a benchmark is one file. Next: leave it out")
    start = (
        make_benchmark_start(name)
        if kind == BENCHMARK
        else make_start(kind, name, template=template, package=package)
    )
    paths = write_start(start, out)
    target = out / start.target
    if as_json:
        emit_json({"file": path} for path in paths)
    else:
        for path in paths:
            click.echo(escape_text(str(path)))
    if kind == BENCHMARK:
        check = compose_next_command("check", target, "--data", "mini")
        use = compose_plugin_command(kind, str(target), None)
        click.echo(f"Next: {escape_text(check)}\nThen: {escape_text(use)} --data mini", err=True)
        return
    commands = [compose_next_command("check", target)]
    if trainable:
        words = ("--plugin", target, "--method", name, "--benchmark", "pascal-to-isic2018")
        commands.append(compose_next_command("train", *words, "--data", "mini", "--steps", 20))
    else:
        commands.append(compose_plugin_command(kind, name, str(target)))
    for number, line in enumerate(commands):
        click.echo(f"{'Then' if number else 'Next'}: {escape_text(line)}", err=True)
