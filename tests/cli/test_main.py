from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner
from fuzzing import find_faults

from fssbench import errors
from fssbench.cli import EXIT_CODES, INTERRUPTED, TERMINATED, VERBS, main, output

HEAVY = {
    "torch",
    "torchvision",
    "numpy",
    "pandas",
    "matplotlib",
    "seaborn",
    "pydantic",
    "jinja2",
    "rich",
    "PIL",
}


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fssbench", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        (
            "import sys\nfrom fssbench.cli import main\n"
            f"main({arguments!r}, standalone_mode=False)\nprint('MODULES', *sys.modules)"
        )
        if arguments
        else "import sys, fssbench.cli\nprint('MODULES', *sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = {name.partition(".")[0] for name in run.stdout.split("MODULES ")[1].split()}
    assert not modules & HEAVY


def test_help_names_every_verb_and_exit_code() -> None:
    text = _run("--help").stdout
    for word in (*VERBS, *map(str, (0, 1, 2, 3, 4, 5, 130)), "FSSBENCH_DEBUG"):
        assert f" {word}" in text


def test_help_is_printed_after_the_verb_list_was_used() -> None:
    import fssbench.cli.list  # noqa: F401 - then the package has a module of the name of a builtin

    answer = CliRunner().invoke(main, ["--help"])
    assert answer.exit_code == 0, answer.output
    assert main.list_commands(click.Context(main)) == [*VERBS]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_of_its_own(verb: str) -> None:
    try:
        command = main.get_command(click.Context(main), verb)
    except ModuleNotFoundError as error:
        if error.name != f"fssbench.cli.{verb}":
            raise
        pytest.skip(f"verb {verb} has not landed")
    assert isinstance(command, click.Command)
    assert CliRunner().invoke(main, [verb, "--help"]).exit_code == 0


@pytest.mark.parametrize(
    ("given", "meant"), [("rn", "run"), ("reprot", "report"), ("lst", "list"), ("datas", "data")]
)
def test_unknown_verb_suggests(given: str, meant: str) -> None:
    run = CliRunner().invoke(main, [given])
    assert run.exit_code == 2
    assert f"unknown verb '{given}'" in run.output
    assert f"{meant}" in run.output.partition("Did you mean")[2]


def test_unknown_option_suggests() -> None:
    run = CliRunner().invoke(main, ["list", "methods", "--jsn"])
    assert run.exit_code == 2
    assert "--json" in run.output


def _with_verb(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    @click.command()
    def command() -> None:
        raise error

    monkeypatch.setattr("fssbench.cli.importlib.import_module", lambda _: SimpleNamespace(command=command))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("why"), 2),
        (errors.DataError("why"), 3),
        (errors.PluginError("why"), 4),
        (errors.LockedError("why"), 5),
        (click.UsageError("why"), 2),
    ],
)
def test_exit_codes(monkeypatch: pytest.MonkeyPatch, error: Exception, code: int) -> None:
    _with_verb(monkeypatch, error)
    run = CliRunner().invoke(main, ["run"])
    assert run.exit_code == code
    assert "rror: why" in run.stderr
    assert run.stdout == ""
    assert "Traceback" not in run.output


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_interrupt_ends_in_130(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    _with_verb(monkeypatch, error)
    run = CliRunner().invoke(main, ["run"])
    assert (run.exit_code, run.stderr) == (130, "interrupted\n")


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_verb(monkeypatch, errors.DataError("why"))
    run = CliRunner().invoke(main, ["run"], env={"FSSBENCH_DEBUG": "1"})
    assert run.exit_code == 3
    assert "Traceback" in run.stderr
    assert run.stderr.endswith("error: why\n")


def test_every_documented_exit_code_can_occur_and_every_code_is_documented() -> None:
    waiting, codes = [errors.FssbenchError], set()
    while waiting:
        kinds = waiting.pop().__subclasses__()
        waiting += kinds
        codes |= {kind.exit_code for kind in kinds}
    documented = {int(code) for code in re.findall(r"^  (\d+)  ", EXIT_CODES, flags=re.MULTILINE)}
    assert documented == {0, errors.BUG, INTERRUPTED, TERMINATED} | codes
    assert errors.BUG not in codes


def test_our_own_bug_ends_the_program_with_its_code() -> None:
    bug = "import fssbench.cli as c; c.importlib = None; c.main(['list'])"
    done = subprocess.run([sys.executable, "-c", bug], capture_output=True, text=True, check=False)
    assert done.returncode == errors.BUG
    assert "Traceback" in done.stderr


def test_our_own_bugs_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_verb(monkeypatch, ZeroDivisionError())
    run = CliRunner().invoke(main, ["run"])
    assert isinstance(run.exception, ZeroDivisionError)


def test_messages_cannot_command_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_verb(monkeypatch, errors.DataError("a\x1b[2Jb\u202ec\x00d"))
    run = CliRunner().invoke(main, ["run"])
    assert run.stderr == "error: a\\x1b[2Jb\\u202ec\\x00d\n"


NAMES = ["a[b]", "[/foo]", "[bold]x", "\x1b[31mred", "two\nlines", "tab\there", "ü 漢", ""]


@pytest.mark.parametrize("terminal", [False, True])
def test_tables_print_names_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    output.print_table(("name", "n"), [(name, i) for i, name in enumerate(NAMES)])
    text = capsys.readouterr().out
    for shown in ("a[b]", "[/foo]", "[bold]x", "\\x1b[31mred", "two lines", "tab here", "ü 漢"):
        assert shown in text
    assert "\x1b[31m" not in text
    if not terminal:
        assert [line.count("\t") for line in text.splitlines()] == [1] * (len(NAMES) + 1)


def test_json_is_one_object_a_line_without_nan(capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    row = {"a": float("nan"), "b": float("inf"), "c": np.float32(0.5), "d": {2, 1}, "e": (1, "x\ny"), 3: None}
    output.emit_json([row, {}])
    lines = capsys.readouterr().out.splitlines()
    strict = [json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in lines]
    assert strict == [{"a": None, "b": None, "c": 0.5, "d": [1, 2], "e": [1, "x\ny"], "3": None}, {}]


def test_fields(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_fields(
        {"a": 1, "long": ["x" * 50, "y\x1b" * 30], "short": [1, 5], "none": [], "map": {"k": "v\nw"}}
    )
    text = capsys.readouterr().out
    assert "short: 1, 5\n" in text
    assert "none:  -\n" in text
    assert "map:\n  k: v\n  w\n" in text
    assert "\x1b" not in text


def test_module_and_command_are_the_same() -> None:
    run = _run("--version")
    assert run.stdout.startswith("fssbench, version ")
    assert _run("nonsense").returncode == 2


@pytest.mark.parametrize(
    "line",
    [
        ["data", "forget", "one", "a\x9b31m\u202ec"],
        ["list", "--a\x9b31m\u202ec"],
        ["list", "methods", "a\x1b[31m\u2066", "b"],
        ["--a\x9b31m\u202ec"],
        ["a\x9b31m\u202ec"],
        ["run", "--episodes", "a\x9b31m\u202ec"],
    ],
)
def test_a_wrong_argument_reaches_no_terminal_as_control_characters(line: list[str]) -> None:
    result = CliRunner().invoke(main, line)
    assert result.exit_code == 2
    assert [*find_faults(result)] == []
    assert "202e" in result.output or "2066" in result.output
