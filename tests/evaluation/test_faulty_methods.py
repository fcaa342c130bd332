"""The engine on methods and data sets that answer wrongly or raise: an error that names them, never a number."""

from __future__ import annotations

import json
from pathlib import Path

import PIL.Image
import pytest
import torch
from null_harness import null_dataset, right

import fssbench
from fssbench.api import FssbenchError
from fssbench.errors import DataError, PluginError, UsageError
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.settings import Settings
from fssbench.runs.store import read_records, read_run

ACCEPTED = {
    "float64": lambda good: good.double(),
    "float16": lambda good: good.half(),
    "bfloat16": lambda good: good.bfloat16(),
    "requires_grad": lambda good: good.clone().requires_grad_(),
    "non-contiguous": lambda good: good.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2),
    "huge but finite": lambda good: torch.sign(good) * 3e38,
    "parameter": lambda good: torch.nn.Parameter(good),
    "other resolution": lambda good: good.repeat_interleave(2, 2).repeat_interleave(2, 3),
}
REFUSED = {
    "one nan": (lambda good: torch.where(good == good.flatten()[0], torch.nan, good), "NaN or infinite"),
    "all nan": (lambda good: torch.full_like(good, torch.nan), "NaN or infinite"),
    "inf": (lambda good: torch.full_like(good, torch.inf), "NaN or infinite"),
    "-inf in background": (
        lambda good: torch.cat([torch.full_like(good[:, :1], -torch.inf), good[:, 1:]], 1),
        "NaN or infinite",
    ),
    "float16 overflow": (lambda good: (good * 1e6).half(), "NaN or infinite"),
    "bool": (lambda good: good > 0, "torch.bool"),
    "int8": (lambda good: good.to(torch.int8), "torch.int8"),
    "complex": (lambda good: good.to(torch.complex64), "torch.complex64"),
    "one channel": (lambda good: good[:, :1], r"shape \(1, 1, 16, 16\)"),
    "three channels": (lambda good: torch.cat([good, good[:, :1]], 1), r"shape \(1, 3, 16, 16\)"),
    "no batch axis": (lambda good: good[0], r"shape \(2, 16, 16\)"),
    "batch of two": (lambda good: good.repeat(2, 1, 1, 1), r"shape \(2, 2, 16, 16\)"),
    "empty": (lambda good: good[:, :, :0], r"shape \(1, 2, 0, 16\)"),
    "other device": (lambda good: good.to("meta"), "on meta"),
    "numpy": (lambda good: good.numpy(), "ndarray"),
    "picture": (lambda good: PIL.Image.new("L", (16, 16)), "Image"),
    "none": (lambda good: None, "NoneType"),
    "tuple": (lambda good: (good,), "tuple"),
    "generator": (lambda good: (x for x in good), "generator"),
    "text": (lambda good: "mask", "str"),
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_output_accepted_by_rule_gives_the_same_counts(null, kind):
    plan = null.plan(3)
    (plain,) = null.run("plain", plan)
    odd = null.make_broken("odd", logits=lambda self, q, s, m: ACCEPTED[kind](right(q, s, m)))
    (run,) = null.run("odd", plan, odd)
    assert (run.path / "episodes.jsonl").read_bytes() == (plain.path / "episodes.jsonl").read_bytes()


@pytest.mark.parametrize("kind", REFUSED)
def test_wrong_output_is_an_error_and_never_a_number(null, kind):
    plan, (wrong, said) = null.plan(5), REFUSED[kind]
    calls = []

    def logits(self, q, s, m):
        calls.append(1)
        return wrong(right(q, s, m)) if len(calls) == 3 else right(q, s, m)

    methods = [null.make_broken("odd", logits=logits), null.method()]
    done, failed = evaluate_all(methods, plan, Settings(out=null.folder / "runs", panels=0))
    ((method, error),) = failed
    assert method is methods[0]
    assert isinstance(error, PluginError)
    assert str(error).startswith("method 'odd', episode 2 (nulldata, fold 0): odd.logits returned")
    with pytest.raises(PluginError, match=said):
        raise error
    (good,) = done  # the other method went on to its end
    assert good.score.episodes == 5
    (broken,) = (p for p in (null.folder / "runs").iterdir() if "-odd-" in p.name)
    assert sorted(read_run(broken).records) == [0, 1]
    assert json.loads((broken / "summary.json").read_text())["status"] == "incomplete"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda m: m[:, 0], "torch.float32 (1, 16, 16)"),
        (lambda m: m[0, 0] > 0, "torch.bool (16, 16)"),
        (lambda m: (m[:, 0] > 0)[:, :8], "torch.bool (1, 8, 16)"),
        (lambda m: (m[:, 0] > 0).numpy(), "ndarray"),
        (lambda m: None, "NoneType"),
    ],
)
def test_wrong_mask_of_an_own_segment(null, answer, said):
    odd = null.make_broken("odd", segment=lambda self, q, s, m, *, size=None: answer(m))
    with pytest.raises(PluginError) as error:
        null.run("runs", null.plan(2), odd)
    assert f"episode 0 (nulldata, fold 0): segment returned {said}, expected torch.bool (1, 16, 16)" in str(
        error.value
    )


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Odd(BaseException):
    pass


class UnpicklableError(Exception):
    def __reduce__(self) -> str:
        raise TypeError("no pickle")


RAISED = [
    ValueError("bad value"),
    SystemExit(0),
    UnprintableError(),
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory"),
    GeneratorExit(),
    Odd("not even an Exception"),
    UnpicklableError(),
    RecursionError("deep"),
    StopIteration(),
    AssertionError(),
    ValueError("x" * 1_000_000),
    DataError("a method's own data error"),
    UsageError("K must be 5"),
]


PLACES = (0, 2, 3)
"""The first episode, one in the middle and the last one of four."""


@pytest.mark.parametrize("number", range(len(RAISED)), ids=[type(each).__name__ for each in RAISED])
def test_method_that_raises_stops_alone(null, number):
    """The first exception is raised at each place, the others take turns: what is stored depends on the place alone."""
    plan, raised = null.plan(4), RAISED[number]
    for at in PLACES if number == 0 else (PLACES[number % len(PLACES)],):
        calls = []

        def logits(self, q, s, m, at=at, calls=calls):
            calls.append(1)
            if len(calls) == at + 1:
                raise raised
            return right(q, s, m)

        methods = [null.make_broken("odd", logits=logits), null.method()]
        out = null.folder / f"runs{at}"
        done, ((_, error),) = evaluate_all(methods, plan, Settings(out=out, panels=0))
        assert f"method 'odd', episode {at} " in str(error)
        assert len(str(error)) < 1000
        assert (f"[{Path(__file__).name}:" in str(error)) is not isinstance(raised, FssbenchError)
        short = isinstance(raised, MemoryError | torch.OutOfMemoryError)
        assert ("Next: choose a smaller --size or --cache-mb" in str(error)) is short
        assert done[0].score.episodes == 4
        (broken,) = (p for p in out.iterdir() if "-odd-" in p.name)
        assert sorted(read_records(broken / "episodes.jsonl")[0]) == list(range(at))


def test_evaluate_raises_what_broke_the_method_and_a_mended_one_goes_on(null):
    fail = [True]

    def logits(self, q, s, m):
        if fail and float(m.sum()) >= 0:
            fail.pop()
            raise ValueError("once")
        return right(q, s, m)

    odd = null.make_broken("odd", logits=logits)
    with pytest.raises(PluginError, match=r"episode 0 .*: raised ValueError: once"):
        fssbench.evaluate(odd, null.plan(3), out=null.folder / "runs")
    assert fssbench.evaluate(odd, null.plan(3), out=null.folder / "runs").score.episodes == 3


def test_interrupt_inside_a_method_ends_the_run_and_keeps_what_is_done(null):
    calls = []

    def logits(self, q, s, m):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return right(q, s, m)

    odd = null.make_broken("odd", logits=logits)
    with pytest.raises(KeyboardInterrupt):
        null.run("runs", null.plan(6), odd)
    run = read_run(null.find_run("runs"))
    assert (run.done, run.status) == (3, "incomplete")
    assert json.loads((run.path / "summary.json").read_text())["episodes"] == {"counted": 3, "planned": 6}
    assert run.sessions()[0].episodes == 3


def test_data_set_that_raises_names_the_item(null, monkeypatch):
    cls = type(null_dataset(null))

    def image(self, item):
        raise ZeroDivisionError("in the reader")

    monkeypatch.setattr(cls, "image", image)
    with pytest.raises(PluginError, match=r"episode 0: data set 'nulldata', item '.*': ZeroDivisionError"):
        null.run("runs", null.plan(2))
    monkeypatch.setattr(cls, "image", lambda self, item: (_ for _ in ()).throw(OSError("gone")))
    with pytest.raises(DataError, match=r"item '.*' of nulldata: gone"):
        null.run("runs", null.plan(2))
