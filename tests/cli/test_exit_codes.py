"""No plugin ends the program with exit code 0 before its work is complete."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable

import pytest
from command import run_command

from fssbench.cli.exit_codes import exit_code_armed, run_program
from fssbench.errors import BUG, PluginError

EXIT = os._exit


def exit_code_of(work: Callable[[], object]) -> int:
    """Run a function in a fork of this process, as a program, and return the exit code."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 99
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        atexit._clear()
        work()
        code = 0
    except SystemExit as end:
        atexit._run_exitfuncs()  # as Python does after this exception
        code = int(end.code or 0)
    finally:
        EXIT(code)


@pytest.mark.parametrize("module", ["os", "posix"])
def test_a_plugin_that_ends_the_process_gives_the_code_of_a_broken_plugin(module: str) -> None:
    def work() -> None:
        with exit_code_armed():
            sys.modules[module]._exit(0)

    assert exit_code_of(work) == PluginError.exit_code
    assert os._exit is EXIT


def test_a_fork_of_the_program_ends_as_it_likes() -> None:
    def work() -> None:
        with exit_code_armed():
            if child := os.fork():
                sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            os._exit(7)

    assert exit_code_of(work) == 7


@pytest.mark.parametrize(("code", "expected"), [(4, 4), (130, 130), ("a text", BUG), (0, 0)])
def test_a_handler_at_exit_changes_no_code_of_an_error(code: object, expected: int) -> None:
    def work() -> None:
        atexit.register(lambda: EXIT(0))
        run_program(lambda: sys.exit(code))  # type: ignore[arg-type]

    assert exit_code_of(work) == expected


@pytest.mark.parametrize("command", [lambda: None, lambda: sys.exit(0)])
def test_a_thread_that_a_plugin_has_left_does_not_keep_the_program_for_ever(
    monkeypatch: pytest.MonkeyPatch, command: Callable[[], object]
) -> None:
    monkeypatch.setattr("fssbench.cli.exit_codes.PATIENCE", 0.2)

    def work() -> None:
        threading.Thread(target=threading.Event().wait, name="endless").start()
        try:
            run_program(command)
        finally:
            threading._shutdown()  # type: ignore[attr-defined]  # Python waits so before it ends

    assert exit_code_of(work) == 0


def test_a_bug_keeps_its_code() -> None:
    def work() -> None:
        atexit.register(lambda: EXIT(0))
        run_program(lambda: 1 / 0)

    assert exit_code_of(work) == BUG


def test_a_verb_leaves_the_process_as_it_was() -> None:
    assert run_command("list", "suites").exit_code == 0
    assert os._exit is EXIT
