"""The linear probe against scikit-learn, its limits for strong and weak penalties, its taps, and one class alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fssbench.methods.linear_probe import LinearProbe, LinearProbeConfig
from fssbench.methods.linear_probe.logistic import Plane, fit_plane
from sklearn.linear_model import LogisticRegression

from fssbench.api import Tap, UsageError


def make_examples(seed: int = 0, count: int = 120, width: int = 6) -> tuple[Any, Any]:
    """Values of two overlapping classes, and soft shares of the object."""
    generator = np.random.default_rng(seed)
    shares = np.where(generator.random(count) < 0.2, 1.0, 0.0)
    shares[::7] = generator.random(len(shares[::7]))
    return generator.standard_normal((count, width)) + shares[:, None] * np.linspace(-1, 1, width), shares


def fit(values: Any, shares: Any, **changes: Any) -> Plane:
    settings: dict[str, Any] = {"penalty": 1e-3, "balance": True, "start": "zero", "iterations": 100}
    return fit_plane(values, shares, **settings | changes)


@pytest.mark.parametrize("balance", [True, False])
@pytest.mark.parametrize("start", ["zero", "means"])
@pytest.mark.parametrize("penalty", [1e-2, 1.0])
def test_equals_scikit_learn(penalty: float, start: str, balance: bool) -> None:
    """Each example is given twice there, once per class, with the weight of its share."""
    values, shares = make_examples()
    plane = fit(values, shares, penalty=penalty, balance=balance, start=start)
    parts = [each / (2 * each.sum() if balance else len(each)) for each in (shares, 1 - shares)]
    theirs = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000).fit(
        np.concatenate([values, values]), np.repeat([1, 0], len(values)), np.concatenate(parts)
    )
    assert np.abs(plane.weights - theirs.coef_[0]).max() < 1e-3
    assert plane.bias == pytest.approx(float(theirs.intercept_[0]), abs=1e-3)


def test_a_strong_penalty_gives_the_difference_of_means_and_a_weak_one_separates() -> None:
    values, shares = make_examples(1)
    strong = fit(values, shares, penalty=1e6).weights
    means = [each @ values / each.sum() for each in (shares, 1 - shares)]
    difference = means[0] - means[1]
    cosine = strong @ difference / np.linalg.norm(strong) / np.linalg.norm(difference)
    assert cosine > 0.9999
    wide, hard = np.random.default_rng(2).standard_normal((40, 60)), np.repeat([0.0, 1.0], 20)
    weak = fit(wide, hard, penalty=0.0)
    assert np.array_equal(weak.evaluate(wide) > 0, hard > 0.5)
    assert np.isfinite(weak.weights).all()


def test_neither_order_nor_repetition_matters() -> None:
    values, shares = make_examples(3)
    plane = fit(values, shares)
    for places in (np.arange(len(values))[::-1], np.tile(np.arange(len(values)), 2)):
        other = fit(values[places], shares[places])
        assert np.allclose(other.weights, plane.weights, atol=1e-4)


@pytest.mark.parametrize(("share", "expected"), [(0.0, -4.0), (1.0, 4.0)])
def test_examples_of_one_class_give_a_constant(share: float, expected: float) -> None:
    values, shares = make_examples()
    assert (fit(values, np.full_like(shares, share)).evaluate(values) == expected).all()


def test_without_iterations_the_classes_meet_half_way() -> None:
    values = np.array([[0.0, 0.0], [4.0, 2.0]])
    plane = fit(values, np.array([0.0, 1.0]), start="means", iterations=0)
    assert plane.evaluate(values.mean(axis=0, keepdims=True)) == pytest.approx(0)
    assert plane.evaluate(values[1:]) == pytest.approx(10)
    assert not fit(values, np.array([0.0, 1.0]), iterations=0).weights.any()


@torch.no_grad()
def test_the_query_has_no_effect_on_the_classifier(tiny: Callable[..., Any], episodes: Any) -> None:
    """Cells of a query that equal each other get equal outputs, whatever the rest of the query is."""
    query, support, mask = episodes(batch=2, shots=2)
    method = LinearProbe(LinearProbeConfig(), tiny()).eval()
    cells, objects = method.read(query, support)
    cells = {tap: maps.clone() for tap, maps in cells.items()}
    objects = {tap: maps[:1].expand(2, -1, -1, -1, -1) for tap, maps in objects.items()}
    for maps in cells.values():
        maps[0, :, 0, 0] = maps[1, :, 1, 1]
    logits = method.logits(cells, objects, mask[:1].expand(2, -1, -1, -1))
    assert torch.allclose(logits[0, :, 0, 0], logits[1, :, 1, 1])
    assert torch.allclose(logits[:, 0], -logits[:, 1])


def test_taps_are_the_last_of_one_kind(tiny: Callable[..., Any]) -> None:
    def name_taps(backbone: Any, **config: Any) -> tuple[str, ...]:
        return LinearProbe(LinearProbeConfig(**config), backbone).taps.query

    assert name_taps(tiny()) == ("4-1",)
    assert name_taps(tiny(), depth=3) == ("3-1", "4-0", "4-1")
    assert name_taps(tiny(), tap="3-1.relu", depth=2) == ("3-0.relu", "3-1.relu")
    transformer = tiny()
    transformer._taps = {
        name: Tap(name, 8, 16, 1 + block // 2)
        for block in range(8)
        for name in (f"block{block}", f"block{block}.norm")
    }
    assert name_taps(transformer) == ("block7.norm",)
    assert name_taps(transformer, depth=4) == tuple(f"block{block}.norm" for block in range(4, 8))
    assert name_taps(transformer, tap="block3", depth=2) == ("block2", "block3")


@pytest.mark.parametrize(("config", "text"), [({"depth": 10}, "has 9 taps"), ({"tap": "5-1"}, "5-1")])
def test_what_is_not_there_is_told(config: dict[str, Any], text: str, tiny: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match=text):
        LinearProbe(LinearProbeConfig(**config), tiny())
