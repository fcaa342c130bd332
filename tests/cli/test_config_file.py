"""`--config`: each value has the type of its option, and nothing in such a file ends in a traceback."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pytest
from command import run_command
from fuzzing import as_toml, find_faults
from hypothesis import given, settings, strategies as st
from messages import error_names

from fssbench.cli import run
from fssbench.cli.config_file import read_config

OPTIONS = {p.opts[0].lstrip("-"): p for p in run.command.params if p.name != "config"}


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("out = 1", "text"),
        ("quiet = 1", "true or false"),
        ("untrained = 'yes'", "true or false"),
        ("json = 0", "true or false"),
        ("fold = [[1]]", "whole number"),
        ("fold = true", "whole number"),
        ("episodes = inf", "whole number"),
        ("episodes = 8.5", "whole number"),
        ("cache-gb = nan", "number"),
        ("cache-gb = true", "number"),
        ("plugin = 1", "text"),
        ("method = {a = 1}", "text"),
        ("data = ['a', 'b']", "one value"),
        ("device = 1979-05-27", "text"),
        ("set = {a = [1]}", "number"),
        ('out = "a\\u0000b"', "NUL"),
        ("size = 99999999999999999999", "8192"),
        ("shot = 1001", "1000"),
        ("workers = 100000", "1024"),
        (f"seed = {'9' * 5000}", "digits"),
        ("cache-mb = 99999999999", "too large"),
        ("out = 1\nout = 2", "TOML"),
        ("colour = 1", "unknown key"),
        ("a" * 10, "TOML"),
        (f"set = {'[' * 3000}", "TOML"),
        ("bad = \xff", "UTF-8"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key(line: str, wanted: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(line.encode("latin-1"))
    result = run_command("run", "-m", "panet", "--config", "c.toml", "-q", folder=tmp_path)
    assert result.exit_code == 2
    assert not [*find_faults(result)]
    assert error_names(result.output, wanted)


def test_right_values_have_the_types_of_their_options(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        'method = "panet"\nfold = 1\nshot = [1, 5]\nepisodes = "3"\nquiet = true\ncache-gb = 1\nout = "o"\n'
        "set = {a = 1, b = true, c = 'x'}\n"
    )
    context = run.command.make_context("run", ["--config", str(tmp_path / "c.toml"), "--shot", "2"])
    values = context.params
    assert (values["methods"], values["folds"], values["shots"]) == (("panet",), (1,), (2,))
    assert (values["quiet"], values["cache_gb"], values["out"]) == (True, 1.0, Path("o"))
    assert values["episodes"] == 3
    assert values["config_values"] == {"a": "1", "b": "True", "c": "x"}


@pytest.mark.parametrize("kind", ["absent", "folder", "device", "large"])
def test_what_is_no_configuration_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = {"folder": str(tmp_path), "device": "/dev/zero"}.get(kind, str(tmp_path / "c.toml"))
    if kind == "large":
        with Path(path).open("wb") as file:
            file.truncate(1 << 30)
    result = run_command("run", "-m", "panet", "--config", path)
    assert result.exit_code == 2
    assert error_names(result.output, path)


VALUES = st.recursive(
    st.one_of(
        st.integers(-(10**30), 10**30),
        st.floats(),
        st.booleans(),
        st.text(max_size=8),
        st.sampled_from(["mini", "x" * 300, "\x1b[1m", "~nobody-here", "%s"]),
    ),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=3,
)


def check_any_value(name: str, value: object) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("c.toml").write_text(f"{name} = {as_toml(value)}\n")
        # no data is named, so a sound configuration ends there
        result = run_command("run", "--config", "c.toml", "-b", "pascal-to-chestxray")
    assert result.exit_code in {0, 2, 3, 4}, (name, value, result.output)
    assert result.exception is None or isinstance(result.exception, SystemExit), (name, value)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(name=st.sampled_from(sorted(set(OPTIONS) - {"pdb", "data", "plan"})), value=VALUES)
def test_any_value_is_taken_or_refused(name: str, value: object) -> None:
    check_any_value(name, value)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@settings(max_examples=3000, deadline=None)
@given(name=st.sampled_from(sorted(set(OPTIONS) - {"pdb", "data", "plan"})), value=VALUES)
def test_very_many_values_are_taken_or_refused(name: str, value: object) -> None:
    check_any_value(name, value)


def test_the_file_is_read_by_one_function() -> None:
    (option,) = [p for p in run.command.params if p.name == "config"]
    assert option.callback is read_config
