"""The soft IoU beside a method's loss."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st
from sklearn.metrics import jaccard_score
from torch.nn import functional

import fssbench
from fssbench.errors import UsageError
from fssbench.training.batches import Batch
from fssbench.training.loss import Loss, soft_iou

SURE = 60.0


def drawn(seed: int, share: float = 0.4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sure logits, targets and ignored pixels of 3 episodes of 6 x 7 pixels."""
    rng = torch.Generator().manual_seed(seed)
    result, target, ignore = (torch.rand((3, 6, 7), generator=rng) < p for p in (share, 0.4, 0.2))
    logits = torch.stack([~result, result], dim=1).float() * SURE
    return logits, target & ~ignore, ignore


@given(st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_of_sure_masks_it_is_the_iou_of_scikit_learn(seed):
    logits, target, ignore = drawn(seed)
    for result, (one, truth, left) in zip(
        soft_iou(logits, target, ignore), zip(logits, target, ignore, strict=True), strict=True
    ):
        predicted = (one[1] > one[0])[~left]
        union = int((predicted | truth[~left]).sum())
        iou = jaccard_score(truth[~left].numpy(), predicted.numpy(), zero_division=0.0)
        assert float(result) == pytest.approx((iou * union + 1) / (union + 1))


@given(st.integers(0, 10**6), st.floats(-3, 3))
@settings(max_examples=30, deadline=None)
def test_ignored_pixels_move_nothing(seed, shift):
    logits, target, ignore = drawn(seed)
    moved = logits + shift * ignore[:, None] * torch.tensor([1.0, -1.0])[:, None, None]
    torch.testing.assert_close(soft_iou(moved, target, ignore), soft_iou(logits, target, ignore))


def test_an_object_without_pixels_is_finite_and_taught():
    logits = torch.zeros((1, 2, 4, 4), requires_grad=True)
    nothing = torch.zeros((1, 4, 4), dtype=torch.bool)
    soft_iou(logits, nothing, nothing).sum().backward()
    assert bool(torch.isfinite(logits.grad).all())
    assert bool((logits.grad[:, 1] < 0).all()), "less object, more IoU"


def test_where_it_is_unsure_it_asks_for_the_object():
    """Every third pixel is object and nothing tells which: the IoU is larger if all are taken for it."""
    target = torch.zeros((1, 6, 30), dtype=torch.bool)
    target[..., ::3] = True
    ignore = torch.zeros_like(target)
    signs = torch.tensor([-0.5, 0.5]).view(1, 2, 1, 1)
    pulls = {}
    for name, score in (
        ("iou", lambda logits: soft_iou(logits, target, ignore).mean()),
        ("entropy", lambda logits: -functional.cross_entropy(logits, target.long())),
    ):
        logit = torch.zeros(1, requires_grad=True)
        score((logit * signs).expand(1, 2, 6, 30)).backward()
        pulls[name] = float(logit.grad)
    assert pulls["entropy"] < 0 < pulls["iou"]


def test_it_is_added_to_the_default_loss_alone(shapes):
    method = fssbench.load_method("learner", untrained=True, seed=1)
    rng = torch.Generator().manual_seed(0)
    images = torch.rand((2, 3, 32, 32), generator=rng)
    masks = torch.rand((2, 1, 32, 32), generator=rng) < 0.5
    ignore, numbers = torch.zeros((2, 32, 32)).bool(), torch.ones(2).long()
    batch = Batch((), images, images[:, None], masks.float(), masks[:, 0], ignore, numbers, ("", ""))
    with torch.no_grad():
        plain, both = float(Loss(method)(batch)), float(Loss(method, 0.5)(batch))
    logits = method.predict(batch.query, batch.support, batch.support_mask)
    assert both - plain == pytest.approx(0.5 * float(1 - soft_iou(logits, batch.target, batch.ignore).mean()))


def test_a_loss_of_its_own_is_not_added_to(shapes, monkeypatch):
    method = fssbench.load_method("learner", untrained=True, seed=1)
    monkeypatch.setattr(type(method), "loss", lambda self, *a: None)
    with pytest.raises(UsageError, match="'learner' defines its own loss.*omit --iou-loss"):
        Loss(method, 1.0)
