"""Calls into plugins: one policy for whatever they raise, and the plugin's own line in the error."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st

from fssbench.errors import DataError, DatasetContractError, FssbenchError, PluginError
from fssbench.plugins import calls
from fssbench.plugins.calls import explain_error, find_place, plugin_call, was_shown

HELPERS = """
import torch


def middle(value):
    return helper(value)


def helper(value):
    return torch.cat([value, torch.zeros(2, 3)])


def broken_text():
    class Odd(Exception):
        def __str__(self):
            raise SystemExit(3)
    raise Odd


def long_line():
    raise ValueError("{}")  # {}
""".format("m" * 1_000_000, "c" * 1_000)
"""A plugin's helper module; `helper` fails in line 10, inside torch."""


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "pc_helpers.py").write_text(HELPERS)
    monkeypatch.delitem(sys.modules, "pc_helpers", raising=False)
    importlib.invalidate_caches()
    return importlib.import_module("pc_helpers")


def error_of(call: Any, **options: Any) -> PluginError:
    with pytest.raises(PluginError) as caught, plugin_call("method 'x', episode 3: raised", **options):
        call()
    return caught.value


def test_last_line_of_the_plugin_is_named_and_no_folder(helpers: Any, tmp_path: Path) -> None:
    error = error_of(lambda: helpers.middle(torch.zeros(1)))
    assert str(error).startswith("method 'x', episode 3: raised RuntimeError: ")
    assert str(error).endswith("[pc_helpers.py:10 in helper: return torch.cat([value, torch.zeros(2, 3)])]")
    assert str(tmp_path) not in str(error)
    assert isinstance(error.__cause__, RuntimeError)


def test_without_a_frame_of_a_plugin_the_last_of_all_is_named() -> None:
    import json

    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("{")
    caught.value.__traceback__ = caught.value.__traceback__.tb_next  # type: ignore[union-attr]
    assert find_place(caught.value).startswith("decoder.py:")
    assert find_place(ValueError("never raised")) == ""
    assert explain_error(ValueError("never raised")) == "ValueError: never raised"


def test_strangers_code_goes_before_built_in_code(tmp_path: Path, write_method: Any) -> None:
    from fssbench import load_method
    from fssbench.plugins.registry import load_plugin

    path = write_method(tmp_path / "pc_mine.py", name="pc-mine", body="self.of_panet(query)")
    text = path.read_text().replace(
        "import torch\n", "import torch\nfrom fssbench.methods.panet import PANet\n", 1
    )
    path.write_text(
        f"{text}\n    def of_panet(self, query):\n        PANet.logits(None, query, query, query)\n"
    )
    load_plugin(path)
    method = load_method("pc-mine")
    error = error_of(
        lambda: method.logits(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 3, 8, 8), torch.zeros(1, 1, 8, 8))
    )
    assert "[pc_mine.py:" in str(error)
    assert "in of_panet: PANet.logits(" in str(error)


def test_installed_plugins_are_known_by_their_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "pc_installed.py").write_text("def outer(f):\n    return f(int)\n")
    (folder / "pc_library.py").write_text("def call(kind):\n    return kind('no number')\n")
    monkeypatch.syspath_prepend(str(folder))
    plugin, library = (importlib.import_module(name) for name in ("pc_installed", "pc_library"))
    for packages, file in (({"pc_installed"}, "pc_installed.py:2"), ({"pc_library"}, "pc_library.py:2")):
        monkeypatch.setattr(calls, "_list_plugin_packages", lambda packages=packages: packages)
        with pytest.raises(ValueError, match="no number") as caught:
            plugin.outer(library.call)
        error = caught.value
        error.__traceback__ = error.__traceback__.tb_next  # type: ignore[union-attr] # without this test's frame
        assert find_place(error).startswith(file)


def test_syntax_error_names_the_line_that_cannot_be_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "pc_syntax.py").write_text("A = 1\nclass (:\n")
    error = error_of(lambda: importlib.import_module("pc_syntax"))
    assert str(error).endswith("[pc_syntax.py:2: class (:]")


def test_text_that_cannot_be_computed_and_text_without_end(helpers: Any) -> None:
    assert "raised Odd: (its message cannot be printed) [pc_helpers.py:" in str(error_of(helpers.broken_text))
    text = str(error_of(helpers.long_line))
    assert len(text) < 1_000
    assert "mmm ... [pc_helpers.py:" in text


@given(st.sampled_from([SystemExit, GeneratorExit, MemoryError, StopIteration, RecursionError]), st.text())
def test_everything_but_an_interruption_becomes_a_plugin_error(kind: type[BaseException], text: str) -> None:
    def fail() -> None:
        raise kind(text)

    error = error_of(fail, kind=DatasetContractError)
    assert type(error) is DatasetContractError
    assert f"raised {kind.__name__}" in str(error)
    assert type(error.__cause__) is kind


def test_interruptions_and_what_the_caller_handles_pass() -> None:
    for raised, passes in ((KeyboardInterrupt(), ()), (OSError("gone"), (OSError,))):
        with pytest.raises(type(raised)) as caught, plugin_call("x", passes=passes):
            raise raised
        assert caught.value is raised


def test_errors_on_purpose_pass_or_get_their_place_and_never_a_frame() -> None:
    wanted = DataError("no file")
    with pytest.raises(DataError) as caught, plugin_call("x: raised"):
        raise wanted
    assert caught.value is wanted
    with pytest.raises(PluginError) as placed, plugin_call("x: raised", inside="x"):
        raise wanted
    assert str(placed.value) == "x: no file"
    assert explain_error(wanted) == "DataError: no file"


@pytest.mark.parametrize(
    "raised",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_lack_of_memory_says_what_to_make_smaller(raised: BaseException) -> None:
    def fail() -> None:
        raise raised

    text = str(error_of(fail, smaller="--size or --cache-mb"))
    assert "[test_calls.py:" in text
    assert text.endswith(". Next: choose a smaller --size or --cache-mb, or --device cpu")
    with pytest.raises(PluginError) as other, plugin_call("x", smaller="--size"):
        int("no number")
    assert "Next" not in str(other.value)


def test_traceback_is_printed_once_and_only_on_demand(
    helpers: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FSSBENCH_DEBUG", raising=False)
    quiet = error_of(lambda: helpers.middle(torch.zeros(1)))
    assert capsys.readouterr().err == ""
    assert not was_shown(quiet)
    monkeypatch.setenv("FSSBENCH_DEBUG", "1")
    shown = error_of(lambda: helpers.middle(torch.zeros(1)))
    whole = capsys.readouterr().err
    assert whole.count("in middle") == whole.count("in helper") == 1
    outer = FssbenchError("outer")
    outer.__cause__ = shown
    assert was_shown(outer)
    error_of(helpers.long_line)
    assert len(capsys.readouterr().err) < 2 * calls.LONGEST_TRACEBACK
