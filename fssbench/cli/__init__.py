"""The `fssbench` command: one small module a verb; parses and prints only.

The table below is all that `fssbench --help` reads: a verb's module is imported when the verb is
used, and torch, numpy and pandas only inside its command.
"""

from __future__ import annotations

import difflib
import importlib
import traceback
from typing import Any

import click

from fssbench import __version__
from fssbench.cli.output import printable
from fssbench.compat import require_torch
from fssbench.errors import FssbenchError, PluginError

VERBS = {
    "run": "Evaluate methods on benchmarks; the same command again resumes.",
    "train": "Train a method on the source of a benchmark; the same command again resumes.",
    "bench": "Measure parameters, FLOPs, time and memory of methods on this machine.",
    "report": "Write the comparison of stored runs.",
    "leaderboard": "Build a static site from many runs.",
    "compare": "Compare methods on the episodes they share: differences, wins, ranks.",
    "power": "Tell how many episodes or seeds would show a difference.",
    "list": "List methods, data sets, reporters, benchmarks, suites or runs.",
    "show": "Show all that is known about one name.",
    "data": "Verify, prepare or generate data sets; import split lists.",
    "episodes": "Write, show and replay episode plans.",
    "score": "Compute scores again from stored counts.",
    "merge": "Join the shards of a run.",
    "verify": "Check stored runs: seals, data, a share of the episodes computed again.",
    "check": "Check a plugin against its contract.",
    "env": "Show versions, devices, settings and folders.",
}

EXIT_CODES = """\b
Exit codes:
  0    done
  1    an error in fssbench itself, with its traceback: please report it
  2    usage: an unknown name or option
  3    data, weights or stored results missing or damaged
  4    a plugin that does not load or does not keep its contract
  5    a run folder that another process owns
  130  interrupted; what was finished is kept"""

INTERRUPTED = 130


class Verbs(click.Group):
    """A group whose commands are the modules `fssbench.cli.<verb>`, imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order in which they are met."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module and take its `command`."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"fssbench.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As in click, and an unknown verb names its neighbours."""
        name = args[0]
        if name not in VERBS and not name.startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(name, VERBS, n=3, cutoff=0.5)
            meant = f" Did you mean {' or '.join(near)}?" if near else f" Verbs: {', '.join(VERBS)}."
            raise click.UsageError(f"unknown verb {name!r}.{meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs from the table: importing ten modules to print ten lines would be slow."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; a user's mistake ends in its message and exit code, without a traceback."""
        try:
            require_torch()
            return super().invoke(ctx)
        except FssbenchError as error:
            from fssbench.plugins.calls import is_debugging, was_shown

            if is_debugging():
                whole = traceback.format_exception(error, chain=not was_shown(error))
                click.echo("".join(whole), err=True, nl=False)
            click.echo(f"error: {printable(str(error))}", err=True)
            ctx.exit(error.exit_code)
        except SystemExit as error:  # no verb ends this way: a plugin did, and its code may be 0
            click.echo(
                f"error: a plugin ended the program (SystemExit: {error.code}); what was finished is kept. "
                "Next: `fssbench check` on each plugin that was used",
                err=True,
            )
            ctx.exit(PluginError.exit_code)
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


@click.group(
    cls=Verbs,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="fssbench")
def main() -> None:
    """Benchmark few-shot segmentation methods on domains they have never seen.

    Results go to standard output, talk to standard error. FSSBENCH_DEBUG=1 adds tracebacks.
    """
