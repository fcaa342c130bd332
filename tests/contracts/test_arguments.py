"""Arguments of Python calls: a wrong type or name is a sentence that names it, before anything is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fssbench
from fssbench.contracts.arguments import check_arguments
from fssbench.errors import UsageError

CALLS: dict[str, Callable[[], Any]] = {
    "method='panet'": lambda: fssbench.evaluate("panet", None),
    "plan='pascal5i'": lambda: fssbench.load_method("panet", plan="pascal5i"),
    "name=None": lambda: fssbench.load_method(None),
    "name=<class 'pathlib.Path'>": lambda: fssbench.load_method(Path),
    "ablate='nothing'": lambda: fssbench.load_method("panet", ablate="nothing"),
    "shot=1.5": lambda: fssbench.plan("pascal5i", shot=1.5),
    "seed=None": lambda: fssbench.plan("pascal5i", seed=None),
    "data=3": lambda: fssbench.plan("pascal5i", data=3),
    "shto": lambda: fssbench.plan("pascal5i", shto=1),
    "benchmark": lambda: fssbench.plan(),
    "methods=<class": lambda: fssbench.run(Path, "pascal5i"),
    "config='a=b'": lambda: fssbench.run("panet", "pascal5i", config="a=b"),
    "plugins=None": lambda: fssbench.run("panet", "pascal5i", plugins=None),
    "out=3": lambda: fssbench.train("pmnet", "pascal5i", out=3),
    "start=3": lambda: fssbench.train("pmnet", "pascal5i", start=3),
    "runs=['runs']": lambda: fssbench.report(["runs"]),
    "resamples='a'": lambda: fssbench.report(resamples="a"),
    "out=None": lambda: fssbench.report(out=None),
    "methods=['a', 'b']": lambda: fssbench.compare(["a", "b"]),
    "folders=3": lambda: fssbench.results(3),
}


@pytest.mark.parametrize("words", CALLS)
def test_a_wrong_argument_is_named(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        CALLS[words]()
    assert words in str(caught.value)
    assert "help(fssbench." in str(caught.value)
    assert not list(tmp_path.iterdir())


@check_arguments
def repeat(text: str, times: int = 1, *more: int, path: str | Path | None = None, **options: Any) -> Any:
    """Return what was given."""
    return text, times, more, path, options


def test_values_that_mean_the_same_are_converted_and_others_stay() -> None:
    assert repeat("a", np.int64(3), 4, np.int32(5)) == ("a", 3, (4, 5), None, {})
    assert repeat("a", "2", path=Path("x"), other=[1]) == ("a", 2, (), Path("x"), {"other": [1]})
    assert type(repeat("a", np.int64(3))[1]) is int
    for wrong in (lambda: repeat("a", 1.5), lambda: repeat(1), lambda: repeat("a", path=1), lambda: repeat()):
        with pytest.raises(UsageError, match=r"fssbench\.repeat"):
            wrong()


def test_a_long_value_is_shortened() -> None:
    with pytest.raises(UsageError) as caught:
        repeat("a", path=["x" * 500])
    assert len(str(caught.value)) < 300
