"""A user without a home folder, as containers have: the sentence says what to set."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest
from command import run_command
from messages import error_names

from fssbench.errors import UsageError
from fssbench.files.cache import cache_folder
from fssbench.files.config import config_folder
from fssbench.files.home import expand_home


@pytest.fixture
def _homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise KeyError("uid not found")

    monkeypatch.setattr(pwd, "getpwuid", refuse)
    for name in (
        "HOME",
        "USER",
        "LOGNAME",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "FSSBENCH_CACHE",
        "FSSBENCH_CONFIG",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("_homeless")
def test_what_needs_a_home_names_the_variable() -> None:
    for find, variable in ((cache_folder, "FSSBENCH_CACHE"), (config_folder, "FSSBENCH_CONFIG")):
        with pytest.raises(UsageError) as error:
            find()
        assert error_names(error.value, variable, "HOME")
    with pytest.raises(UsageError) as error:
        expand_home("~/data")
    assert error_names(error.value, "~/data", "HOME")
    assert expand_home("plain/~x") == Path("plain/~x")


@pytest.mark.usefixtures("_homeless")
def test_verbs_that_need_no_cache_work_and_the_others_say_what_to_set(tmp_path: Path) -> None:
    for words in (["list", "methods"], ["list", "datasets"], ["env"], ["show", "panet", "--json"]):
        assert run_command(*words).exit_code == 0, words
    refused = run_command("episodes", "pascal-to-chestxray", "--data", "mini")
    assert refused.exit_code == 2
    assert error_names(refused.output, "FSSBENCH_CACHE")


@pytest.mark.usefixtures("_homeless")
def test_a_run_works_when_the_cache_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSSBENCH_CACHE", str(tmp_path / "cache"))
    line = "run -m panet -b pascal-to-chestxray -k 1 --episodes 1 --size 32 --panels 0 -q --data mini"
    assert run_command(*line.split(), "--out", tmp_path / "runs").exit_code == 0
