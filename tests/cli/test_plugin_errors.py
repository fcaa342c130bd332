"""Every verb names the plugin's own line where a plugin fails, and shows its whole traceback on demand."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from command import run_command
from places import FAILING_PLUGIN

from fssbench.cli import main

SOURCE = FAILING_PLUGIN
LINE = 1 + SOURCE.read_text().splitlines().index('    return int(f"planted in {place}")')
PLACE = f'failing_plugin.py:{LINE} in raise_error: return int(f"planted in {{place}}")'
METHOD = ("-m", "fragile", "-b", "squares", "--device", "cpu")
RUN = ("run", *METHOD, "--untrained", "-k", "1", "--episodes", "2", "--size", "32", "-q")
TRAIN = ("train", *METHOD, "--steps", "2", "--val-episodes", "2", "--val-every", "1")
BENCH = ("bench", "-m", "fragile", "--device", "cpu", "-k", "1", "--size", "32", "--repeats", "1")


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The plugin in a folder of its own, and the data folder `data` beside it."""
    (tmp_path / "data" / "squares").mkdir(parents=True)
    (tmp_path / "plugins").mkdir()
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copy(SOURCE, tmp_path / "plugins"))


@pytest.mark.parametrize(
    ("places", "arguments", "code"),
    [
        ("import init logits inference pool classes dataset image mask files", (*RUN, "--data", "data"), 4),
        (
            "import init logits backward inference pool classes dataset image mask files",
            (*TRAIN, "--data", "data"),
            4,
        ),
        ("import init logits", BENCH, 4),
        ("verify pool dataset", ("data", "verify", "squares", "--data", "data"), 4),
        ("prepare", ("data", "prepare", "squares", "data", "--data", "new"), 4),
        ("miniature", ("data", "mini", "new", "--dataset", "squares"), 4),
    ],
    ids=["run", "train", "bench", "verify", "prepare", "mini"],
)
def test_verb_names_the_line_of_the_plugin(
    places: str, arguments: tuple[str, ...], code: int, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fssbench.efficiency import measure

    monkeypatch.setattr(measure, "measure_in_subprocess", measure.measure)
    for place in places.split():
        monkeypatch.setenv("FAIL_AT", place)
        done = CliRunner().invoke(main, [*arguments, "--plugin", str(plugin)])
        output = " ".join(done.output.split())
        assert done.exit_code == code, (place, done.output)
        assert f"ValueError: invalid literal for int() with base 10: 'planted in {place}' [{PLACE}]" in output
        assert "Traceback" not in output


@pytest.mark.parametrize("place", ["init", "logits", "pool", "image", "mask", "write"])
def test_check_names_the_line_of_the_plugin(
    place: str, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL_AT", place)
    done = CliRunner().invoke(main, ["check", str(plugin)])
    assert done.exit_code == 4
    assert f"planted in {place}' [{PLACE}]" in " ".join(done.output.split())


@pytest.mark.parametrize("formats", [(), ("--format", "pages")], ids=["all", "named"])
@pytest.mark.parametrize("place", ["write", "lacking"])
def test_report_names_the_line_of_the_plugin(
    place: str, formats: tuple[str, ...], plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAIL_AT", raising=False)
    given = ["--plugin", str(plugin)]
    done = CliRunner().invoke(main, [*RUN, "--data", "data", *given])
    assert done.exit_code == 0, done.output
    monkeypatch.setenv("FAIL_AT", place)
    done = CliRunner().invoke(main, ["report", "runs", "--resamples", "10", *formats, *given])
    assert done.exit_code == 4, done.output
    assert f"planted in {place}' [{PLACE}]" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("place", "arguments"),
    [
        ("logits", (*RUN, "--data", "data")),
        ("logits", (*TRAIN, "--data", "data")),
        ("logits", BENCH),
        ("logits", ("check", "fragile")),
        ("verify", ("data", "verify", "squares", "--data", "data")),
        ("import", ("list", "methods")),
    ],
    ids=["run", "train", "bench", "check", "verify", "list"],
)
def test_whole_traceback_is_shown_on_demand(
    place: str,
    arguments: tuple[str, ...],
    plugin: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FAIL_AT", place)
    monkeypatch.setenv("FSSBENCH_DEBUG", "1")
    given = ("check", plugin) if arguments[0] == "check" else (*arguments, "--plugin", plugin)
    done = run_command(*given)
    # bench measures in a child, which writes to the real standard error
    shown = done.stderr + capfd.readouterr().err
    assert "in fail_at" in shown
    assert "in raise_error" in shown
    if arguments[0] != "check":  # where each check that fails shows its own
        assert shown.count(", in raise_error") == 1
    assert "Traceback" not in done.stdout


def test_a_crash_while_a_plugin_is_imported_names_its_line(tmp_path: Path) -> None:
    """Import and constructor run in the program's own process, so it ends; the stack tells by whose fault."""
    plugin = tmp_path / "crashing.py"
    plugin.write_text("import ctypes\n\nctypes.string_at(0)\n")
    done = subprocess.run(
        [sys.executable, "-m", "fssbench", "list", "datasets", "--plugin", str(plugin)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGSEGV
    assert "Segmentation fault" in done.stderr
    assert f'"{plugin}", line 3' in done.stderr
