"""Reads a `run ...` command that follows another command: its request, and its words without some options."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import click

from fssbench.cli.options import ELSEWHERE


def parse_run(context: click.Context, words: Sequence[str]) -> click.Context:
    """Parse the words after `run` as `fssbench run` does, without asking this machine for the device.

    Raises:
        click.UsageError: for what `fssbench run` refuses too.
    """
    from fssbench.cli.run import command

    context.meta[ELSEWHERE] = True
    return command.make_context("run", [*words], parent=context)


def list_run_words(parsed: click.Context, words: Sequence[str], without: Collection[str]) -> list[str]:
    """List the options of a run command again as words, those of its `--config` file included.

    Args:
        parsed: what `parse_run` returned.
        words: the words that it parsed.
        without: long options to leave out.
    """
    command = parsed.command
    given, _, _ = command.make_parser(parsed).parse_args([*words])
    values: dict[str, Any] = {**(parsed.default_map or {}), **given}
    listed: list[str] = []
    for option in command.params:
        name, spelling = option.name, option.opts[0]
        if name not in values or spelling in {*without, "--config"} or not isinstance(option, click.Option):
            continue
        value = values[name]
        if option.is_flag:
            spellings = option.opts if value else option.secondary_opts
            listed += spellings[:1]
        elif value is not None:
            for each in value if isinstance(value, list | tuple) else [value]:
                listed += [spelling, str(each)]
    return listed
