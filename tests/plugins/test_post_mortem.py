"""`--pdb`: the debugger opens at the plugin's line, once per failure, and only where somebody can type."""

from __future__ import annotations

import pdb
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fssbench import progress
from fssbench.cli import main
from fssbench.errors import PluginError
from fssbench.plugins import post_mortem
from fssbench.plugins.calls import plugin_call

BODIES = {
    "raises in torch": ("secret = 41\n        torch.cat([query, torch.zeros(2, 3)])", "p secret + 1", "42"),
    "raises itself": ("secret = 41\n        raise ValueError(secret)", "p secret + 1", "42"),
    "ends the program": ("secret = 41\n        raise SystemExit(0)", "p secret + 1", "42"),
    "is not finite": (
        "return torch.full((1, 2, 4, 4), float('nan'))",
        "p logits.shape",
        "torch.Size([1, 2, 4, 4])",
    ),
}


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal for the test runner of click, which keeps the streams of a command from a plain debugger."""
    monkeypatch.setattr(post_mortem, "has_terminal", lambda: True)
    monkeypatch.setattr(post_mortem, "make_debugger", lambda: pdb.Pdb(stdin=sys.stdin, stdout=sys.stdout))


def run(null: Any, plugin: Path, *arguments: object, typed: str = "") -> Result:
    words = ["run", "-b", "nulldata", "-k", 1, "--size", 32, "--data", null.data, "--episodes", 3]
    words += ["--out", null.folder / "runs", "--plugin", plugin, "-m", "mine", *arguments]
    return CliRunner().invoke(main, list(map(str, words)), input=typed)


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("name", BODIES)
def test_run_stops_at_the_line_of_the_plugin_and_then_reports_as_usual(
    null: Any, tmp_path: Path, write_method: Any, name: str
) -> None:
    body, typed, printed = BODIES[name]
    plugin = write_method(tmp_path / "mine.py", body=body)
    answer = run(null, plugin, "--pdb", typed=f"{typed}\nq\n")
    assert answer.exit_code == 4
    assert printed in answer.stdout
    assert answer.stderr.count("The debugger is at this line") == 1
    assert "error: method 'mine', episode" in answer.stderr


@pytest.mark.usefixtures("terminal")
def test_the_plugins_own_frame_is_shown_first(null: Any, tmp_path: Path, write_method: Any) -> None:
    plugin = write_method(tmp_path / "mine.py", body="query.reshape(-1, 7, 11)")
    answer = run(null, plugin, "--pdb", typed="where\nq\n")
    assert "mine.py(" in answer.stdout
    assert "query.reshape(-1, 7, 11)" in answer.stdout


@pytest.mark.usefixtures("terminal")
def test_the_import_of_a_plugin_and_check_open_it_too(null: Any, tmp_path: Path, write_method: Any) -> None:
    broken = write_method(tmp_path / "broken" / "mine.py", top="secret = 41\nraise KeyError(secret)")
    answer = run(null, broken, "--pdb", typed="p secret + 1\nq\n")
    assert "42" in answer.stdout
    assert answer.exit_code == 4
    failing = write_method(tmp_path / "mine.py", body="secret = 41\n        raise KeyError(secret)")
    words = ["check", str(failing), "--pdb"]
    answer = CliRunner().invoke(main, words, input="p secret + 1\nq\n" * 9)
    assert "42" in answer.stdout
    assert answer.exit_code == 4
    causes = answer.stderr.count("The debugger is at this line")
    assert causes == 1, "many checks fail for one cause"


def test_without_a_terminal_it_is_refused_before_anything_is_done(
    null: Any, tmp_path: Path, write_method: Any
) -> None:
    plugin = write_method(tmp_path / "mine.py", top="raise KeyError(1)")
    for words in (["run", "--plugin", plugin], ["train", "--plugin", plugin], ["check", plugin]):
        answer = CliRunner().invoke(main, [*map(str, words), "--pdb"])
        assert answer.exit_code == 2, words
        assert "terminal" in answer.stderr
        assert "KeyError" not in answer.stderr


@pytest.mark.usefixtures("terminal")
def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    answer = CliRunner().invoke(main, ["train", "-m", "pmnet", "-b", "pascal5i", "--pdb"])
    assert answer.exit_code == 2
    assert "torchrun" in answer.stderr


@pytest.mark.usefixtures("terminal")
def test_the_debugger_and_its_lines_end_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(post_mortem, "open_debugger", lambda *_: opened.append(1))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with post_mortem.debugging(), progress.only_lines():
        assert not isinstance(progress.choose_display(), progress.TerminalBar)
        with pytest.raises(PluginError), plugin_call("outer:"), plugin_call("inner:"):
            raise ValueError
    assert opened == [1]
    with pytest.raises(PluginError), plugin_call("later:"):
        raise ValueError
    assert opened == [1]
