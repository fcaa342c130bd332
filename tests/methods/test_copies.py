"""The lower bounds: what they predict, that they ignore the query, and their figures by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fssbench.methods.copies import AllForeground, CopyMask

from fssbench.api import Method, MethodConfig


@pytest.mark.parametrize("cls", [AllForeground, CopyMask])
def test_the_query_is_not_read(cls: type[Method], episodes: Any) -> None:
    query, support, mask = episodes(batch=2, shots=3)
    method = cls(MethodConfig())
    assert torch.equal(method.predict(query, support, mask), method.predict(-query, support, mask))


def test_everything_is_the_object(episodes: Any) -> None:
    logits = AllForeground(MethodConfig()).predict(*episodes(batch=2, size=33))
    assert logits.shape == (2, 2, 33, 33)
    assert bool((logits[:, 1] > logits[:, 0]).all())


def test_one_mask_is_copied(episodes: Any) -> None:
    query, support, mask = episodes(batch=3)
    logits = CopyMask(MethodConfig()).predict(query, support, mask)
    assert torch.equal(logits[:, 1] > logits[:, 0], mask[:, 0] > 0)


@pytest.mark.parametrize(("marked", "is_object"), [(0, False), (1, False), (2, False), (3, True), (4, True)])
def test_more_than_half_of_the_supports_decide(marked: int, is_object: bool, episodes: Any) -> None:
    query, support, mask = episodes(shots=4)
    mask = torch.zeros_like(mask)
    mask[:, :marked] = 1
    logits = CopyMask(MethodConfig()).predict(query, support, mask)
    assert bool((logits[:, 1] > logits[:, 0]).all()) is is_object
