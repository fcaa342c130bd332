"""Threads of torch sleep while they wait, unless the user chose otherwise, and there are as many as asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fssbench.cli import main
from fssbench.threads import (
    NUMBER_VARIABLES,
    PRODUCT_VARIABLES,
    WAIT_VARIABLES,
    let_threads_sleep,
    set_threads,
)


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without any of the variables; it is restored after the test."""
    for name in (*WAIT_VARIABLES, *NUMBER_VARIABLES):
        monkeypatch.setenv(name, "")  # so that monkeypatch knows what to restore
        monkeypatch.delenv(name)
    return monkeypatch


def _run(*arguments: str, **chosen: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if k not in (*WAIT_VARIABLES, *NUMBER_VARIABLES)}
    return subprocess.run(
        [sys.executable, "-m", "fssbench", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**inherited, **chosen},
    )


def test_threads_sleep_by_default(variables: pytest.MonkeyPatch) -> None:
    let_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert os.environ["GOMP_SPINCOUNT"] == "1000"


@pytest.mark.parametrize("name", WAIT_VARIABLES)
def test_the_choice_of_the_user_is_kept(name: str, variables: pytest.MonkeyPatch) -> None:
    variables.setenv(name, "7")
    let_threads_sleep()
    assert {n: os.environ[n] for n in WAIT_VARIABLES if n in os.environ} == {name: "7"}


@pytest.mark.skipif(
    sys.platform != "linux", reason="the OpenMP of other systems reports its settings differently"
)
@pytest.mark.parametrize(
    ("chosen", "policy"),
    [({}, "PASSIVE"), pytest.param({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE", marks=pytest.mark.slow)],
)
def test_openmp_has_read_the_policy_when_a_verb_computes(chosen: dict[str, str], policy: str) -> None:
    """OpenMP prints its settings when torch loads it: the variable must have been set before.

    That the choice of the user is kept, the test above shows in less time.
    """
    printed = _run("env", OMP_DISPLAY_ENV="VERBOSE", **chosen).stderr
    assert f"OMP_WAIT_POLICY = '{policy}'" in printed
    if "GOMP_SPINCOUNT" in printed:  # that of GCC
        assert ("GOMP_SPINCOUNT = '1000'" in printed) == (not chosen)


@pytest.mark.parametrize(
    ("verb", "chosen", "expected"),
    [
        ("compare", {}, ["1", "1"]),
        ("report", {"OPENBLAS_NUM_THREADS": "3"}, ["3", "1"]),
        ("env", {}, [None, None]),
    ],
)
def test_a_verb_that_draws_has_one_thread_per_product_before_numpy_is_read(
    verb: str, chosen: dict[str, str], expected: list[str | None]
) -> None:
    child = (
        "import json, os, sys\n"
        "from fssbench.cli import main\n"
        "assert 'numpy' not in sys.modules\n"
        f"main.get_command(None, {verb!r})\n"
        f"print(json.dumps([os.environ.get(name) for name in {PRODUCT_VARIABLES!r}]))"
    )
    inherited = {k: v for k, v in os.environ.items() if k not in PRODUCT_VARIABLES}
    answer = subprocess.run(
        [sys.executable, "-c", child], capture_output=True, text=True, check=True, env={**inherited, **chosen}
    )
    assert json.loads(answer.stdout) == expected


def test_number_of_threads_holds_for_this_process_and_its_children(variables: pytest.MonkeyPatch) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        set_threads(before + 1)
        assert torch.get_num_threads() == before + 1
        set_threads(1)  # a child has one per core unless it is told otherwise
        # what this function says without torch is what torch does: tests/cli/test_env.py
        child = "from fssbench.cli.torch_facts import count_threads; print(count_threads())"
        answer = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
        assert int(answer.stdout) == 1
    finally:
        torch.set_num_threads(before)


def test_run_computes_with_the_threads_that_were_asked_for(
    variables: pytest.MonkeyPatch, mini: Path, tmp_path: Path
) -> None:
    import torch

    before = torch.get_num_threads()
    options = ("-m", "panet", "-b", "pascal5i", "-f", "0", "-k", "1", "--episodes", "1", "--size", "64")
    place = (
        "--backbone",
        "efficientnet-lite0",
        "--weights",
        "random",
        "--data",
        str(mini),
        "--out",
        str(tmp_path),
    )
    try:
        result = CliRunner().invoke(main, ["run", *options, *place, "--threads", str(before + 1), "-q"])
        assert result.exit_code == 0, result.output
    finally:
        torch.set_num_threads(before)
    (manifest,) = tmp_path.glob("*/manifest.json")
    assert json.loads(manifest.read_bytes())["context"]["threads"] == before + 1
