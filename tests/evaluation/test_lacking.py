"""A method that lacks a package is left out of a run of several, and refused alone; missing weights are all named."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from messages import error_names

from fssbench.errors import DataError, LackingError, UsageError
from fssbench.evaluation.settings import Settings
from fssbench.evaluation.suite import Request, prepare


def make_request(null: Any, *methods: str, **changes: Any) -> Request:
    return Request(
        methods=methods,
        benchmarks=("nulldata",),
        shots=(1,),
        episodes=2,
        data=str(null.data),
        settings=Settings(out=null.folder / "runs", panels=0, repeated=0),
        **changes,
    )


@pytest.fixture
def without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    for place in ("fssbench.methods.gfsam.method", "fssbench.loading.backbones"):
        monkeypatch.setattr(f"{place}.find_spec", lambda name: None if name == "timm" else find(name))


LACKING = {"gf-sam": "fssbench[sam]", "fssdino": "fssbench[timm]", "insid3": "fssbench[timm]"}
"""Methods that need timm as their card has them, and what they say is to be installed."""


@pytest.mark.usefixtures("without_timm")
@pytest.mark.parametrize("method", LACKING)
@pytest.mark.parametrize("download", [False, True])
def test_the_other_methods_go_on_without_it(null: Any, method: str, download: bool) -> None:
    prepared = prepare(make_request(null, method, "null", download=download))
    assert [[method.card.name for method in task.methods] for task in prepared.tasks] == [["null"]]
    (note,) = [note for note in prepared.notes if method in note]
    assert LACKING[method] in note


@pytest.mark.usefixtures("without_timm")
def test_several_that_lack_it_are_all_left_out(null: Any) -> None:
    prepared = prepare(make_request(null, *LACKING, "null"))
    assert [[method.card.name for method in task.methods] for task in prepared.tasks] == [["null"]]
    assert all(any(name in note and "left out" in note for note in prepared.notes) for name in LACKING)


@pytest.mark.usefixtures("without_timm")
@pytest.mark.parametrize("method", LACKING)
def test_alone_it_is_refused_with_the_extra(null: Any, method: str) -> None:
    with pytest.raises(LackingError) as refused:
        prepare(make_request(null, method))
    error_names(refused.value, method, LACKING[method])


@pytest.mark.usefixtures("without_timm")
def test_another_problem_is_not_hidden_by_it(null: Any) -> None:
    with pytest.raises(UsageError, match="no-such"):
        prepare(make_request(null, "gf-sam", "null", "no-such"))


def test_all_missing_weights_of_a_method_are_named_with_their_options(null: Any) -> None:
    pytest.importorskip("timm")
    with pytest.raises(DataError) as caught:
        prepare(make_request(null, "gf-sam", config={"segmenter": "sam-b-promptable"}))
    for part in ("dinov2-l", "sam_vit_b_01ec64.pth", "--set segmenter_weights=FILE", "--weights FILE"):
        assert part in str(caught.value)
