"""Writes a reference page per command of `fssbench`, from click's own tree."""

from __future__ import annotations

import inspect

import click
from site_markdown import escape_markup, make_cell, make_table

from fssbench.cli import EXIT_CODES, main

FOLDER = "reference/commands"


def write_command_pages() -> dict[str, str]:
    """Write a page per command, and their table with the exit codes."""
    context = click.Context(main, info_name="fssbench")
    pages, rows = {}, []
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        if command is None:
            raise ValueError(f"the name {name!r} is listed but has no command")
        pages[f"{FOLDER}/{name}.md"] = f"# fssbench {name}\n\n" + _describe(command, context, name)
        rows.append((f"[`{name}`](commands/{name}.md)", make_cell(command.get_short_help_str(200))))
    codes = [line.split(None, 1) for line in EXIT_CODES.splitlines() if line.startswith("  ")]
    text = (
        "# Commands\n\nResults go to standard output, messages to standard error. `FSSBENCH_DEBUG=1` adds tracebacks, "
        "and most commands have `--json`.\n\n"
        + make_table(("command", "what it does"), rows)
        + "\n## Exit codes\n\n"
        + make_table(("code", "meaning"), ((code, make_cell(meaning)) for code, meaning in codes))
    )
    return {"reference/commands.md": text, **pages}


def _describe(command: click.Command, parent: click.Context, name: str, level: int = 2) -> str:
    """Describe a command, and the commands below it, with headings from the given level on."""
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    text = f"```text\n{usage}\n```\n\n{_format_help(command.help or '')}\n\n"
    rows = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            rows.append((f"<span class='option'>{make_cell(record[0])}</span>", make_cell(record[1])))
    text += make_table(("option", "meaning"), rows) + "\n"
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            child = command.get_command(context, sub)
            if child is not None:
                text += f"{'#' * level} {context.command_path} {sub}\n\n" + _describe(
                    child, context, sub, level + 1
                )
    return text


def _format_help(text: str) -> str:
    r"""Turn click's help into paragraphs; one that click may not wrap (`\\b`) stays in its lines."""
    paragraphs = inspect.cleandoc(text).split("\f")[0].split("\n\n")
    return "\n\n".join(
        f"```text\n{p.removeprefix(chr(8)).strip(chr(10))}\n```" if p.startswith("\b") else escape_markup(p)
        for p in paragraphs
    )
