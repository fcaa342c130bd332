"""The `fssbench` command: one module per verb, which only parses and prints.

`fssbench --help` reads only the table below.  The module of a verb is imported when the verb is used, and
torch, numpy and pandas are imported inside its command.
"""

from __future__ import annotations

import difflib
import errno
import faulthandler
import importlib
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NoReturn

import click

from fssbench import __version__
from fssbench.cli.exit_codes import exit_code_armed, run_program
from fssbench.cli.output import escape_text
from fssbench.cli.streams import open_closed_streams
from fssbench.cli.warning_lines import format_warning, print_plain_warnings
from fssbench.compat import require_torch
from fssbench.errors import DataError, FssbenchError, PluginError, UsageError
from fssbench.files.clean_text import shorten_middle
from fssbench.files.secrets import hide_in_message
from fssbench.kept_memory import freed_memory_kept
from fssbench.rare_garbage_collection import garbage_collected_rarely
from fssbench.termination import TERMINATED as TERMINATED, Terminated, handle_sigterm
from fssbench.threads import let_threads_sleep, use_one_thread_per_product

VERBS = {
    "run": "Evaluate methods on benchmarks. The same command again resumes.",
    "train": "Train a method on the source data of a benchmark. The same command again resumes.",
    "predict": "Segment images from labelled examples, without a benchmark.",
    "bench": "Measure parameters, FLOPs, time and memory of methods on this machine.",
    "report": "Write the comparison of stored runs.",
    "leaderboard": "Build a static site from many runs.",
    "compare": "Compare methods on the episodes they share: differences, wins, ranks.",
    "power": "Compute how many episodes or seeds would show a difference.",
    "list": "List methods, data sets, reporters, benchmarks, suites or runs.",
    "show": "Show all that is known about one name.",
    "data": "Fetch, verify, prepare or generate data sets; import split lists.",
    "episodes": "Write, show and replay episode plans.",
    "score": "Compute scores again from stored counts.",
    "merge": "Join the shards of a run.",
    "launch": "Submit a run command to a Slurm cluster as many jobs, and see what became of them.",
    "verify": "Check stored runs: seals, data, and a share of the episodes, which is computed again.",
    "new": "Write a new method, data set, backbone or reporter that works at once.",
    "check": "Check a plugin against its contract.",
    "cache": "Show and clear what lies in the cache folder.",
    "env": "Show versions, devices, settings and folders.",
}

SHARING_VERBS = {"report", "leaderboard", "compare", "list"}
"""Verbs that share their work among threads or processes of their own, and compute no network."""

EXIT_CODES = """\b
Exit codes:
  0    done
  1    a bug in fssbench; please report its traceback
  2    usage: an unknown name or option
  3    data, weights or stored results are missing or damaged
  4    a plugin does not load or breaks its contract
  5    another process owns the run folder
  130  interrupted; finished work is kept
  143  ended by SIGTERM after the episode in work; finished work is kept"""

INTERRUPTED = 130
_LONGEST_ERROR = 300
"""Characters of an error of the system that are shown; a name may be as long as a book."""


class Verbs(click.Group):
    """A group whose commands are the modules `fssbench.cli.<verb>`, imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List all verbs, in the order of the table."""
        return [*VERBS]  # the verb `list`, once imported, has that name in this package

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a verb and return its command."""
        if cmd_name not in VERBS:
            return None
        if cmd_name in SHARING_VERBS:
            use_one_thread_per_product()
        command: click.Command = importlib.import_module(f"fssbench.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a verb as click does; the error for an unknown verb suggests similar ones."""
        name = args[0]
        if name not in VERBS and not name.startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(name, VERBS, n=3, cutoff=0.5)
            meant = f" Did you mean {' or '.join(near)}?" if near else f" Verbs: {', '.join(VERBS)}."
            raise click.UsageError(f"unknown verb {name!r}.{meant}", ctx)
        if name in SHARING_VERBS:
            ctx.with_resource(freed_memory_kept())
            ctx.with_resource(garbage_collected_rarely())
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the verbs from the table; it would be slow to import every module for one line."""
        with formatter.section("Commands"):
            formatter.write_dl([*VERBS.items()])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program; a standard stream that is closed does not stop it."""
        open_closed_streams()
        return super().main(*args, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the options before the verb."""
        with _usage_errors_escaped():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; a user's mistake ends in its message and exit code, without a traceback."""
        let_threads_sleep()
        try:
            require_torch()
            with exit_code_armed(), handle_sigterm(), _usage_errors_escaped():
                return super().invoke(ctx)
        except FssbenchError as error:
            from fssbench.plugins.calls import is_debugging, was_shown

            if is_debugging():
                whole = traceback.format_exception(error, chain=not was_shown(error))
                click.echo("".join(whole), err=True, nl=False)
            click.echo(f"error: {escape_text(hide_in_message(str(error)))}", err=True)
            ctx.exit(error.exit_code)
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of our output has gone, which click reports
                raise
            _report_system_error(error)
            ctx.exit(UsageError.exit_code if error.errno == errno.ENAMETOOLONG else DataError.exit_code)
        except Warning as error:  # only `python -W error` and PYTHONWARNINGS make an exception of it
            click.echo(
                f"error: {format_warning(error, type(error))}. Next: without PYTHONWARNINGS=error and `-W error` this "
                "is a warning, and the command goes on",
                err=True,
            )
            ctx.exit(DataError.exit_code)
        except SystemExit as error:  # no verb raises this, so a plugin did; its code may be 0
            click.echo(
                f"error: a plugin ended the program (SystemExit: {error.code}). Finished work is kept. "
                "Next: run `fssbench check` on each plugin that you used",
                err=True,
            )
            ctx.exit(PluginError.exit_code)
        except Terminated:
            click.echo("ended by SIGTERM", err=True)
            ctx.exit(TERMINATED)
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


@contextmanager
def _usage_errors_escaped() -> Iterator[None]:
    """Context that escapes what a terminal would obey in click's own errors, which repeat arguments as they are."""
    try:
        yield
    except click.UsageError as error:
        text = error.format_message()
        if escape_text(text) == text:
            raise
        raise click.UsageError(escape_text(text), error.ctx) from None


def _report_system_error(error: OSError) -> None:
    """Print what the system refused: the errors that no verb explains better (names too long, folders closed to us)."""
    from fssbench.plugins.calls import is_debugging

    if is_debugging():
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    named = f"{error.filename}: " if error.filename else ""
    text = f"{named}{error.strerror or error or type(error).__name__}"
    click.echo(
        f"error: {escape_text(shorten_middle(text, _LONGEST_ERROR))}. "
        "Next: check this path, its permissions and its disk",
        err=True,
    )


@click.group(
    cls=Verbs,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="fssbench")
def main() -> None:
    """Benchmark few-shot segmentation methods on domains they have never seen.

    Results go to standard output, messages to standard error. FSSBENCH_DEBUG=1 adds tracebacks.
    """


def run_command() -> NoReturn:
    """Run the command line as a program; its exit code is 0 only if the verb has finished."""
    print_plain_warnings()
    with suppress(Exception):  # a stream that is closed
        # A plugin is imported in this process.  If that crashes it, the stack on standard error names its line.
        faulthandler.enable(all_threads=False)
    run_program(partial(main, prog_name="fssbench"))
