"""Progress: a bar in a notebook, lines in a pipe, nothing if it is switched off."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from fssbench import progress
from fssbench.progress import Display, NotebookBar, PlainLines, Progress, StepProgress, choose_display


class Output:
    """What a notebook shows of one `display` call."""

    def __init__(self, bundle: dict[str, str]) -> None:
        self.states = [bundle]

    def update(self, bundle: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.states.append(bundle)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[Output]:
    """This process as the kernel of a notebook; the outputs that it shows."""
    outputs: list[Output] = []

    def display(bundle: dict[str, str], *, raw: bool, display_id: bool) -> Output:
        assert raw
        assert display_id
        outputs.append(Output(bundle))
        return outputs[-1]

    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    return outputs


def test_the_place_decides_what_is_shown(notebook: list[Output], monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(choose_display(), NotebookBar)
    assert type(choose_display(quiet=True)) is Display
    terminal = SimpleNamespace(get_ipython=lambda: SimpleNamespace(colors="Linux"))
    monkeypatch.setitem(sys.modules, "IPython", terminal)
    assert type(choose_display()) is PlainLines
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: True))
    assert type(choose_display()) is progress.TerminalBar


def test_a_notebook_has_one_output_that_ends_with_the_last_state(notebook: list[Output]) -> None:
    shown = Progress()
    plan = SimpleNamespace(benchmark="<b>x</b>", fold=0, shot=1, seed=0)
    with shown.over(3):
        for done in (1, 2, 3):
            shown.watch_plan(plan)("pm\x1bnet", done, 3)
    (output,) = notebook
    last = output.states[-1]
    assert last["text/plain"].startswith("3 of 3, ")
    assert 'value="3" max="3"' in last["text/html"]
    assert "<b>" not in last["text/html"]
    assert "\x1b" not in last["text/html"]


def test_work_without_parts_shows_nothing(notebook: list[Output], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress().over(3):
        pass
    assert notebook == []
    assert capsys.readouterr() == ("", "")


def test_an_interrupt_leaves_the_last_state(notebook: list[Output]) -> None:
    def work() -> None:
        with StepProgress() as shown:
            shown.show(1, 9, "loss 0.7")
            shown.show(2, 9, "loss 0.5")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert notebook[0].states[-1]["text/plain"].startswith("2 of 9, ")


def test_lines_in_a_pipe_are_rare_and_go_to_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(**options: Any) -> tuple[str, str]:
        shown = StepProgress(**options)
        with shown:
            shown.say("begins")
            for step in (5, 6):
                shown.show(step, 6, "loss 0.1")
        return capsys.readouterr()

    assert run() == ("", "begins\n")
    monkeypatch.setattr(progress, "EVERY", 0.0)
    out, err = run()
    assert out == ""
    assert [line.partition(" ")[0] for line in err.splitlines()] == ["begins", "5/6", "6/6"]
    assert run(quiet=True) == ("", "")


def test_stored_episodes_do_not_count_for_the_rate(notebook: list[Output]) -> None:
    shown = Progress()
    with shown.over(100):
        shown.skip("a stored run", 99)
    assert notebook[0].states[-1]["text/plain"].startswith("99 of 100, 0.0 per second")


def test_the_time_left_is_that_of_the_last_half_minute(
    notebook: list[Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fast method ends early, and the slow one goes on alone."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    shown = Progress()
    with shown.over(300):
        for done in range(1, 201):
            clock[0] += 0.02
            shown.advance("fast", done, "fast")
        for done in range(1, 61):
            clock[0] += 1.0
            shown.advance("slow", done, "slow")
    assert shown.done == 260
    assert notebook[0].states[-1]["text/plain"].startswith("260 of 300, 1.0 per second, 40 s left")
